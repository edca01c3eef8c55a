package postgres

import (
	"context"

	"github.com/nearcache/nearcache-go/coherence"
)

// SetTrace makes the changes that a transaction counts from now on belong to a trace: their events have the traceparent
// (W3C Trace Context) as Event.Trace. It holds until the transaction ends. A text that is no traceparent sets none. In
// SQL it is
//
//	select set_config('nearcache.traceparent', $1, true)
//
// It takes a round trip, so a writer without a trace need not call it.
func (s *Source) SetTrace(ctx context.Context, tx Querier, traceparent string) error {
	var set string
	err := tx.QueryRow(ctx, `select set_config('nearcache.traceparent', $1, true)`,
		coherence.CheckTraceparent(traceparent)).Scan(&set)
	return s.fault("set trace", err)
}
