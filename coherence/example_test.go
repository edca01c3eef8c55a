package coherence_test

import (
	"fmt"

	"github.com/nearcache/nearcache-go/coherence"
)

// A message as it is on the wire, and what a reader makes of it.
func Example() {
	change := coherence.Message{Event: coherence.Event{
		Namespace: "shop", Key: "42", Version: 7, Op: coherence.OpUpdated,
		Seq: 981, Position: coherence.Position{Timeline: 0x5f3a, N: 7741},
	}}
	b, err := coherence.EncodeJSON(change, nil)
	fmt.Println(string(b), err)

	b, err = coherence.EncodeJSON(coherence.Message{Barrier: &coherence.Barrier{
		Seq: 981, Partitions: 4, Position: coherence.Position{Timeline: 0x5f3a, N: 7741},
	}}, nil)
	fmt.Println(string(b), err)

	codec := coherence.EventCodec{}.WithDefaults()
	m, err := codec.Decode([]byte(`{"namespace":"product","key":"42"}`))
	fmt.Println(m.Event.Key, m.Event.Version == 0, err)
	_, err = codec.Decode([]byte(`{"key":"42"}`))
	fmt.Println(err)
	// Output:
	// {"namespace":"shop","key":"42","version":7,"op":"updated","seq":981,"position":{"timeline":"5f3a","n":7741}} <nil>
	// {"barrier":true,"seq":981,"partitions":4,"position":{"timeline":"5f3a","n":7741}} <nil>
	// 42 true <nil>
	// coherence: malformed message: no namespace or no key
}

// Positions order the commits of one timeline. Positions of two timelines cannot be compared.
func ExamplePosition_Covers() {
	at := coherence.Position{Timeline: 1, N: 7}
	fmt.Println(at.Covers(coherence.Position{Timeline: 1, N: 6}))
	fmt.Println(at.Covers(coherence.Position{Timeline: 1, N: 8}))
	fmt.Println(at.Covers(coherence.Position{Timeline: 2, N: 6}))
	fmt.Println(at.Covers(coherence.Position{}))
	// Output:
	// true
	// false
	// false
	// false
}

// PartitionOf is for a producer of its own: a key's events must go to one partition.
func ExamplePartitionOf() {
	fmt.Println(coherence.PartitionOf("product", "42", 4))
	// Output:
	// 1
}
