package tailing

import (
	"context"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// TraceHeader is the header of a message with the traceparent of the write.
const TraceHeader = "traceparent"

// Decode decodes a record. Its events must be of namespaces that there can be. An event that says no trace has that of
// the record's header.
func Decode(c coherence.EventCodec, record coherence.Record) ([]coherence.Event, error) {
	events, err := c.Decode(record)
	if err != nil {
		return nil, err
	}
	trace := string(record.Header(TraceHeader))
	for i, e := range events {
		if err := e.Validate(); err != nil {
			return nil, err
		}
		if e.Trace == "" {
			e.Trace = trace
		}
		events[i].Trace = coherence.CheckTraceparent(e.Trace)
	}
	return events, nil
}

// Pause waits for d or until ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
