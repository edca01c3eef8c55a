package testkit

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/nearcache/nearcache-go/coherence"
)

// Topic is a coherence.Publisher in memory. It is safe for concurrent use.
type Topic struct {
	mu         sync.Mutex
	partitions [][]coherence.Message
	err        error
	mixed      bool
}

// NewTopic returns an empty topic of n partitions.
func NewTopic(n int) *Topic { return &Topic{partitions: make([][]coherence.Message, n)} }

// Fail makes Publish return err, as when the broker is down. nil ends that.
func (p *Topic) Fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// Partitions implements coherence.Publisher.
func (p *Topic) Partitions(context.Context) (int, error) { return len(p.partitions), nil }

// Publish implements coherence.Publisher.
func (p *Topic) Publish(_ context.Context, batch []coherence.PartitionMessage) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	for _, m := range batch {
		p.mixed = p.mixed || (m.Barrier == nil) != (batch[0].Barrier == nil)
		p.partitions[m.Partition] = append(p.partitions[m.Partition], m.Message)
	}
	return nil
}

// Messages returns what was published to a partition, in order.
func (p *Topic) Messages(partition int) []coherence.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.partitions[partition])
}

// Events returns the events of a partition without the barriers, each as "key@seq".
func (p *Topic) Events(partition int) (out []string) {
	for _, m := range p.Messages(partition) {
		if m.Barrier == nil {
			out = append(out, fmt.Sprintf("%s@%d", m.Event.Key, m.Event.Seq))
		}
	}
	return out
}

// Mixed reports whether a batch had both events and barriers.
func (p *Topic) Mixed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mixed
}
