package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// The disaster drills of docs/operations/drills.md: `make drill DRILL=RedisLost`. Each runs the programs under load,
// breaks a part for good, repairs it as the page says, and has `nearcache audit` look at what is cached afterwards.

const (
	drillBound    = 250 * time.Millisecond
	drillProducts = 200
)

// drill is a world with a relay, two product servers, and clients that write and read.
type drill struct {
	*world
	began        time.Time
	relay        *program
	a, b         *program
	stop         func()
	mu           sync.Mutex
	acked        map[string][]drillWrite // by product, in order
	reads        map[string]int          // since the last report, by who answered
	errors       int
	stale        []string
	failedWrites int
}

// drillWrite is a version and when its commit was acknowledged.
type drillWrite struct {
	version int
	at      time.Time
}

func newDrill(t *testing.T, prepare func(d *drill)) *drill {
	t.Helper()
	if os.Getenv("NEARCACHE_DRILL") == "" {
		t.Skip("a disaster drill: make drill")
	}
	d := &drill{world: newWorld(t), began: time.Now(), acked: map[string][]drillWrite{}, reads: map[string]int{}}
	if prepare != nil {
		prepare(d)
	}
	d.env["CACHE_MAX_STALENESS_MS"] = fmt.Sprint(drillBound.Milliseconds())
	d.env["HEARTBEAT_MS"] = "25"
	d.env["SEED_PRODUCTS"] = fmt.Sprint(drillProducts)
	d.a = d.start("product-server")
	d.relay = d.start("outbox-relay")
	d.b = d.start("product-server")
	ctx, end := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { d.read(ctx, i) })
	}
	wg.Go(func() { d.write(ctx) })
	d.stop = sync.OnceFunc(func() { end(); wg.Wait() })
	t.Cleanup(d.stop)
	d.say("a relay and two servers serve %d products, with a bound of %v; ten are written, all are read",
		drillProducts, drillBound)
	d.serves("at the start")
	wait(t.Context(), 3*time.Second)
	return d
}

func (d *drill) say(format string, args ...any) {
	d.t.Logf("%6.1fs  %s", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

func drillID(i int) string { return fmt.Sprintf("p%05d", i%drillProducts+1) }

// write writes ten products in turn, through one server.
func (d *drill) write(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		id := drillID(n % 10)
		r, err := do(ctx, "PUT", d.a.url+"/products/"+id, fmt.Sprintf(`{"id":%q,"name":"write %d","price":1}`, id, n))
		d.mu.Lock()
		if err == nil && r.status/100 == 2 {
			d.acked[id] = append(d.acked[id], drillWrite{r.version, time.Now()})
		} else if ctx.Err() == nil {
			d.failedWrites++
		}
		d.mu.Unlock()
		wait(ctx, 10*time.Millisecond)
	}
}

// read reads products through the other server, and checks the bound.
func (d *drill) read(ctx context.Context, from int) {
	for n := from; ctx.Err() == nil; n += 7 {
		id, began := drillID(n), time.Now()
		r, err := do(ctx, "GET", d.b.url+"/products/"+id, "")
		if ctx.Err() != nil {
			return
		}
		d.mu.Lock()
		if err != nil || r.status != 200 {
			d.errors++
		} else {
			d.reads[answeredBy(r)]++
			least := 0
			for _, w := range d.acked[id] {
				if w.at.Before(began.Add(-drillBound)) {
					least = w.version
				}
			}
			if r.version < least {
				d.stale = append(d.stale, fmt.Sprintf("%s: version %d, and %d was acknowledged", id, r.version, least))
			}
		}
		d.mu.Unlock()
		wait(ctx, time.Millisecond)
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func answeredBy(r reply) string {
	for _, tier := range []string{"L1", "L2"} {
		if strings.Contains(r.header.Get("Cache-Status"), "detail="+tier) {
			return tier
		}
	}
	return "database"
}

// report says what the clients have seen since the last report.
func (d *drill) report(while string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.reads["L1"] + d.reads["L2"] + d.reads["database"]
	d.say("%s: %d reads", while, all)
	d.say("  %d of L1, %d of L2, %d of the database; %d failed, and %d writes; %d older than the bound", d.reads["L1"],
		d.reads["L2"], d.reads["database"], d.errors, d.failedWrites, len(d.stale))
	for _, s := range d.stale {
		d.t.Errorf("older than the bound: %s", s)
	}
	d.reads, d.errors, d.stale, d.failedWrites = map[string]int{}, 0, nil, 0
}

// serves waits until L1 serves most reads again.
func (d *drill) serves(when string) {
	d.t.Helper()
	began := time.Now()
	testkit.Eventually(d.t, "L1 serves "+when, func() bool {
		r, err := do(d.t.Context(), "GET", d.b.url+"/products/"+drillID(100), "")
		return err == nil && answeredBy(r) == "L1"
	})
	d.say("L1 serves %s, after %v", when, time.Since(began).Round(10*time.Millisecond))
}

// audit has the operator's tool compare all records with their rows. All products are read before, so that Redis holds
// them.
func (d *drill) audit() {
	d.t.Helper()
	for i := range drillProducts {
		d.a.get(drillID(i))
	}
	dir, err := build()
	if err != nil {
		d.t.Fatal(err)
	}
	env := os.Environ()
	for k, v := range d.env {
		env = append(env, k+"="+v)
	}
	code, out, errOut := once(d.t, env, "nearcache", "audit", "product", "--query", "select id, name from products",
		"--rate", "500", "--wait", drillBound.String(), "--within", "10s", "--json")
	var m map[string]any
	if err := json.Unmarshal([]byte(out), &m); err != nil || code != 0 {
		d.t.Fatalf("nearcache audit in %s: exit code %d\n%s%s", dir, code, out, errOut)
	}
	if n, ok := m["compared"].(float64); !ok || n < drillProducts/2 {
		d.t.Errorf("%v records were compared: that shows nothing", m["compared"])
	}
	d.say("nearcache audit: %v records compared with their rows, %v differ", m["compared"], m["inconsistent"])
}

// TestDrill_RedisLost: Redis dies, and comes back empty.
func TestDrill_RedisLost(t *testing.T) {
	d := newDrill(t, nil)
	d.report("in peace")
	d.redis.Kill()
	d.say("Redis is killed; it keeps nothing on disk")
	wait(t.Context(), 10*time.Second)
	d.report("10 s without Redis")
	d.redis.Restart()
	d.say("an empty Redis is started at the same address; nothing else is done")
	d.serves("again")
	wait(t.Context(), 3*time.Second)
	d.report("after that")
	d.stop()
	d.audit()
}

// TestDrill_KafkaTopicLost: somebody deletes the topic of the events, and it is made again.
func TestDrill_KafkaTopicLost(t *testing.T) {
	d := newDrill(t, nil)
	d.report("in peace")
	admin := &kafkago.Client{Addr: kafkago.TCP(strings.Split(d.env["KAFKA_BOOTSTRAP_SERVERS"], ",")...)}
	res, err := admin.DeleteTopics(t.Context(), &kafkago.DeleteTopicsRequest{Topics: []string{d.topic}})
	if err != nil || res.Errors[d.topic] != nil {
		t.Fatal(err, res)
	}
	d.say("the topic is deleted")
	wait(t.Context(), 10*time.Second)
	d.report("10 s without the topic")
	made, err := admin.CreateTopics(t.Context(), &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{
		{Topic: d.topic, NumPartitions: 4, ReplicationFactor: 1}}})
	if err != nil || made.Errors[d.topic] != nil {
		t.Fatal(err, made)
	}
	d.say("the topic is made again, with as many partitions; nothing else is done")
	began := time.Now()
	testkit.Eventually(t, "every partition is followed", func() bool {
		m, err := do(t.Context(), "GET", d.b.url+"/metrics", "")
		return err == nil && strings.Contains(m.body, "nearcache_channel_up{channel=\"events\"} 1\n")
	})
	d.say("every partition is followed again, after %v", time.Since(began).Round(10*time.Millisecond))
	wait(t.Context(), 3*time.Second)
	d.report("after that")
	d.stop()
	d.audit()
}

// TestDrill_PostgresRestored: the database is replaced by a copy that lacks the last writes.
func TestDrill_PostgresRestored(t *testing.T) {
	var pg *servicestest.PostgresProcess
	d := newDrill(t, func(d *drill) {
		pg = servicestest.StartPostgres(t)
		d.env["DATABASE_URL"] = pg.URL
	})
	d.report("in peace")
	cfg, err := pgx.ParseConfig(pg.URL)
	if err != nil {
		t.Fatal(err)
	}
	name := pgx.Identifier{cfg.Database}.Sanitize()
	cfg.Database = "template1"
	admin, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.WithoutCancel(t.Context()))
	// Sessions are kept out while the database is copied and swapped, as by a restore.
	swap := func(statements ...string) {
		t.Helper()
		all := append([]string{`alter database ` + name + ` allow_connections false`,
			`select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname is not null`},
			statements...)
		for _, sql := range append(all, `alter database `+name+` allow_connections true`) {
			if _, err := admin.Exec(t.Context(), sql); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
	}
	swap(`create database backup template ` + name)
	d.say("a copy of the database is made")
	d.serves("again")
	wait(t.Context(), 5*time.Second)
	d.report("5 s of writes that the copy does not have")
	d.stop()
	lost := d.a.mustPut(drillID(0), "this write is lost").version
	d.b.fromL1(drillID(0))
	swap(`alter database `+name+` rename to lost`, `alter database backup rename to `+name)
	d.say("the copy takes the database's place; version %d of %s, which is cached, is lost; nothing else is done", lost,
		drillID(0))
	began := time.Now()
	testkit.Eventually(t, "the restored state is served", func() bool {
		r, err := do(t.Context(), "GET", d.b.url+"/products/"+drillID(0), "")
		return err == nil && r.status == 200 && r.version < lost
	})
	d.say("the restored version is served, after %v", time.Since(began).Round(10*time.Millisecond))
	d.serves("again")
	d.audit()
}

// TestDrill_RelayStoppedForADay: as many changes wait as a day brings.
func TestDrill_RelayStoppedForADay(t *testing.T) {
	d := newDrill(t, nil)
	d.report("in peace")
	d.relay.kill()
	d.say("the relay is killed")
	conn, err := pgx.Connect(t.Context(), d.env["DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	const changes = 100_000
	for _, sql := range []string{
		fmt.Sprintf(`insert into products (id, name, price) select 'day-' || g, 'written while it was away', 1
			from generate_series(1, %d) g`, changes),
		`update products set name = name || ', twice' where id like 'p%'`,
		`update nearcache.outbox set created_at = created_at - interval '1 day'`} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	for i := range drillProducts {
		var version int
		err := conn.QueryRow(t.Context(), `select nearcache.version_of('product', $1)`, drillID(i)).Scan(&version)
		if err != nil {
			t.Fatal(err)
		}
		d.mu.Lock()
		d.acked[drillID(i)] = append(d.acked[drillID(i)], drillWrite{version, time.Now()})
		d.mu.Unlock()
	}
	d.say("%d rows are inserted by SQL, all products updated, and the outbox is made a day older", changes)
	d.report("meanwhile")
	wait(t.Context(), 5*time.Second)
	d.report("5 s without a relay")
	relay := d.start("outbox-relay")
	d.say("a relay is started; nothing else is done")
	began := time.Now()
	testkit.Eventually(t, "the relay has caught up", func() bool {
		m, err := do(t.Context(), "GET", relay.url+"/metrics", "")
		return err == nil && strings.Contains(m.body, `nearcache_relay_lag_changes{channel="redis"} 0`) &&
			time.Since(began) > time.Second
	})
	d.serves("again")
	d.report("while the relay caught up")
	d.say("the relay has caught up with Redis, after %v", time.Since(began).Round(10*time.Millisecond))
	d.stop()
	d.audit()
}
