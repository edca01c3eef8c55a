package peers

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Product is a value that has to be decoded, like most values in a near cache.
type Product struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Price int64  `json:"price"`
	Stock int64  `json:"stock"`
	About string `json:"about"`
}

// NewProduct returns the i-th product, in about size bytes of JSON.
func NewProduct(i, size int) Product {
	p := Product{ID: fmt.Sprintf("p%07d", i), Name: fmt.Sprintf("Espresso machine no. %d", i),
		Price: int64(1000 + i%9000), Stock: int64(i % 50)}
	bare, _ := json.Marshal(p)
	if n := size - len(bare); n > 0 {
		p.About = strings.Repeat("Fifteen bars, a steel boiler, a wand. ", n/38+1)[:n]
	}
	return p
}

// JSON encodes values as JSON.
type JSON[V any] struct{}

// Append appends v as JSON.
func (JSON[V]) Append(b []byte, v V) ([]byte, error) {
	j, err := json.Marshal(v)
	return append(b, j...), err
}

// Decode parses JSON.
func (JSON[V]) Decode(b []byte) (v V, err error) {
	err = json.Unmarshal(b, &v)
	return v, err
}

// Raw keeps strings unchanged.
type Raw struct{}

// Append appends the bytes of v.
func (Raw) Append(b []byte, v string) ([]byte, error) { return append(b, v...), nil }

// Decode copies b.
func (Raw) Decode(b []byte) (string, error) { return string(b), nil }

// encoded returns v as Redis holds it for peers that add nothing.
func encoded[V any](c Codec[V], v V) string {
	b, err := c.Append(nil, v)
	if err != nil {
		panic(err) // the values of the benchmarks can always be encoded
	}
	return string(b)
}

// next returns the next index in a circle.
func next(i, n int) int {
	if i++; i >= n {
		return 0
	}
	return i
}
