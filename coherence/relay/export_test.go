package relay

import "context"

// RunOn runs a relay over another engine than Redis.
func (r Relay) RunOn(ctx context.Context, l2 engine) error { return r.run(ctx, l2) }
