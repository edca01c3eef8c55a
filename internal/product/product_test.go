package product_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/product"
)

func TestPrice_NeverPassesThroughAFloat(t *testing.T) {
	for in, want := range map[string]string{"0": "0.00", "12.5": "12.50", "0.07": "0.07", "999999999.99": "999999999.99",
		"1000000000": "1000000000.00"} {
		var p product.Price
		if err := json.Unmarshal([]byte(in), &p); err != nil {
			t.Errorf("%s: got error %v, want none", in, err)
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

func TestEvents_OnTheSharedTopic(t *testing.T) {
	c := product.EventCodec()
	m := coherence.Message{Event: coherence.Event{Namespace: "product", Key: "p1", Version: 7, Op: coherence.OpDeleted,
		Seq: 3, Position: coherence.Position{Timeline: 5, N: 9}}}
	b, err := c.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	if fields["type"] != "PRODUCT_DELETED" || fields["product_id"] != "p1" || fields["version"] != 7.0 {
		t.Errorf("got %s, want version 7 of the deleted p1", b)
	}
	got, err := c.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Error(diff)
	}
	for _, s := range []string{`{"type":"PRODUCT_UPDATED","product_id":"p1"}`,
		`{"type":"PRODUCT_CREATED","product_id":"p1","timestamp":null,"more":{"x":[1]}}`} {
		m, err := c.Decode([]byte(s))
		if err != nil || m.Event.Namespace != "product" || m.Event.Key != "p1" || m.Event.Version != 0 || m.Event.Seq != 0 {
			t.Errorf("%s: got %+v and error %v, want p1 without a version", s, m, err)
		}
	}
	for _, s := range []string{`{"type":"PRODUCT_UPDATED"}`, `{"product_id":"p1"}`,
		`{"type":"ORDER_PLACED","product_id":"p1"}`, `{"type":"PRODUCT_UPDATED","product_id":7}`,
		`{"type":"PRODUCT_UPDATED","product_id":"p1","namespace":"product","key":"p2","version":1}`,
		`{"type":"PRODUCT_UPDATED","product_id":"p1","timestamp":"yesterday"}`, "7", ""} {
		if m, err := c.Decode([]byte(s)); !errors.Is(err, coherence.ErrMalformed) {
			t.Errorf("%s: got %+v and error %v, want ErrMalformed", s, m, err)
		}
	}
}

func FuzzDecodeEvent(f *testing.F) {
	f.Add([]byte(`{"type":"PRODUCT_UPDATED","product_id":"p1"}`))
	f.Add([]byte(`{"type":"PRODUCT_DELETED","product_id":"p1","namespace":"product","key":"p1","version":7,"seq":3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := product.EventCodec().Decode(b)
		if err == nil && m.Barrier == nil && (m.Event.Key == "" || m.Event.Namespace != product.Namespace) {
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
	a, err := s.List(t.Context(), "", 500)
	if err != nil || len(a) != 300 {
		t.Fatal(len(a), err)
	}
	b, err := again.List(t.Context(), "", 500)
	if diff := cmp.Diff(a, b); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, p := range a {
		if bad := p.Validate(); len(bad) > 0 {
			t.Errorf("%+v: got the faults %v, want none", p, bad)
		}
	}
	if page, err := s.List(t.Context(), a[9].ID, 2); err != nil || page[0].ID != a[10].ID || len(page) != 2 {
		t.Errorf("got %v and error %v, want the two products after the tenth", page, err)
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
