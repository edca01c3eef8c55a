package nats

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nearcache/nearcache-go/coherence"
)

type wireBarrier struct {
	Position wirePosition `json:"position"`
	Seq      uint64       `json:"seq"`
	Term     string       `json:"term,omitempty"` // hexadecimal
	Round    uint64       `json:"round,omitempty"`
}

type wireAnswer struct {
	Position wirePosition `json:"position"`
}

type wirePosition struct {
	Timeline string `json:"timeline"` // hexadecimal: the number may be too large for other languages' JSON
	N        uint64 `json:"n"`
}

func wirePositionOf(at coherence.Position) wirePosition {
	return wirePosition{strconv.FormatUint(at.Timeline, 16), at.N}
}

// position is an error for the zero one.
func (w wirePosition) position() (coherence.Position, error) {
	timeline, err := strconv.ParseUint(w.Timeline, 16, 64)
	if err != nil || timeline == 0 {
		return coherence.Position{}, fmt.Errorf("%w: no position", coherence.ErrMalformed)
	}
	return coherence.Position{Timeline: timeline, N: w.N}, nil
}

func encodeBarrier(b *coherence.Barrier) ([]byte, error) {
	w := wireBarrier{Position: wirePositionOf(b.Position), Seq: b.Seq}
	if b.Term != 0 {
		w.Term, w.Round = strconv.FormatUint(b.Term, 16), b.Round
	}
	return json.Marshal(w)
}

// decodeBarrier is a barrier as a sink takes it, of the stream's one partition.
func decodeBarrier(value []byte) (*coherence.Barrier, error) {
	var w wireBarrier
	if err := coherence.UnmarshalObject(value, &w); err != nil {
		return nil, err
	}
	at, err := w.Position.position()
	if err != nil {
		return nil, err
	}
	return &coherence.Barrier{Position: at, Seq: w.Seq, Partitions: 1}, nil
}

func encodeAnswer(at coherence.Position) ([]byte, error) {
	return json.Marshal(wireAnswer{wirePositionOf(at)})
}

func decodeAnswer(value []byte) (coherence.Position, error) {
	var w wireAnswer
	if err := coherence.UnmarshalObject(value, &w); err != nil {
		return coherence.Position{}, err
	}
	return w.Position.position()
}
