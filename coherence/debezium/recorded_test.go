package debezium_test

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/debezium"
)

// recorded is a record that a real Debezium wrote. `make debezium` checks that it still writes the like, and with
// ARGS=-record writes testdata.
type recorded struct {
	Topic string
	Key   *string
	Value *string // nil: a tombstone
}

// line is an event as the tests write it.
func line(e coherence.Event) string {
	return fmt.Sprintf("%s:%s v%d %s", e.Namespace, e.Key, e.Version, e.Op)
}

// tables is how the tests read the two tables.
var tables = debezium.Config{Tables: map[string]debezium.Table{
	"public.products": {Namespace: "product", Version: "rev"},
	"public.shelves":  {Namespace: "shelf", Key: []string{"sku"}},
}}

func TestCodec_ReadsWhatDebeziumWrote(t *testing.T) {
	sku := func(n int, op coherence.Op) string {
		return fmt.Sprintf("shelf:5f3a0000-0000-4000-8000-%012d v0 %s", n, op)
	}
	enveloped := []string{"product:1 v1 updated", "product:42 v1 created", "product:9007199254740993 v1 created",
		"product:42 v2 updated", "product:42 v0 deleted", "product:42 v0 deleted", "product:43 v3 created",
		"product:43 v0 deleted", "product:43 v0 deleted", "product: v0 truncated", "product:99 v1 created",
		sku(1, "created"), sku(7, "created"), sku(8, "updated"), sku(7, "deleted"), sku(8, "deleted")}
	for name, want := range map[string][]string{
		"schemas": enveloped,
		"plain":   enveloped,
		// A row alone does not say what it was before, and the transform drops truncates.
		"unwrapped": {"product:1 v1 updated", "product:42 v1 updated", "product:9007199254740993 v1 updated",
			"product:42 v2 updated", "product:42 v0 deleted", "product:43 v3 updated", "product:43 v0 deleted",
			"product:99 v1 updated", sku(1, "updated"), sku(7, "updated"), sku(8, "updated"), sku(8, "deleted")},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile("testdata/" + name + ".json")
			if err != nil {
				t.Fatal(err)
			}
			var records []recorded
			if err := json.Unmarshal(b, &records); err != nil {
				t.Fatal(err)
			}
			codec, err := debezium.Codec(tables)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range records {
				events, err := codec.Decode(coherence.Record{Topic: r.Topic, Key: bytes(r.Key), Value: bytes(r.Value)})
				if err != nil {
					t.Errorf("%s: %v", r.Topic, err)
				}
				for _, e := range events {
					got = append(got, line(e))
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got) %s", diff)
			}
		})
	}
}

func bytes(s *string) []byte {
	if s == nil {
		return nil
	}
	return []byte(*s)
}
