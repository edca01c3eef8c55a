package product_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/product"
)

func TestPrice_NeverPassesThroughAFloat(t *testing.T) {
	for in, want := range map[string]string{"0": "0.00", "12.5": "12.50", "0.07": "0.07",
		"999999999.99": "999999999.99",
		"1000000000":   "1000000000.00"} {
		var p product.Price
		if err := json.Unmarshal([]byte(in), &p); err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if b, _ := json.Marshal(p); string(b) != want {
			t.Errorf("%s became %s, want %s", in, b, want)
		}
	}
	for _, bad := range []string{"-1", "-0.01", "1.005", "1e3", `"1"`, "null", "1000000000.01", "true"} {
		var p product.Price
		if err := json.Unmarshal([]byte(bad), &p); err == nil {
			t.Errorf("%s is taken as %d", bad, p)
		}
	}
}

// decode is what the demo's codec makes of a record that tells of one event.
func decode(value []byte) (coherence.Event, error) {
	events, err := product.EventCodec().Decode(coherence.Record{Value: value})
	if err == nil && len(events) != 1 {
		err = fmt.Errorf("%d events", len(events))
	}
	return append(events, coherence.Event{})[0], err
}

func TestEvents_OnTheSharedTopic(t *testing.T) {
	c := product.EventCodec()
	e := coherence.Event{Namespace: "product", Key: "p1", Version: 7, Op: coherence.OpDeleted, Seq: 3,
		Position: coherence.Position{Timeline: 5, N: 9}}
	b, err := c.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	if fields["type"] != "PRODUCT_DELETED" || fields["product_id"] != "p1" || fields["version"] != 7.0 {
		t.Errorf("%s", b)
	}
	got, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, got); diff != "" {
		t.Error(diff)
	}
	for _, s := range []string{`{"type":"PRODUCT_UPDATED","product_id":"p1"}`,
		`{"type":"PRODUCT_CREATED","product_id":"p1","timestamp":null,"more":{"x":[1]}}`} {
		e, err := decode([]byte(s))
		if err != nil || e.Namespace != "product" || e.Key != "p1" || e.Version != 0 || e.Seq != 0 {
			t.Errorf("%s: %+v, %v", s, e, err)
		}
	}
	for _, s := range []string{`{"type":"PRODUCT_UPDATED"}`, `{"product_id":"p1"}`,
		`{"type":"ORDER_PLACED","product_id":"p1"}`, `{"type":"PRODUCT_UPDATED","product_id":null}`,
		`{"type":"PRODUCT_UPDATED","product_id":true}`,
		`{"type":"PRODUCT_UPDATED","product_id":"p1","namespace":"product","key":"p2","version":1}`, "7", ""} {
		if m, err := decode([]byte(s)); !errors.Is(err, coherence.ErrMalformed) {
			t.Errorf("%s: %+v, %v", s, m, err)
		}
	}
}

// TestEvents_WhatIsSaidBesidesRefusesNothing: an event was set aside for its timestamp, and one whose id was a number
// for that.
func TestEvents_WhatIsSaidBesidesRefusesNothing(t *testing.T) {
	for _, anything := range []string{`"2026-11-24T09:30:00.123456"`, `1795804451.5`, `"1795804451"`, `""`, `null`, `{}`,
		`[[1]]`, `true`, `1e400`,
		"\"\xff\"", `"\ud800"`} {
		for _, field := range []string{"timestamp", "time", "Timestamp", "version", "op", "seq", "position", "fields",
			"partitions", "user", ""} {
			s := fmt.Sprintf(`{"type":"PRODUCT_UPDATED","product_id":"p1",%q:%s}`, field, anything)
			if m, err := decode([]byte(s)); err != nil || m.Key != "p1" {
				t.Errorf("%s: %+v, %v", s, m, err)
			}
		}
	}
	for id, want := range map[string]string{"7": "7", "9007199254740993": "9007199254740993", "1.0": "1", "1e3": "1000",
		"-5": "-5", "1.50": "1.5"} {
		s := fmt.Sprintf("\xef\xbb\xbf \r\n{\"type\":\" Product_updated\",\"product_id\":%s}\n", id)
		if m, err := decode([]byte(s)); err != nil || m.Key != want {
			t.Errorf("%s: %+v, %v; want %s", s, m, err, want)
		}
	}
	m, err := decode([]byte(`{"type":"PRODUCT_UPDATED","product_id":"p1","timestamp":"2026-11-24T09:30:00.123456"}`))
	if want := time.Date(2026, 11, 24, 9, 30, 0, 123456000, time.UTC); err != nil || !m.Time.Equal(want) {
		t.Errorf("%v, %v", m.Time, err)
	}
}

func TestEvents_AlsoUpdated(t *testing.T) {
	e := coherence.Event{Namespace: "product", Key: "p1", Version: 7, Op: coherence.OpDeleted, Seq: 3}
	b, err := product.AlsoUpdated(e)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := decode(b); err != nil || m.Version != 7 || m.Seq != 0 ||
		!strings.Contains(string(b), `"type":"PRODUCT_UPDATED"`) {
		t.Errorf("%s: %+v, %v", b, m, err)
	}
	for _, none := range []coherence.Event{{Namespace: "product", Op: coherence.OpUpdated}, {Namespace: "tags",
		Op: coherence.OpDeleted}} {
		if b, err := product.AlsoUpdated(none); b != nil || err != nil {
			t.Errorf("%+v: %s, %v", none, b, err)
		}
	}
}

func FuzzDecodeEvent(f *testing.F) {
	f.Add([]byte(`{"type":"PRODUCT_UPDATED","product_id":"p1"}`))
	f.Add([]byte(`{"type":"PRODUCT_DELETED","product_id":"p1","namespace":"product","key":"p1","version":7,"seq":3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err == nil && (m.Namespace == "" || m.Namespace == product.Namespace &&
			product.CheckID(m.Key) != "") {
			t.Errorf("%s is taken for %+v", b, m)
		}
	})
}

func TestSeed_IsValidAndRepeatable(t *testing.T) {
	s, again := open(t), open(t)
	for _, s := range []shop{s, again} {
		if n, err := product.Seed(t.Context(), s, 300); n != 300 || err != nil {
			t.Fatal(n, err)
		}
	}
	if n, err := product.Seed(t.Context(), s, 300); n != 0 || err != nil {
		t.Errorf("seeded over products: %d, %v", n, err)
	}
	a, err := s.List(t.Context(), product.Page{Limit: 500})
	if err != nil || len(a) != 300 {
		t.Fatal(len(a), err)
	}
	b, err := again.List(t.Context(), product.Page{Limit: 500})
	if diff := cmp.Diff(a, b); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, p := range a {
		if bad := p.Validate(); len(bad) > 0 {
			t.Errorf("%+v: %v", p, bad)
		}
	}
	if page, err := s.List(t.Context(), product.Page{After: a[9].ID, Limit: 2}); err != nil || page[0].ID != a[10].ID || len(page) != 2 {
		t.Errorf("%v, %v", page, err)
	}
}

func TestValidate_NamesTheField(t *testing.T) {
	text := func(s string) *string { return &s }
	for _, c := range []struct {
		field string
		p     product.Product
	}{
		{"id", product.Product{ID: "a\nb", Name: "n"}},
		{"id", product.Product{ID: "a\u0085b", Name: "n"}},
		{"id", product.Product{ID: "a\u2028b", Name: "n"}},
		{"name", product.Product{ID: "a", Name: "  "}},
		{"name", product.Product{ID: "a", Name: "a\tb"}},
		{"name", product.Product{ID: "a", Name: "a\u0080b"}},
		{"name", product.Product{ID: "a", Name: "a\u009f"}},
		{"name", product.Product{ID: "a", Name: "a\x7f"}},
		{"description", product.Product{ID: "a", Name: "n", Description: text(strings.Repeat("ä", 4001))}},
		{"description", product.Product{ID: "a", Name: "n", Description: text("\x00")}},
		{"description", product.Product{ID: "a", Name: "n", Description: text("a\u0085b")}},
		{"description", product.Product{ID: "a", Name: "n", Description: text("\x1b[2J")}},
		{"price", product.Product{ID: "a", Name: "n", Price: -1}},
	} {
		if bad := c.p.Validate(); len(bad) != 1 || bad[0].Field != c.field {
			t.Errorf("%+v: %v, want a problem of %s", c.p, bad, c.field)
		}
	}
	fine := product.Product{ID: "a\u00a0\u200c~", Name: "naïve ☕ سلام", Description: text("two\r\n\tlines")}
	if bad := fine.Validate(); len(bad) > 0 {
		t.Error(bad)
	}
}
