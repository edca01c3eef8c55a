package kafka

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nearcache/nearcache-go/coherence"
)

// BarrierTopic is the default name of the topic that a relay writes its barriers to, beside the topic of the events.
//
// Whoever may write the events' topic may say that something changed, and no more. What proves that nothing was
// missed comes by a topic that the relay alone need be allowed to write. Its one partition holds records like this
// one:
//
//	{"topic":"product_events","topic_id":"6f1c...","position":{"timeline":"5f3a","n":7741},
//	 "ends":[12,9],"seqs":[981,977]}
//
// Every change at or before the position has been published to the topic of events before this record was, at an
// offset below its partition's end; seqs are the numbers of the last events there. A Tail takes the barrier for a
// partition once it has delivered everything below that end. A barrier from before the Tail began proves as much:
// what it covers had been committed before anything was loaded that the Tail vouches for.
//
// Barriers among the events would disturb those who share the topic, have no key on a compacted one, and could be
// forged.
func BarrierTopic(topic string) string { return topic + ".barriers" }

// barrier is a record of that topic.
type barrier struct {
	topic string
	id    topicID
	at    coherence.Position
	ends  []int64
	seqs  []uint64
}

type wireBarrier struct {
	Topic    string `json:"topic"`
	TopicID  string `json:"topic_id,omitempty"` // hexadecimal
	Position struct {
		Timeline string `json:"timeline"`
		N        uint64 `json:"n"`
	} `json:"position"`
	Ends []int64  `json:"ends"`
	Seqs []uint64 `json:"seqs"`
}

func (b *barrier) encode() ([]byte, error) {
	w := wireBarrier{Topic: b.topic, Ends: b.ends, Seqs: b.seqs}
	if b.id != (topicID{}) {
		w.TopicID = hex.EncodeToString(b.id[:])
	}
	w.Position.Timeline, w.Position.N = strconv.FormatUint(b.at.Timeline, 16), b.at.N
	return json.Marshal(w)
}

func decodeBarrier(value []byte) (*barrier, error) {
	var w wireBarrier
	if err := coherence.UnmarshalObject(value, &w); err != nil {
		return nil, err
	}
	timeline, err := strconv.ParseUint(w.Position.Timeline, 16, 64)
	if err != nil || timeline == 0 || len(w.Ends) == 0 || len(w.Ends) != len(w.Seqs) {
		return nil, fmt.Errorf("%w: no barrier", coherence.ErrMalformed)
	}
	b := &barrier{topic: w.Topic, at: coherence.Position{Timeline: timeline, N: w.Position.N}, ends: w.Ends,
		seqs: w.Seqs}
	if id, err := hex.DecodeString(w.TopicID); err == nil {
		copy(b.id[:], id)
	}
	return b, nil
}

// of is the barrier of one partition, as a sink takes it.
func (b *barrier) of(part int) coherence.Message {
	return coherence.Message{Barrier: &coherence.Barrier{Position: b.at, Seq: b.seqs[part], Partitions: len(b.ends)}}
}
