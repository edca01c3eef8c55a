package suite

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/benchmarks/fleet"
)

// scaleWrites is a load of writes: transactions of some rows each, whose keys are from first to before.
type scaleWrites struct {
	rowsPerSecond float64
	rows          int // of a transaction
	first, before int
}

// scaleWriter is the program that writes to the database, beside the fleet.
type scaleWriter struct {
	pool    *pgxpool.Pool
	written atomic.Int64
}

// run writes until the returned function is called, which returns the error of a write.
func (w *scaleWriter) run(ctx context.Context, l scaleWrites) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	var failed error
	var wg sync.WaitGroup
	wg.Go(func() {
		start, pause := time.Now(), time.Duration(float64(l.rows)/l.rowsPerSecond*float64(time.Second))
		for n := 1; ctx.Err() == nil && failed == nil; n++ {
			failed = w.write(ctx, l)
			time.Sleep(time.Until(start.Add(time.Duration(n) * pause)))
		}
	})
	return func() error {
		cancel()
		wg.Wait()
		if errors.Is(failed, context.Canceled) {
			return nil
		}
		return failed
	}
}

func (w *scaleWriter) write(ctx context.Context, l scaleWrites) error {
	keys := make([]string, l.rows)
	at := rand.IntN(l.before - l.first)
	for i := range keys {
		keys[i] = fleet.Key(l.first + (at+i*97)%(l.before-l.first))
	}
	tag, err := w.pool.Exec(ctx, `update `+fleet.Table+` set seq = seq + 1 where id = any($1)`, keys)
	w.written.Add(tag.RowsAffected())
	return err
}
