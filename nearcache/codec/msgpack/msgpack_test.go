package msgpack_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/codec/msgpack"
)

var _ nearcache.Codec[product] = msgpack.Codec[product]{}

type product struct {
	Name  string
	Cents int64
	Tags  []string
	Attrs map[string]any
	Since time.Time
	Long  []byte
	Next  *product
}

func example() product {
	attrs := map[string]any{}
	for i := range 40 {
		attrs[fmt.Sprint("k", i)] = strings.Repeat("v", 10*i)
	}
	return product{Name: "espresso", Cents: -1 << 40, Tags: []string{"a", "b"}, Attrs: attrs,
		Since: time.Unix(1764000000, 5).UTC(),
		Long:  bytes.Repeat([]byte{1}, 70_000), Next: &product{Name: "grinder", Cents: 300}}
}

func TestCodec_RoundTripAndDeterminism(t *testing.T) {
	var c msgpack.Codec[product]
	b, err := c.Append([]byte("before"), example())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if again, err := c.Append([]byte("before"), example()); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("the same value is encoded differently, %v", err)
		}
	}
	b = b[len("before"):]
	got, err := c.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example(), got); diff != "" {
		t.Error(diff)
	}
	for n := range 1000 {
		if _, err := c.Decode(b[:n]); err == nil {
			t.Errorf("cut to %d bytes, and nobody notices", n)
		}
	}
	if _, err := c.Decode(append(b, 0xc0)); err == nil {
		t.Error("something follows, and nobody notices")
	}
}

func TestDecode_NestingIsBounded(t *testing.T) {
	var c msgpack.Codec[any]
	for name, b := range map[string][]byte{
		"arrays": bytes.Repeat([]byte{0x91}, 10_000_000),
		"maps":   bytes.Repeat([]byte{0x81, 0x01}, 10_000_000),
	} {
		if _, err := c.Decode(b); err == nil || !strings.Contains(err.Error(), "deep") {
			t.Errorf("%s: got error %v, want one about the depth", name, err)
		}
	}
	deep := append(bytes.Repeat([]byte{0x91}, 1000), 0xc0)
	if _, err := c.Decode(deep); err != nil {
		t.Errorf("1,000 deep: %v", err)
	}
	for i := range 100 {
		var v any = i * 1000
		for range i {
			v = map[string]any{"x": []any{v, "s", 1.5, nil, true}}
		}
		b, err := c.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Decode(b); err != nil {
			t.Errorf("%d deep: %v", i, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	b, err := msgpack.Codec[product]{}.Append(nil, example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0xc9, 0, 0, 0, 4, 0xff, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		var c msgpack.Codec[product]
		v, err := c.Decode(b)
		if err != nil {
			return
		}
		if b, err = c.Append(nil, v); err != nil {
			return // a time before year 1, and the like
		}
		if _, err := c.Decode(b); err != nil {
			t.Errorf("%+v does not decode again: %v", v, err)
		}
	})
}

func ExampleCodec() {
	c := msgpack.Codec[map[string]any]{} // for Options.Codec of a Cache[K, map[string]any]
	b, err := c.Append(nil, map[string]any{"b": 2, "a": 1})
	fmt.Printf("%x %v\n", b, err)
	fmt.Println(c.Decode(b))
	// Output:
	// 82a16101a16202 <nil>
	// map[a:1 b:2] <nil>
}
