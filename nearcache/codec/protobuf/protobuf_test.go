package protobuf_test

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/codec/protobuf"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

var _ nearcache.Codec[*timestamppb.Timestamp] = protobuf.Codec[*timestamppb.Timestamp]{}

func TestCodec_RoundTripAndDeterminism(t *testing.T) {
	m, err := structpb.NewStruct(map[string]any{"a": 1, "b": "two", "c": []any{true, nil}, "d": map[string]any{"e": 0.5}})
	if err != nil {
		t.Fatal(err)
	}
	var c protobuf.Codec[*structpb.Struct]
	b, err := c.Append([]byte("before"), m)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if again, err := c.Append([]byte("before"), m); err != nil || string(again) != string(b) {
			t.Fatalf("%q, then %q, %v", b, again, err)
		}
	}
	got, err := c.Decode(b[len("before"):])
	if err != nil || !c.Equal(m, got) {
		t.Errorf("got %v and error %v, want the message that was encoded", got, err)
	}
	if _, err := c.Append(nil, nil); err == nil {
		t.Error("nil is encoded")
	}
	if _, err := c.Decode(b); err == nil {
		t.Error("garbage is decoded")
	}
}

// A message compares as a message: the library's own fields in it differ after a round trip.
func TestCodec_InACache(t *testing.T) {
	client, err := nearcache.New(nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := timestamppb.New(timestamppb.Now().AsTime())
	loads := 0
	c, err := nearcache.NewCache(client, "t",
		nearcache.Options[string, *timestamppb.Timestamp]{Codec: protobuf.Codec[*timestamppb.Timestamp]{},
			Find: func(context.Context, string) (*timestamppb.Timestamp, error) {
				loads++
				return want, nil
			}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got, err := c.Get(t.Context(), "a"); err != nil || !proto.Equal(got, want) {
			t.Errorf("got %v and error %v, want the message that was loaded", got, err)
		}
	}
	if loads != 1 {
		t.Errorf("%d loads", loads)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("\x08\x01\x10\x02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c protobuf.Codec[*structpb.Struct]
		m, err := c.Decode(b)
		if err != nil {
			return
		}
		again, err := c.Append(nil, m)
		if err != nil {
			return // a string that is not UTF-8 in an unknown place, and the like
		}
		if got, err := c.Decode(again); err != nil || !c.Equal(m, got) {
			t.Errorf("%v comes back as %v, %v", m, got, err)
		}
	})
}

func ExampleCodec() {
	c := protobuf.Codec[*timestamppb.Timestamp]{} // for Options.Codec of a Cache[K, *timestamppb.Timestamp]
	b, err := c.Append(nil, &timestamppb.Timestamp{Seconds: 42})
	fmt.Printf("%v %v\n", b, err)
	m, err := c.Decode(b)
	fmt.Println(m.GetSeconds(), err)
	// Output:
	// [8 42] <nil>
	// 42 <nil>
}
