//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nearcache/nearcache-go/internal/services/local"
)

const (
	largeRows   = 20_000           // changes of a large transaction, and of a backlog
	heavyRows   = 200_000          // of the heavy ones
	backlogStep = 2_000            // changes of each transaction of a backlog
	patience    = 20 * time.Second // for which the relay may carry the large ones
	heavyFor    = 2 * time.Minute  // and the heavy ones
	clocksApart = 10 * time.Minute
)

// loadFaults are writes that are too large or too many, and what Loaders and clocks may do.
func loadFaults() []fault {
	short, long := 100*time.Millisecond, 500*time.Millisecond
	return []fault{
		{name: "source: a transaction of 20,000 rows", inject: largeTransaction(largeRows, patience), least: short,
			most: long},
		{name: "postgres: trigger disabled", inject: triggerDisabled, least: short, most: long},
		{name: "relay: a backlog of 20,000 changes", inject: backlog(largeRows, patience), least: short, most: long},
		{name: nested, inject: nestedLoads, least: time.Second, most: 3 * time.Second},
		{name: "instance: clocks ten minutes apart", inject: clocks, least: 2 * time.Second, most: 4 * time.Second},
		{name: "instance: clocks step again and again", inject: clockSteps, least: 2 * time.Second, most: 4 * time.Second},
	}
}

// heavyFaults take minutes. Only a run that asks for them has them in its schedule.
func heavyFaults() []fault {
	short, long := 100*time.Millisecond, 500*time.Millisecond
	large := fault{name: "source: a transaction of 200,000 rows", inject: largeTransaction(heavyRows, heavyFor),
		least: short, most: long}
	ofProcesses := processFaults()
	killed := ofProcesses[slices.IndexFunc(ofProcesses, func(f fault) bool { return f.name == "relay: both kill -9" })]
	return []fault{
		large,
		both(large, killed),
		{name: "relay: a backlog of 200,000 changes", inject: backlog(heavyRows, heavyFor), least: short, most: long},
	}
}

// bulkStart is the first row that only these faults write; the outer cache reads those before.
const bulkStart = 1_000_000

// largeTransaction commits one transaction with so many changes of another table, and at its end some of the items.
// Those are counted and promised like any other write, and their changes are behind the others in the outbox.
func largeTransaction(rows int, patience time.Duration) func(context.Context, *injection) error {
	return func(ctx context.Context, in *injection) error {
		in.patience = patience
		ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
		defer cancel()
		changes := in.changes(4)
		for _, c := range changes {
			in.writes.begins(c)
		}
		versions, err := in.store.large(ctx, bulkStart, bulkStart+rows-1, changes)
		for i, c := range changes {
			v := uint64(0)
			if err == nil {
				v = versions[i]
			}
			in.writes.ended(c, v, err)
		}
		return err
	}
}

// changes are writes of the hottest items, in the order of their keys.
func (in *injection) changes(n uint32) (out []change) {
	for k := range n {
		c := change{key: k, number: in.writes.number()}
		c.body = body(in.rnd, c.number)
		out = append(out, c)
	}
	return out
}

// triggerDisabled writes items while the trigger that counts versions does not fire. The writers of the fleet are
// paused meanwhile: their writes are promised, and these are not. The ground truth knows each of them as a further
// state of the version that stood. When the trigger fires again, a counted write of the same items ends that state:
// from then on everything is promised again.
func triggerDisabled(ctx context.Context, in *injection) error {
	names := append(in.instances(), "writer")
	if err := in.command(ctx, "pause", names); err != nil {
		return err
	}
	in.heal(func(ctx context.Context) error { return in.command(ctx, "go", names) })
	pool := in.store.(*postgresStore).pool
	rows, err := pool.Query(ctx, `select tgname, case tgenabled when 'A' then 'enable always'
			when 'R' then 'enable replica' else 'enable' end from pg_trigger
		where tgrelid = 'items'::regclass and not tgisinternal and tgname not like 'zz_history%'`)
	if err != nil {
		return fmt.Errorf("chaos: the triggers: %w", err)
	}
	triggers, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t [2]string, err error) {
		return t, row.Scan(&t[0], &t[1])
	})
	if err == nil && len(triggers) == 0 {
		err = errors.New("there is none")
	}
	if err != nil {
		return fmt.Errorf("chaos: the triggers: %w", err)
	}
	set := func(ctx context.Context, how func(enable string) string) error {
		for _, t := range triggers {
			_, err := pool.Exec(ctx, fmt.Sprintf("alter table items %s trigger %q", how(t[1]), t[0]))
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := set(ctx, func(string) string { return "disable" }); err != nil {
		return err
	}
	in.heals = append([]func(context.Context) error{func(ctx context.Context) error {
		if err := set(ctx, func(enable string) string { return enable }); err != nil {
			return err
		}
		return in.writeItems(ctx)
	}}, in.heals...)
	for end := time.Now().Add(time.Second); time.Now().Before(end) && ctx.Err() == nil; {
		if err := in.writeUncounted(ctx); err != nil {
			return err
		}
		pause(ctx, 50*time.Millisecond)
	}
	return nil
}

// writeUncounted writes one of the hottest items, or deletes it.
func (in *injection) writeUncounted(ctx context.Context) error {
	c := change{key: uint32(in.rnd.IntN(8)), number: in.writes.number()}
	if in.rnd.IntN(4) > 0 {
		c.body = body(in.rnd, c.number)
	}
	in.writes.begins(c)
	_, err := in.store.write(ctx, []change{c}, 0)
	in.writes.ended(c, 0, err) // the version that it read is that of an earlier write
	if c.body == "" {
		return nil // it may have been deleted already
	}
	return err
}

// writeItems writes the hottest items, counted.
func (in *injection) writeItems(ctx context.Context) error {
	changes := in.changes(8)
	for _, c := range changes {
		in.writes.begins(c)
	}
	versions, err := in.store.write(ctx, changes, 0)
	for i, c := range changes {
		v := uint64(0)
		if err == nil {
			v = versions[i]
		}
		in.writes.ended(c, v, err)
	}
	return err
}

// backlog fills the outbox while no relay runs, and then starts both.
func backlog(rows int, patience time.Duration) func(context.Context, *injection) error {
	return func(ctx context.Context, in *injection) error {
		in.patience = patience
		for _, name := range []string{"relay-0", "relay-1"} {
			in.member(name).kill()
			in.heal(func(context.Context) error { return in.launch(name) })
		}
		for from := bulkStart; from < bulkStart+rows; from += backlogStep {
			if err := in.store.fill(ctx, from, from+backlogStep-1); err != nil {
				return fmt.Errorf("chaos: a backlog: %w", err)
			}
		}
		return nil
	}
}

// clocks steps the wall clocks of two instances: one goes ten minutes ahead, the next ten minutes behind. Other
// clocks of these processes are not touched, so that the history's order stands.
func clocks(ctx context.Context, in *injection) error {
	names := in.instances()
	in.rnd.Shuffle(len(names),
		func(i, j int) { names[i], names[j] = names[j], names[i] })
	in.heal(func(ctx context.Context) error { return in.command(ctx, "clock 0s", names) })
	for i, ahead := range []time.Duration{clocksApart, -clocksApart}[:min(2, len(names))] {
		if err := in.command(ctx, "clock "+ahead.String(), names[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// clockSteps steps the wall clock of one instance after another, by up to clocksApart either way.
func clockSteps(_ context.Context, in *injection) error {
	names := in.instances()
	in.heal(func(ctx context.Context) error { return in.command(ctx, "clock 0s", names) })
	in.repeat(func(ctx context.Context) {
		if in.rnd.IntN(3) > 0 {
			return
		}
		ahead := time.Duration(in.rnd.Int64N(2*int64(clocksApart))) - clocksApart
		n := in.rnd.IntN(len(names))
		_ = in.command(ctx, "clock "+ahead.String(), names[n:n+1]) // it may come late: the hold is over then
	})
	return nil
}

// demotions are fail-overs in which the connections to the old primary stand: it goes on to answer, as a replica that
// takes no writes.
func demotions() []fault {
	least, most := 500*time.Millisecond, 2*time.Second
	return []fault{
		{name: "redis: demoted, and the connections stand", inject: demoted, least: least, most: most},
		{name: "redis: demoted, and promoted again", inject: demotedForAWhile, least: least, most: most},
	}
}

// demote makes the primary a replica of its replica.
func (in *injection) demote(ctx context.Context) (old, promoted *local.Server, err error) {
	old, promoted = in.redis, in.replica
	if _, err := local.RedisDo(ctx, promoted.Addr, "REPLICAOF", "NO", "ONE"); err != nil {
		return nil, nil, err
	}
	host, port := split(promoted.Addr)
	_, err = local.RedisDo(ctx, old.Addr, "REPLICAOF", host, port)
	return old, promoted, err
}

// demoted leaves the instances at the old primary until the fault is healed, and by chance everybody else too.
func demoted(ctx context.Context, in *injection) error {
	old, promoted, err := in.demote(ctx)
	if err != nil {
		return err
	}
	in.redis, in.replica = promoted, old
	in.heal(func(ctx context.Context) error {
		for _, m := range in.members() {
			if err := in.links.of(m, redisService).route(promoted.Addr); err != nil {
				return err
			}
		}
		return in.follow(ctx, old, promoted)
	})
	if in.rnd.IntN(2) > 0 {
		return nil
	}
	for _, m := range []string{"relay-0", "relay-1", "worker"} {
		if l := in.links.of(m, redisService); l != nil { // only a fleet with Kafka has a worker
			if err := l.route(promoted.Addr); err != nil {
				return err
			}
		}
	}
	return nil
}

// demotedForAWhile promotes the old primary again, behind the connections that have stood all the time.
func demotedForAWhile(ctx context.Context, in *injection) error {
	old, promoted, err := in.demote(ctx)
	if err != nil {
		return err
	}
	in.heal(func(ctx context.Context) error {
		if _, err := local.RedisDo(ctx, old.Addr, "REPLICAOF", "NO", "ONE"); err != nil {
			return err
		}
		return in.follow(ctx, promoted, old)
	})
	return nil
}
