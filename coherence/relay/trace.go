package relay

import (
	"context"
	"log/slog"

	"github.com/nearcache/nearcache-go/coherence"
)

// traced runs f in a span of a batch of events, if there is a Tracer and there are events.
func (r *relayRun) traced(ctx context.Context, operation string, events []coherence.Event,
	f func(context.Context) error) error {
	if r.Tracer == nil || len(events) == 0 {
		return f(ctx)
	}
	ctx, span := r.Tracer.StartBatch(ctx, operation, coherence.TracesOf(events),
		slog.Int("nearcache.changes", len(events)))
	err := f(ctx)
	span.End(err)
	return err
}
