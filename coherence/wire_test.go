package coherence_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nearcache/nearcache-go/coherence"
)

func TestJSON_RoundTrip(t *testing.T) {
	for _, m := range []coherence.Message{
		{Event: coherence.Event{Namespace: "n", Key: "k"}},
		{Event: coherence.Event{Namespace: "n", Key: "", Version: 1<<63 + 1, Op: coherence.OpDeleted, Seq: 1<<53 + 1,
			Position: coherence.Position{Timeline: 1 << 63, N: 1<<53 + 3}, Time: time.Unix(5, 7).UTC(), Fields: map[string]string{"a": "b"}}},
		{Barrier: &coherence.Barrier{Position: coherence.Position{Timeline: 3, N: 9}, Seq: 4}},
	} {
		b, err := coherence.EncodeJSON(m, map[string]string{"type": "X", "product_id": "k"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := coherence.DecodeJSON(b)
		if err != nil {
			t.Fatalf("decode %s: got error %v, want none", b, err)
		}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Errorf("decode %s: (-want +got) %s", b, diff)
		}
	}
}

func TestJSON_Golden(t *testing.T) { // other languages read this
	b, err := coherence.EncodeJSON(coherence.Message{Event: coherence.Event{Namespace: "product", Key: "42", Version: 7, Op: coherence.OpUpdated,
		Seq: 981, Position: coherence.Position{Timeline: 0x5f3a, N: 7741}, Time: time.Date(2026, 11, 24, 9, 30, 0, 123e6, time.UTC)}}, nil)
	want := `{"namespace":"product","key":"42","version":7,"op":"updated","seq":981,"position":{"timeline":"5f3a","n":7741},"time":"2026-11-24T09:30:00.123Z"}`
	if string(b) != want || err != nil {
		t.Errorf("%s, %v\nwant %s", b, err, want)
	}
}

func TestJSON_Malformed(t *testing.T) {
	for _, s := range []string{"", "null", "[]", "{", `{"namespace":"n"}`, `{"key":"k"}`, `{"namespace":"n","key":"k","version":-1}`,
		`{"namespace":"n","key":"k","version":1.5}`, `{"namespace":"n","key":"k","version":1e3}`, `{"namespace":"n","key":"k","seq":4}`,
		`{"namespace":"n","key":"k","position":{"timeline":"zz","n":1}}`, `{"barrier":true}`, `{"namespace":"n","key":"k"} trailing`,
		`{"namespace":"n","key":"k","fields":{"x":"` + strings.Repeat("y", coherence.MaxMessageBytes) + `"}}`} {
		if _, err := coherence.DecodeJSON([]byte(s)); !errors.Is(err, coherence.ErrMalformed) {
			t.Errorf("%.60s: %v", s, err)
		}
	}
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(`{"namespace":"product","key":"42","version":7,"op":"updated","seq":981,"position":{"timeline":"5f3a","n":7741}}`))
	f.Add([]byte(`{"barrier":true,"seq":1,"position":{"timeline":"1","n":1}}`))
	f.Add([]byte(`{"namespace":"n","key":"\ud800","time":"0000-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := coherence.DecodeJSON(b)
		if err != nil {
			return
		}
		again, err := coherence.EncodeJSON(m, nil)
		if err != nil {
			return // a year past 9999
		}
		got, err := coherence.DecodeJSON(again)
		if err != nil {
			t.Fatalf("%s decodes, %s does not: %v", b, again, err)
		}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Errorf("decode %s: (-want +got) %s", b, diff)
		}
	})
}
