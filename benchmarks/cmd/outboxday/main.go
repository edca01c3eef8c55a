// Command outboxday writes a day's changes through the trigger of coherence/postgres as fast as Postgres takes them,
// with a relay's reads and trims beside the writers. It prints how the tables grow, how the vacuum keeps up, and how
// the polling query is planned and how long it takes. Time is short against a real day, so changes are kept for a time
// that is as short. The server is its own, with Postgres's defaults of autovacuum.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence/postgres"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var d day
	flag.Int64Var(&d.changes, "changes", 50_000_000, "how many changes are written")
	flag.DurationVar(&d.most, "most", 15*time.Minute, "for how long at most")
	flag.DurationVar(&d.keep, "keep", time.Minute, "for how long changes are kept")
	flag.IntVar(&d.keys, "keys", 200_000, "rows of the table that is written")
	flag.IntVar(&d.rows, "rows", 1000, "rows of one transaction")
	flag.IntVar(&d.writers, "writers", 2, "writers at the same time")
	flag.StringVar(&d.set, "set", "", "storage parameters of the outbox, as 'autovacuum_vacuum_cost_limit = 2000'")
	flag.Parse()
	if err := d.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "outboxday:", err)
		os.Exit(1)
	}
}

// day is one run.
type day struct {
	changes     int64
	most, keep  time.Duration
	keys, rows  int
	writers     int
	set         string
	pool        *pgxpool.Pool
	src         *postgres.Source
	polls       polls
	written     atomic.Int64
	trimmed     atomic.Int64
	trimSlowest atomic.Int64 // nanoseconds
}

// run starts a server of its own, and stops it at the end.
func (d *day) run(ctx context.Context) error {
	end, err := d.open(ctx)
	defer end()
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, d.most)
	defer stop()
	start := time.Now()
	fmt.Printf("%d changes to %d keys in transactions of %d by %d writers, for %v at most; changes are kept for %v\n",
		d.changes, d.keys, d.rows, d.writers, d.most, d.keep)
	work, done := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { d.poll(work) })
	beside.Go(func() { d.trim(work) })
	beside.Go(func() { d.report(work, start) })
	err = d.write(ctx)
	done()
	beside.Wait()
	if err != nil && ctx.Err() == nil {
		return err
	}
	fmt.Println("at the end:")
	last := context.WithoutCancel(ctx)
	if err := d.print(last, time.Since(start)); err != nil {
		return err
	}
	return d.explain(last)
}

// write spreads the changes over the writers, each of which updates a stretch of the table that is its own.
func (d *day) write(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make([]error, d.writers)
	for w := range d.writers {
		first, keys := w*(d.keys/d.writers), d.keys/d.writers
		wg.Go(func() {
			for at := 0; ctx.Err() == nil && d.written.Load() < d.changes; at = (at + d.rows) % keys {
				tag, err := d.pool.Exec(ctx, `update products set stock = stock + 1 where id > $1 and id <= $2`, first+at,
					first+min(at+d.rows, keys))
				if err != nil {
					errs[w] = err
					return
				}
				d.written.Add(tag.RowsAffected())
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
