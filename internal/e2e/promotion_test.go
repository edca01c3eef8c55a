package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// promoted is two instances and a relay over a primary with a streaming standby. They reach whichever takes writes.
type promoted struct {
	*testing.T
	primary, standby *servicestest.PostgresProcess
	old, young       *pgxpool.Pool // to each server
	pool             *pgxpool.Pool // to the one that takes writes
	src              *postgres.Source
	caches           []*nearcache.Cache[string, string]
}

func newPromoted(t *testing.T) *promoted {
	p := &promoted{T: t, primary: servicestest.StartPostgres(t)}
	p.standby = p.primary.StartStandby()
	p.old, p.young = p.open(p.primary.URL), p.open(p.standby.URL)
	second := strings.TrimPrefix(p.standby.URL, "postgres://postgres@")
	at, rest, _ := strings.Cut(second, "/")
	p.pool = p.open(strings.Replace(p.primary.URL, "/postgres?", ","+at+"/postgres?target_session_attrs=read-write&", 1))
	if !strings.Contains(rest, "sslmode") {
		t.Fatalf("the URL %s has changed its form", p.standby.URL)
	}
	var err error
	if p.src, err = postgres.New(p.pool, postgres.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.src.Close)
	if err := p.src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.exec(p.old, `create table products (id text primary key, name text)`)
	if err := p.src.InstallTrigger(t.Context(), postgres.Trigger{Table: "products", Namespace: "product",
		KeyColumns: []string{"id"}}); err != nil {
		t.Fatal(err)
	}
	p.openCaches()
	return p
}

func (p *promoted) openCaches() {
	redis := nearcachetest.NewRedis(p)
	var client *nearcache.Client
	for range 2 {
		var err error
		client, err = nearcache.New(nearcache.Config{Redis: redis.ClientOption(), Source: p.src,
			Heartbeat: 20 * time.Millisecond})
		if err != nil {
			p.Fatal(err)
		}
		p.Cleanup(func() { client.Close() })
		c, err := nearcache.NewCache(client, "product", nearcache.Options[string, string]{
			MaxStaleness: 250 * time.Millisecond, Load: p.load})
		if err != nil {
			p.Fatal(err)
		}
		p.caches = append(p.caches, c)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- relay.Relay{Source: p.src, L2: client.L2(), Interval: 20 * time.Millisecond}.Run(ctx)
	}()
	p.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			p.Errorf("the relay: %v", err)
		}
	})
}

func (p *promoted) open(url string) *pgxpool.Pool {
	pool, err := pgxpool.New(p.Context(), url)
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(pool.Close)
	return pool
}

func (p *promoted) exec(pool *pgxpool.Pool, sql string, args ...any) {
	p.Helper()
	if _, err := pool.Exec(p.Context(), sql, args...); err != nil {
		p.Fatalf("%s: %v", sql, err)
	}
}

func (p *promoted) load(ctx context.Context, id string) (e nearcache.Entry[string], err error) {
	var name *string
	err = p.pool.QueryRow(ctx, `select `+p.src.VersionSQL("'product'", "$1")+`, p.name from (select) one
		left join products p on p.id = $1`, id).Scan(&e.Version, &name)
	if err == nil && name == nil {
		return e, nearcache.ErrNotFound
	}
	if name != nil {
		e.Value = *name
	}
	return e, err
}

// write writes past the caches, and returns the version.
func (p *promoted) write(pool *pgxpool.Pool, id, name string) (v nearcache.Version) {
	p.Helper()
	p.exec(pool, `insert into products values ($1, $2) on conflict (id) do update set name = excluded.name`, id, name)
	err := pool.QueryRow(p.Context(), `select `+p.src.VersionSQL("'product'", "$1"), id).Scan(&v)
	if err != nil {
		p.Fatal(err)
	}
	return v
}

// shows waits until both instances give a value, out of their memory too.
func (p *promoted) shows(id, want string) {
	p.Helper()
	for i, c := range p.caches {
		var got nearcache.Result[string]
		var err error
		testkit.Eventually(p, "instance "+string(rune('0'+i))+" serves "+want+" from memory", func() bool {
			got, err = c.Read(p.Context(), id, nearcache.ReadOptions{})
			return err == nil && got.Value == want && got.Tier == nearcache.TierL1
		})
	}
}

// streamed waits until the standby has a value.
func (p *promoted) streamed(id, want string) {
	p.Helper()
	testkit.Eventually(p, "the standby has "+want, func() bool {
		var got string
		err := p.young.QueryRow(p.Context(), `select name from products where id = $1`, id).Scan(&got)
		return err == nil && got == want
	})
}

func (p *promoted) promote() {
	p.Helper()
	p.primary.Kill()
	var done bool
	if err := p.young.QueryRow(p.Context(), `select pg_promote()`).Scan(&done); err != nil || !done {
		p.Fatalf("pg_promote: %v, %v", done, err)
	}
}

// TestPromotion_WithoutLoss: the standby had everything.
func TestPromotion_WithoutLoss(t *testing.T) {
	p := newPromoted(t)
	before := p.write(p.pool, "42", "espresso")
	p.shows("42", "espresso")
	p.streamed("42", "espresso")
	p.promote()
	p.shows("42", "espresso")
	if v := p.write(p.young, "42", "ristretto"); v <= before {
		t.Errorf("the version after the promotion is %d, before it %d", v, before)
	}
	p.shows("42", "ristretto")
}

// TestPromotion_WithLoss: the standby lacks an acknowledged commit that both instances and Redis have. After the
// promotion nobody is served it, and the next commit has the same version and another value.
func TestPromotion_WithLoss(t *testing.T) {
	p := newPromoted(t)
	p.write(p.pool, "42", "kept")
	p.shows("42", "kept")
	p.streamed("42", "kept")
	p.exec(p.young, `alter system set primary_conninfo = ''`)
	p.exec(p.young, `select pg_reload_conf()`)
	testkit.Eventually(t, "the standby streams no more", func() bool {
		var n int
		err := p.young.QueryRow(t.Context(), `select count(*) from pg_stat_wal_receiver`).Scan(&n)
		return err == nil && n == 0
	})
	lost := p.write(p.pool, "42", "lost")
	p.shows("42", "lost")
	p.promote()
	p.shows("42", "kept")
	if again := p.write(p.young, "42", "new"); again != lost {
		t.Errorf("the new primary counts version %d and the lost commit had %d: the test shows nothing", again, lost)
	}
	p.shows("42", "new")
}
