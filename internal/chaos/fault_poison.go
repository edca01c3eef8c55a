//go:build unix

package chaos

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// group is the consumer group of the worker.
const group = "workers"

const (
	largestValue = 1_048_500        // bytes that a broker with default settings takes for a message, nearly
	zeros        = 16 << 20         // bytes that a small compressed message becomes
	workerBehind = 20 * time.Second // the worker may take so long to pass what it cannot decode
)

// poisons are messages that no codec of ours made. A worker must pass all of them, and the instances must go on to
// follow the topic.
func poisons() []fault {
	random := func(rnd *rand.Rand, n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	one := func(message func(rnd *rand.Rand) []byte) func(*rand.Rand) [][]byte {
		return func(rnd *rand.Rand) [][]byte { return [][]byte{message(rnd)} }
	}
	kinds := []struct {
		name     string
		codec    kafkago.Compression
		messages func(rnd *rand.Rand) [][]byte
	}{
		{"no JSON", 0, func(*rand.Rand) [][]byte {
			return [][]byte{nil, {}, []byte("no JSON"), {0}, []byte("null"), []byte("[]"), []byte("42"), []byte(`{"version":`),
				{0xff, 0xfe}}
		}},
		{"JSON of other types", 0, func(*rand.Rand) [][]byte {
			var out [][]byte
			for _, s := range []string{`{}`, `{"id":{},"version":1}`, `{"id":"1","version":"x"}`, `{"id":"1","version":-1}`,
				`{"id":"1","version":1e99}`,
				`{"id":[1],"version":[2],"timestamp":{}}`, `{"barrier":"yes"}`, `{"barrier":{"n":-1}}`,
				`{"id":"\ud800","version":1}`} {
				out = append(out, []byte(s))
			}
			return append(out, []byte(strings.Repeat("[", 100_000)), []byte(`{"id":`+strings.Repeat(`{"a":`, 50_000)))
		}},
		{"garbage of a megabyte", 0, one(func(rnd *rand.Rand) []byte { return random(rnd, largestValue) })},
		{"300 of 20 KB", 0, func(rnd *rand.Rand) (out [][]byte) {
			for range 300 {
				out = append(out, random(rnd, 20_000))
			}
			return out
		}},
		{"a gzip of zeros", kafkago.Gzip, one(func(*rand.Rand) []byte { return bytes.Repeat([]byte{'0'}, zeros) })},
	}
	var out []fault
	for _, k := range kinds {
		out = append(out, fault{"kafka: poison, " + k.name, func(ctx context.Context, in *injection) error {
			return in.publishPoison(ctx, k.messages(in.rnd), k.codec)
		}, 500 * time.Millisecond, 1500 * time.Millisecond})
	}
	return out
}

// publishPoison sends messages to every partition, in requests that the broker takes, and has the run check
// afterwards that the worker has passed them.
func (in *injection) publishPoison(ctx context.Context, values [][]byte, codec kafkago.Compression) error {
	ends, err := in.ends(ctx)
	if err != nil {
		return err
	}
	for part := range ends {
		for _, chunk := range chunks(values, largestValue) {
			res, err := in.admin.Produce(ctx,
				&kafkago.ProduceRequest{Topic: topic, Partition: part, RequiredAcks: kafkago.RequireAll,
					Compression: codec, Records: kafkago.NewRecordReader(records(chunk)...)})
			if err == nil {
				err = res.Error
			}
			if err != nil {
				return fmt.Errorf("chaos: publishing: %w", err)
			}
		}
	}
	if ends, err = in.ends(ctx); err != nil {
		return err
	}
	in.check(func(ctx context.Context) error { return in.workerPasses(ctx, ends) })
	return nil
}

// chunks are values that fit into one request each.
func chunks(values [][]byte, most int) (out [][][]byte) {
	size := most
	for _, v := range values {
		const overhead = 100 // of a record
		if size+len(v)+overhead > most {
			out, size = append(out, nil), 0
		}
		last := len(out) - 1
		out[last], size = append(out[last], v), size+len(v)+overhead
	}
	return out
}

func records(values [][]byte) (out []kafkago.Record) {
	for _, v := range values {
		out = append(out, kafkago.Record{Value: kafkago.NewBytes(v), Time: time.Now()})
	}
	return out
}

// workerPasses waits until the worker has committed offsets past ends.
func (in *injection) workerPasses(ctx context.Context, ends map[int]int64) error {
	var parts []int
	for p := range ends {
		parts = append(parts, p)
	}
	behind := ""
	if err := until(ctx, workerBehind, "the worker passes what it cannot decode", func() bool {
		res, err := in.admin.OffsetFetch(ctx,
			&kafkago.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: parts}})
		if err != nil {
			behind = err.Error()
			return false
		}
		behind = ""
		for _, p := range res.Topics[topic] {
			if p.CommittedOffset < ends[p.Partition] {
				behind += fmt.Sprintf(" partition %d: %d of %d;", p.Partition, p.CommittedOffset, ends[p.Partition])
			}
		}
		return behind == ""
	}); err != nil {
		return fmt.Errorf("%w:%s", err, behind)
	}
	return nil
}
