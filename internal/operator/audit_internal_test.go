package operator

import "testing"

func TestRowMatches(t *testing.T) {
	for _, c := range []struct {
		row, payload string
		want         bool
	}{
		{`{"a": 1}`, `{"a": 1.0, "b": 2}`, true},
		{`{"a": 1}`, `{"A": 1}`, true},
		{`{"a": 1}`, `{"a": 2}`, false},
		{`{"a": 1}`, `{"a": "1"}`, false},
		{`{"a": 1, "b": 2}`, `{"a": 1}`, false},
		{`{"a": 1, "b": 0}`, `{"a": 1}`, true},
		{`{"a": 1, "b": null}`, `{"a": 1}`, true},
		{`{"a": 1, "b": null}`, `{"a": 1, "b": []}`, true},
		{`{"a": 1, "b": null}`, `{"a": 1, "b": 0}`, false},
		{`{"a": 9007199254740993, "b": 1}`, `{"a": 9007199254740992, "b": 1}`, false},
		{`{"t": "2026-11-24T09:30:00+02:00", "a": 1}`, `{"t": "2026-11-24T07:30:00Z", "a": 1}`, true},
		{`{"t": "2026-11-24T09:30:00+02:00", "a": 1}`, `{"t": "2026-11-24T09:30:00Z", "a": 1}`, false},
		{`{"v": {"x": [1, 2]}}`, `{"x": [1, 2]}`, true},
		{`{"v": {"x": [1, 2]}}`, `{"x": [2, 1]}`, false},
		{`{"v": "text"}`, `"text"`, true},
		{`{"v": "text", "w": 1}`, `"text"`, false},
		{`{"a": 1e1000000000}`, `{"a": 1e1000000001}`, false},
	} {
		row, err := decodeJSON[map[string]any]([]byte(c.row))
		if err != nil {
			t.Fatal(err)
		}
		payload, err := decodeJSON[any]([]byte(c.payload))
		if err != nil {
			t.Fatal(err)
		}
		x, y := auditedValue{fields: row}, auditedValue{value: payload}
		if got := sameValue(x, y); got != c.want || sameValue(y, x) != got {
			t.Errorf("%s and %s: got %v, want %v", c.row, c.payload, got, c.want)
		}
	}
	if !sameValue(auditedValue{opaque: true}, auditedValue{fields: map[string]any{"a": 1}}) {
		t.Error("a payload that was not decoded differs")
	}
}
