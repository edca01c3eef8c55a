package compress_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/codec/compress"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

var _ nearcache.Codec[string] = (*compress.Codec[string])(nil)

// text is a Codec of strings as they are.
type text struct{}

func (text) Append(b []byte, v string) ([]byte, error) { return append(b, v...), nil }
func (text) Decode(b []byte) (string, error)           { return string(b), nil }

func newCodec(t testing.TB, o compress.Options) *compress.Codec[string] {
	t.Helper()
	c, err := compress.New(text{}, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func random(n int) string {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

func TestCodec_RoundTrip(t *testing.T) {
	codecs := []*compress.Codec[string]{newCodec(t, compress.Options{}),
		newCodec(t, compress.Options{Algorithm: compress.S2})}
	for name, v := range map[string]struct {
		value string
		most  int // bytes
	}{
		"empty":          {"", 1},
		"small":          {strings.Repeat("a", 1023), 1024},
		"large":          {strings.Repeat("abcdefgh", 10_000), 8_000},
		"incompressible": {random(50_000), 50_001},
	} {
		for i, c := range codecs {
			b, err := c.Append([]byte("before"), v.value)
			if err != nil {
				t.Fatal(err)
			}
			b = b[len("before"):]
			if len(b) > v.most {
				t.Errorf("%s, %d: %d bytes are encoded as %d", name, i, len(v.value), len(b))
			}
			for j, reader := range codecs { // each reads what the other wrote
				if got, err := reader.Decode(b); err != nil || got != v.value {
					t.Errorf("%s, %d read by %d: %d bytes, %v", name, i, j, len(got), err)
				}
			}
		}
	}
}

func TestDecode_RefusesBombs(t *testing.T) {
	const bound = 1 << 20
	c := newCodec(t, compress.Options{MaxDecoded: bound})
	huge := make([]byte, 256<<20)
	w, err := zstd.NewWriter(nil, zstd.WithSingleSegment(true))
	if err != nil {
		t.Fatal(err)
	}
	zstdBomb := w.EncodeAll(huge, []byte{1})
	var unsaid bytes.Buffer // a stream, which does not say how long it is
	stream, err := zstd.NewWriter(&unsaid)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = stream.Write(huge)
	_ = stream.Close()
	s2Bomb := append([]byte{2}, s2.Encode(nil, huge)...)
	huge = nil
	for name, b := range map[string][]byte{
		"zstd":               zstdBomb,
		"zstd, of no length": append([]byte{1}, unsaid.Bytes()...),
		"s2":                 s2Bomb,
		"s2, which lies":     binary.AppendUvarint([]byte{2}, 1<<31-1),
		"just over":          w.EncodeAll(make([]byte, bound+1), []byte{1}),
	} {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if v, err := c.Decode(b); err == nil {
			t.Errorf("%s: %d bytes have become %d", name, len(b), len(v))
		}
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 16*bound {
			t.Errorf("%s: %d MiB were allocated to refuse it", name, grown>>20)
		}
	}
	big := strings.Repeat("x", bound+1)
	b, err := c.Append(nil, big)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Decode(b); err != nil || got != big {
		t.Errorf("its own value, over the bound: %d bytes, %v", len(got), err)
	}
}

func TestDecode_GarbageIsAnError(t *testing.T) {
	c := newCodec(t, compress.Options{})
	good, err := c.Append(nil, strings.Repeat("some text ", 1000))
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"nothing": {}, "an unknown kind": {3, 1,
			2}, "JSON": []byte(`{"a":1}`), "cut short": good[:len(good)-1], "no frame": {1, 'x'}, "no s2": {2},
		"something follows": append(bytes.Clone(good), "follows"...),
	} {
		if v, err := c.Decode(b); err == nil {
			t.Errorf("%s: %.20q", name, v)
		}
	}
}

func TestNew_NamesWhatClashes(t *testing.T) {
	for want, o := range map[string]compress.Options{
		"Algorithm": {Algorithm: 7}, "Above": {Above: -1}, "MaxDecoded Above": {Above: 100, MaxDecoded: 10},
	} {
		_, err := compress.New[string](nil, o)
		for _, field := range strings.Fields(want) {
			if err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("got error %[2]v, want one that names %[1]s", want, err)
			}
		}
	}
}

// picky says when values are equal.
type picky struct {
	text
	asked *int
}

func (p picky) Equal(a, b string) bool { *p.asked++; return a == b }

func TestCodec_InACache(t *testing.T) {
	r := nearcachetest.NewRedis(t)
	client, err := nearcache.New(nearcache.Config{Redis: r.ClientOption()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked := 0
	codec, err := compress.New(picky{asked: &asked}, compress.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat("large ", 10_000)
	c, err := nearcache.NewCache(client, "t", nearcache.Options[string, string]{Codec: codec, Find: func(context.Context,
		string) (string, error) {
		return want, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if v, err := c.Get(t.Context(), "a"); err != nil || v != want {
			t.Errorf("%d bytes, %v", len(v), err)
		}
	}
	stored, _ := r.Get(l2.NewKeyspace("").Key("t", "a").Record)
	if n := len(stored); n == 0 || n > 1000 {
		t.Errorf("Redis holds %d bytes", n)
	}
	if asked != 1 {
		t.Errorf("the wrapped Codec was asked %d times whether the first value came back", asked)
	}
}

func FuzzDecode(f *testing.F) {
	for _, o := range []compress.Options{{Above: 1}, {Above: 1, Algorithm: compress.S2}} {
		b, err := newCodec(f, o).Append(nil, strings.Repeat("seed", 100))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{0, 'a'})
	c := newCodec(f, compress.Options{MaxDecoded: 1 << 16, Above: 16})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := c.Decode(b)
		if err != nil {
			return
		}
		if len(v) > 1<<16 && b[0] != 0 {
			t.Errorf("%d bytes have become %d", len(b), len(v))
		}
		again, err := c.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Decode(again); err != nil || got != v {
			t.Errorf("%q comes back as %q, %v", v, got, err)
		}
	})
}

func ExampleNew() {
	type page struct{ HTML string }
	codec, err := compress.New[page](nil, compress.Options{}) // JSON, and zstd from 1 KiB on; for Options.Codec
	if err != nil {
		panic(err)
	}
	b, err := codec.Append(nil, page{strings.Repeat("<p>hello</p>", 1000)})
	fmt.Println("below 100 bytes:", len(b) < 100, err)
	p, err := codec.Decode(b)
	fmt.Println(len(p.HTML), err)
	_, err = codec.Decode([]byte("garbage"))
	fmt.Println(err)
	// Output:
	// below 100 bytes: true <nil>
	// 12000 <nil>
	// compress: a value of kind 103
}
