package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/services/local"
)

// open starts the server, and makes the table, and the source with its trigger. Call end also after an error.
func (d *day) open(ctx context.Context) (end func(), err error) {
	var undo []func()
	end = func() {
		for _, f := range slices.Backward(undo) {
			f()
		}
	}
	dir, err := os.MkdirTemp("", "outboxday-")
	if err != nil {
		return end, err
	}
	undo = append(undo, func() { _ = os.RemoveAll(dir) })
	// The tests' servers look for tables to vacuum every ten minutes; Postgres's default is a minute.
	server, err := local.StartPostgres(ctx, dir, local.Launch{}, "autovacuum_naptime=1min")
	if err != nil {
		return end, err
	}
	undo = append(undo, func() { server.Discard(); _ = os.RemoveAll(server.Dir) })
	if d.pool, err = pgxpool.New(ctx, local.PostgresURL(server.Addr, "postgres")); err != nil {
		return end, err
	}
	undo = append(undo, d.pool.Close)
	if d.src, err = postgres.New(d.pool, postgres.Config{}); err != nil {
		return end, err
	}
	undo = append(undo, d.src.Close)
	if err := d.src.Install(ctx); err != nil {
		return end, err
	}
	if d.set != "" {
		if _, err := d.pool.Exec(ctx, "alter table nearcache.outbox set ("+d.set+")"); err != nil {
			return end, err
		}
	}
	_, err = d.pool.Exec(ctx, `create table products (id int primary key, stock bigint not null) with (fillfactor = 50)`)
	if err != nil {
		return end, err
	}
	_, err = d.pool.Exec(ctx, `insert into products select g, 0 from generate_series(1, $1::int) g`, d.keys)
	if err != nil {
		return end, err
	}
	return end, d.src.InstallTrigger(ctx, postgres.Trigger{Table: "products", Namespace: "product",
		KeyColumns: []string{"id"}})
}

// polls are how long the relay's reads took since the last line.
type polls struct {
	mu   sync.Mutex
	at   coherence.Position
	read int64
	all  []time.Duration
}

// poll reads all changes, as a relay does with its usual batch.
func (d *day) poll(ctx context.Context) {
	for ctx.Err() == nil {
		d.polls.mu.Lock()
		after := d.polls.at
		d.polls.mu.Unlock()
		start := time.Now()
		events, upto, err := d.src.Changes(ctx, after, 500)
		if err != nil {
			if ctx.Err() == nil {
				fmt.Println("reading changes:", err)
				pause(ctx, time.Second)
			}
			continue
		}
		d.polls.mu.Lock()
		d.polls.at = upto
		d.polls.read += int64(len(events))
		d.polls.all = append(d.polls.all, time.Since(start))
		d.polls.mu.Unlock()
		if len(events) < 500 {
			pause(ctx, 100*time.Millisecond)
		}
	}
}

// trim drops what was read and is older than it is kept, in steps of five seconds as the relay does.
func (d *day) trim(ctx context.Context) {
	for ; ctx.Err() == nil; pause(ctx, max(d.keep/10, time.Second)) {
		for more := true; more && ctx.Err() == nil; {
			d.polls.mu.Lock()
			upto := d.polls.at
			d.polls.mu.Unlock()
			step, stop := context.WithTimeout(ctx, 5*time.Second)
			start := time.Now()
			n, err := d.src.Trim(step, upto, d.keep)
			more = n > 0 && err == nil && step.Err() != nil
			stop()
			d.trimmed.Add(n)
			d.trimSlowest.Store(max(d.trimSlowest.Load(), int64(time.Since(start))))
			if err != nil && ctx.Err() == nil {
				fmt.Println("trimming:", err)
			}
		}
	}
}

// report prints a line a minute.
func (d *day) report(ctx context.Context, start time.Time) {
	for pause(ctx, time.Minute); ctx.Err() == nil; pause(ctx, time.Minute) {
		if err := d.print(ctx, time.Since(start)); err != nil && ctx.Err() == nil {
			fmt.Println(err)
		}
	}
}

func (d *day) print(ctx context.Context, after time.Duration) error {
	d.polls.mu.Lock()
	read, all := d.polls.read, d.polls.all
	d.polls.all = nil
	d.polls.mu.Unlock()
	slices.Sort(all)
	var sum time.Duration
	for _, t := range all {
		sum += t
	}
	mean, p99 := time.Duration(0), time.Duration(0)
	if n := len(all); n > 0 {
		mean, p99 = sum/time.Duration(n), all[n*99/100]
	}
	written := d.written.Load()
	fmt.Printf("%6v: %d written (%.0f a second), %d read, %d trimmed; a read takes %v, p99 %v; "+
		"the longest step of a trim %v\n",
		after.Round(time.Second), written, float64(written)/after.Seconds(), read, d.trimmed.Load(),
		mean.Round(10*time.Microsecond), p99.Round(10*time.Microsecond),
		time.Duration(d.trimSlowest.Load()).Round(time.Millisecond))
	for _, table := range []string{"outbox", "versions"} {
		var size, index string
		var live, dead, vacuums int64
		err := d.pool.QueryRow(ctx, `select pg_size_pretty(pg_table_size(relid)), pg_size_pretty(pg_indexes_size(relid)),
			n_live_tup, n_dead_tup, autovacuum_count from pg_stat_user_tables where schemaname = 'nearcache' and relname = $1`,
			table).Scan(&size, &index, &live, &dead, &vacuums)
		if err != nil {
			return err
		}
		fmt.Printf("        %s: %s and %s of index; %d rows, %d dead; %d vacuums\n", table, size, index, live, dead, vacuums)
	}
	return nil
}

// explain prints how the polling query was planned and run: with a batch before it, and with nothing.
func (d *day) explain(ctx context.Context) error {
	plans := make(chan string, 100)
	cfg := d.pool.Config()
	cfg.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		select {
		case plans <- n.Message:
		default:
		}
	}
	cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, `load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_analyze = on;
			set auto_explain.log_buffers = on; set auto_explain.log_verbose = off; set client_min_messages = log`)
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer pool.Close()
	src, err := postgres.New(pool, postgres.Config{Conns: 1})
	if err != nil {
		return err
	}
	defer src.Close()
	head, err := d.src.Position(ctx)
	if err != nil {
		return err
	}
	for name, after := range map[string]coherence.Position{"a batch": d.polls.at, "nothing": head} {
		for len(plans) > 0 {
			<-plans
		}
		if _, _, err := src.Changes(ctx, after, 500); err != nil {
			return err
		}
		for len(plans) > 0 {
			if plan := <-plans; strings.Contains(plan, "outbox") {
				fmt.Printf("the polling query, with %s to read:\n%s\n", name, plan)
			}
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
