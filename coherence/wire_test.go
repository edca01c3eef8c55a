package coherence_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nearcache/nearcache-go/coherence"
)

func TestJSON_RoundTrip(t *testing.T) {
	for _, e := range []coherence.Event{
		{Namespace: "n", Key: "k"},
		{Namespace: "n", Key: "", Version: 1<<63 + 1, Op: coherence.OpDeleted, Seq: 1<<53 + 1,
			Position: coherence.Position{Timeline: 1 << 63, N: 1<<53 + 3}, Time: time.Unix(5, 7).UTC(),
			Fields: map[string]string{"a": "b"}},
	} {
		b, err := coherence.EncodeJSON(e, map[string]string{"type": "X", "product_id": "k"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := coherence.DecodeJSON(b)
		if err != nil {
			t.Fatalf("decode %s: got error %v, want none", b, err)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Errorf("decode %s: (-want +got) %s", b, diff)
		}
	}
}

func TestJSON_Golden(t *testing.T) { // other languages read this
	b, err := coherence.EncodeJSON(coherence.Event{Namespace: "product", Key: "42",
		Version: 7, Op: coherence.OpUpdated, Seq: 981, Position: coherence.Position{Timeline: 0x5f3a, N: 7741},
		Time: time.Date(2026, 11, 24, 9, 30, 0, 123e6, time.UTC)}, nil)
	want := `{"namespace":"product","key":"42","version":7,"op":"updated","seq":981,` +
		`"position":{"timeline":"5f3a","n":7741},"time":"2026-11-24T09:30:00.123Z"}`
	if string(b) != want || err != nil {
		t.Errorf("%s, %v\nwant %s", b, err, want)
	}
}

func TestJSON_Malformed(t *testing.T) {
	for _, s := range []string{"", "null", "[]", "{", `{"namespace":"n"}`, `{"key":"k"}`,
		`{"namespace":"n","key":"\ud800"}`, `{"namespace":"n","key":"\ufffd\udc00"}`,
		`{"namespace":"n","key":"\ud800\ud800"}`,
		"{\"namespace\":\"n\",\"key\":\"\ufffd\\ud800x\"}", "{\"namespace\":\"n\",\"key\":\"\xff\\ud800\"}",
		`{"namespace":"n","key":"\\ufffd\ud800"}`, `{"namespace":"n\udfff","key":"k"}`,
		`{"namespace":"n","key":null}`, `{"namespace":"n","key":{}}`,
		`{"barrier":true}`, `{"namespace":"n","key":"k"} trailing`, "\xff\xfe{\x00}\x00",
		`{"namespace":"n","key":"k","fields":{"x":"` + strings.Repeat("y", coherence.MaxMessageBytes) + `"}}`} {
		if _, err := coherence.DecodeJSON([]byte(s)); !errors.Is(err, coherence.ErrMalformed) {
			t.Errorf("%.60s: %v", s, err)
		}
	}
}

// TestJSON_WhatIsSaidBesides: an event that says what changed was refused for its version, its time or its position.
func TestJSON_WhatIsSaidBesides(t *testing.T) {
	for field, version := range map[string]coherence.Version{
		`"version":-1`: 0, `"version":1.5`: 0, `"version":1e3`: 1000, `"version":7.0`: 7, `"version":"7"`: 7,
		`"version":" 7 "`:                7,
		`"version":18446744073709551615`: 1<<64 - 1, `"version":18446744073709551616`: 0,
		`"version":9007199254740993`: 9007199254740993, `"version":null`: 0,
		`"version":1,"version":2`: 2, `"Version":3`: 3, `"VERSION":9,"version":4`: 4, `"seq":4`: 0, `"seq":"x"`: 0,
		`"op":7`: 0, `"op":"replaced"`: 0,
		`"position":{"timeline":"zz","n":1}`: 0, `"position":5`: 0, `"partitions":1e300`: 0, `"time":"yesterday"`: 0,
		`"time":"0000-01-01T00:00:00Z"`: 0,
		`"fields":[1]`:                  0, `"fields":{"a":1}`: 0, "\"fields\":{\"a\":\"\xff\"}": 0, `"barrier":"no"`: 0,
		`"unknown":{"deep":[{}]}`: 0,
	} {
		s := `{"namespace":"n","key":"k",` + field + `}`
		e, err := coherence.DecodeJSON([]byte(s))
		if err != nil || e.Namespace != "n" || e.Key != "k" || e.Version != version {
			t.Errorf("%s: %+v, %v; want version %d", s, e, err, version)
		}
	}
}

// TestJSON_KeysAreExact: JSON strings are UTF-8, and a key that is not came out as another key.
func TestJSON_KeysAreExact(t *testing.T) {
	for _, key := range []string{"", "\xff\xfe", "a\x00b", "\nnc:{7}", `{"key":"x"}`, "<&>\u2028", "\xed\xa0\x80",
		"nul\x00\xff", strings.Repeat("\xff", 999)} {
		b, err := coherence.EncodeJSON(coherence.Event{Namespace: "n", Key: key, Version: 1}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := coherence.DecodeJSON(b); err != nil || got.Key != key {
			t.Errorf("%q became %q: %v", key, got.Key, err)
		}
		var old struct{ Key *string } // of a reader that knows "key" alone
		if err := json.Unmarshal(b, &old); err != nil || old.Key != nil && *old.Key != key {
			t.Errorf("%q: an older reader takes %q, %v", key, *old.Key, err)
		}
	}
	for raw, want := range map[string]string{`42`: "42", `42.0`: "42", `4.2e1`: "42", `1e3`: "1000", `-0`: "0",
		`9007199254740993`:               "9007199254740993",
		`123456789012345678901234567890`: "123456789012345678901234567890", `0.10`: "0.1", `1.5`: "1.5",
		`"1.50"`: "1.50", `"\ufffd\ud83d\ude00"`: "\ufffd\U0001f600", "\"\ufffd\\uFFFD\"": "\ufffd\ufffd",
		`"\\ud800"`: `\ud800`, `"\\\uFFFD"`: "\\\ufffd", `1,"KEY":2,"Key":3`: "1", "\"a\xff\\u00e9\"": "a\xff\u00e9"} {
		e, err := coherence.DecodeJSON([]byte(`{"namespace":"n","key":` + raw + `}`))
		if err != nil || e.Key != want {
			t.Errorf("%s: %q, %v; want %q", raw, e.Key, err, want)
		}
	}
	for range 100 { // a map's order is another one each time
		e, err := coherence.DecodeJSON([]byte(`{"namespace":"n","Key":"1","KEY":"2","kEY":"3"}`))
		if err != nil || e.Key != "2" {
			t.Fatalf("fields that differ in case: %q, %v; want 2", e.Key, err)
		}
	}
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(`{"namespace":"product","key":"42","version":7,"op":"updated","seq":981,` +
		`"position":{"timeline":"5f3a","n":7741}}`))
	f.Add([]byte(`{"barrier":true,"seq":1,"position":{"timeline":"1","n":1}}`))
	f.Add([]byte(`{"namespace":"n","key":"\ud800","time":"0000-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := coherence.DecodeJSON(b)
		if err != nil {
			return
		}
		again, err := coherence.EncodeJSON(e, nil)
		if err != nil {
			t.Fatalf("%s decodes, and does not encode: %v", b, err)
		}
		got, err := coherence.DecodeJSON(again)
		if err != nil {
			t.Fatalf("%s decodes, %s does not: %v", b, again, err)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Errorf("decode %s: (-want +got) %s", b, diff)
		}
	})
}

// TestDecodeRecord: a tombstone names what is gone by its key, and one that names nothing is malformed.
func TestDecodeRecord(t *testing.T) {
	decode := coherence.EventCodec{}.WithDefaults().Decode
	for _, c := range []struct {
		record coherence.Record
		want   []coherence.Event
	}{
		{coherence.Record{Value: []byte(`{"namespace":"n","key":"k","version":3}`)},
			[]coherence.Event{{Namespace: "n", Key: "k", Version: 3}}},
		{coherence.Record{Key: []byte("n:a:b")},
			[]coherence.Event{{Namespace: "n", Key: "a:b", Op: coherence.OpDeleted}}},
		{coherence.Record{Key: []byte("n:")}, []coherence.Event{{Namespace: "n", Op: coherence.OpDeleted}}},
		{coherence.Record{Key: []byte("plain")}, nil},
		{coherence.Record{Key: []byte(":k")}, nil},
		{coherence.Record{}, nil},
		{coherence.Record{Key: []byte("n:k"), Value: []byte{}}, nil},
	} {
		got, err := decode(c.record)
		if diff := cmp.Diff(c.want, got); diff != "" || (err != nil) != (c.want == nil) {
			t.Errorf("%q, %q: got error %v, (-want +got) %s", c.record.Key, c.record.Value, err, diff)
		}
		if err != nil && !errors.Is(err, coherence.ErrMalformed) {
			t.Errorf("%q: got error %v, want ErrMalformed", c.record.Key, err)
		}
	}
}

func TestRecord_HeaderIsTheLastOfItsName(t *testing.T) {
	r := coherence.Record{Headers: []coherence.Header{{"a", []byte("1")}, {"b", []byte("2")}, {"a", []byte("3")}}}
	if got := string(r.Header("a")); got != "3" {
		t.Errorf("got %q, want 3", got)
	}
	if got := r.Header("c"); got != nil {
		t.Errorf("got %q of a header that is not there, want nil", got)
	}
}
