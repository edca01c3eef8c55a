package coherence_test

import (
	"fmt"

	"github.com/nearcache/nearcache-go/coherence"
)

// An event as it is on the wire, and what a reader makes of it.
func Example() {
	change := coherence.Event{
		Namespace: "shop", Key: "42", Version: 7, Op: coherence.OpUpdated,
		Seq: 981, Position: coherence.Position{Timeline: 0x5f3a, N: 7741},
	}
	b, err := coherence.EncodeJSON(change, nil)
	fmt.Println(string(b), err)

	codec := coherence.EventCodec{}.WithDefaults()
	events, err := codec.Decode(coherence.Record{Value: []byte(`{"namespace":"product","key":"42"}`)})
	fmt.Println(events[0].Key, events[0].Version == 0, err)
	_, err = codec.Decode(coherence.Record{Value: []byte(`{"key":"42"}`)})
	fmt.Println(err)
	// Output:
	// {"namespace":"shop","key":"42","version":7,"op":"updated","seq":981,"position":{"timeline":"5f3a","n":7741}} <nil>
	// 42 true <nil>
	// coherence: malformed message: no namespace or no key
}

// A codec for somebody else's messages: it passes over those of other types, and one message may name several keys.
func ExampleEventCodec() {
	codec := coherence.EventCodec{Decode: func(r coherence.Record) (events []coherence.Event, err error) {
		if string(r.Header("type")) != "prices" {
			return nil, nil
		}
		var changed struct{ SKUs []string }
		if err := coherence.UnmarshalObject(r.Value, &changed); err != nil {
			return nil, err
		}
		for _, sku := range changed.SKUs {
			events = append(events, coherence.Event{Namespace: "product", Key: sku})
		}
		return events, nil
	}}
	prices := []coherence.Header{{Key: "type", Value: []byte("prices")}}
	for _, r := range []coherence.Record{
		{Headers: prices, Value: []byte(`{"skus":["a","b"]}`)},
		{Value: []byte(`{"orders":[]}`)},
		{Headers: prices, Value: []byte(`no JSON`)},
	} {
		events, err := codec.Decode(r)
		fmt.Println(len(events), err)
	}
	// Output:
	// 2 <nil>
	// 0 <nil>
	// 0 coherence: malformed message: not a JSON object
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
