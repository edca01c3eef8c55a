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
//	 "ends":[12,9],"seqs":[981,977],"head":{"timeline":"5f3a","n":7742},"begun":318,
//	 "term":"9c41...","round":37}
//
// Every change at or before the position has been published to the topic of events before this record was, at an
// offset below its partition's end; seqs are the numbers of the last events there. A Tail takes the barrier for a
// partition once it has delivered everything below that end. A barrier from before the Tail began proves as much:
// what it covers had been committed before anything was loaded that the Tail vouches for.
//
// The head is the source's position. The relay asked for it once its record at offset begun-1 of the barriers' topic
// was durable, which is that of the round before in the same term. So everything that was committed before that is at
// or before the head. That is how an instance learns a position without asking the source.
//
// The record's key is the events' topic, so the barriers' topic may be compacted. Barriers among the events would
// disturb those who share the topic, and could be forged.
func BarrierTopic(topic string) string { return topic + ".barriers" }

// barrier is a record of that topic.
type barrier struct {
	topic string
	id    topicID
	at    coherence.Position
	ends  []int64
	seqs  []uint64
	head  coherence.Position
	begun int64 // 0: it says nothing of when the head was asked for
	// term and round are the relay's. No two records have both in common.
	term, round uint64
}

type wireBarrier struct {
	Topic    string        `json:"topic"`
	TopicID  string        `json:"topic_id,omitempty"` // hexadecimal
	Position wirePosition  `json:"position"`
	Ends     []int64       `json:"ends"`
	Seqs     []uint64      `json:"seqs"`
	Head     *wirePosition `json:"head,omitempty"`
	Begun    int64         `json:"begun,omitempty"`
	Term     string        `json:"term,omitempty"` // hexadecimal
	Round    uint64        `json:"round,omitempty"`
}

type wirePosition struct {
	Timeline string `json:"timeline"` // hexadecimal
	N        uint64 `json:"n"`
}

func wirePositionOf(at coherence.Position) wirePosition {
	return wirePosition{Timeline: strconv.FormatUint(at.Timeline, 16), N: at.N}
}

// position reports ok for one that is not zero.
func (w wirePosition) position() (at coherence.Position, ok bool) {
	timeline, err := strconv.ParseUint(w.Timeline, 16, 64)
	return coherence.Position{Timeline: timeline, N: w.N}, err == nil && timeline != 0
}

func (b *barrier) encode() ([]byte, error) {
	w := wireBarrier{Topic: b.topic, Ends: b.ends, Seqs: b.seqs}
	if b.id != (topicID{}) {
		w.TopicID = hex.EncodeToString(b.id[:])
	}
	w.Position = wirePositionOf(b.at)
	if b.term != 0 {
		w.Term, w.Round = strconv.FormatUint(b.term, 16), b.round
	}
	if b.begun > 0 && !b.head.IsZero() {
		head := wirePositionOf(b.head)
		w.Head, w.Begun = &head, b.begun
	}
	return json.Marshal(w)
}

func decodeBarrier(value []byte) (*barrier, error) {
	var w wireBarrier
	if err := coherence.UnmarshalObject(value, &w); err != nil {
		return nil, err
	}
	at, ok := w.Position.position()
	if !ok || len(w.Ends) == 0 || len(w.Ends) != len(w.Seqs) {
		return nil, fmt.Errorf("%w: no barrier", coherence.ErrMalformed)
	}
	b := &barrier{topic: w.Topic, at: at, ends: w.Ends, seqs: w.Seqs, round: w.Round}
	b.term, _ = strconv.ParseUint(w.Term, 16, 64) // 0: of no use, and no harm
	if w.Head != nil && w.Begun > 0 {
		if b.head, ok = w.Head.position(); ok {
			b.begun = w.Begun
		}
	}
	if id, err := hex.DecodeString(w.TopicID); err == nil {
		copy(b.id[:], id)
	}
	return b, nil
}

// of is the barrier of one partition, as a sink takes it.
func (b *barrier) of(part int) coherence.Message {
	return coherence.Message{Barrier: &coherence.Barrier{Position: b.at, Seq: b.seqs[part], Partitions: len(b.ends)}}
}
