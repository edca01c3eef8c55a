package nearcache_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/codec/msgpack"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

type (
	node struct {
		Name string
		Next *node
	}
	pointer *pointer
	tree    map[string]tree
	forest  []forest
)

// gobCodec is encoding/gob, which does not look for cycles.
type gobCodec[V any] struct{}

func (gobCodec[V]) Append(b []byte, v V) ([]byte, error) {
	var buf bytes.Buffer
	err := gob.NewEncoder(&buf).Encode(&v)
	return append(b, buf.Bytes()...), err
}

func (gobCodec[V]) Decode(b []byte) (v V, err error) {
	return v, gob.NewDecoder(bytes.NewReader(b)).Decode(&v)
}

// TestValues_ThatContainThemselves: NewCache followed such a type, and a Codec such a value, until the stack
// overflowed, which ends the process.
func TestValues_ThatContainThemselves(t *testing.T) {
	ring := &node{Name: "a", Next: &node{Name: "b"}}
	ring.Next.Next = ring
	mapping := map[string]any{}
	mapping["self"] = mapping
	list := []any{nil}
	list[0] = list
	var p pointer
	p = &p
	refused(t, "ring, gob", gobCodec[*node]{}, ring)
	refused(t, "ring, msgpack", msgpack.Codec[*node]{}, ring)
	refused(t, "ring, json", nearcache.JSON[*node]{}, ring)
	refused(t, "map", msgpack.Codec[map[string]any]{}, mapping)
	refused[any](t, "map in any", msgpack.Codec[any]{}, mapping)
	refused(t, "list", msgpack.Codec[[]any]{}, list)
	refused(t, "pointer", msgpack.Codec[pointer]{}, p)

	if v, err := loadWith[tree](t, nearcache.JSON[tree]{}, tree{"a": {"b": {}}}); err != nil || v["a"]["b"] == nil {
		t.Errorf("a type of maps of itself: %v, %v", v, err)
	}
	if v, err := loadWith(t, msgpack.Codec[forest]{}, forest{{}, {{}}}); err != nil || len(v) != 2 || len(v[1]) != 1 {
		t.Errorf("a type of lists of itself: %v, %v", v, err)
	}
	long := &node{Name: "0"}
	for range 400 {
		long = &node{Name: "n", Next: long}
	}
	if v, err := loadWith(t, msgpack.Codec[*node]{}, long); err != nil || v.Next.Next.Name != "n" {
		t.Errorf("a value of 400 levels: %v, %v", v, err)
	}
}

func refused[V any](t *testing.T, name string, codec nearcache.Codec[V], v V) {
	t.Helper()
	if _, err := loadWith(t, codec, v); !errors.Is(err, nearcache.ErrCodec) || !(strings.Contains(err.Error(), "cycle") ||
		strings.Contains(err.Error(), "contains itself")) {
		t.Errorf("%s: %.200v, want ErrCodec that says why", name, err)
	}
}

// loadWith reads a value through a cache of its own.
func loadWith[V any](t *testing.T, codec nearcache.Codec[V], v V) (V, error) {
	t.Helper()
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()})
	c, err := nearcache.NewCache(client, "t", nearcache.Options[string, V]{Codec: codec,
		Load: func(context.Context, string) (nearcache.Entry[V], error) { return nearcache.Entry[V]{Value: v}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return c.Get(t.Context(), "k")
}
