package nats_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/nats"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/coherence/sqlite"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// shop is a table of prices, as a service has it.
type shop struct {
	t   *testing.T
	db  *sql.DB
	src *sqlite.Source
}

func openShop(t *testing.T) *shop {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "shop.db")+
		"?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	src, err := sqlite.New(db, sqlite.Config{})
	if err == nil {
		err = src.Install(t.Context())
	}
	if err == nil {
		_, err = db.ExecContext(t.Context(), "create table price (id text primary key, price text)")
	}
	if err != nil {
		t.Fatal(err)
	}
	return &shop{t, db, src}
}

func (s *shop) set(id, price string) {
	s.t.Helper()
	tx, err := s.db.BeginTx(s.t.Context(), nil)
	if err == nil {
		_, err = tx.ExecContext(s.t.Context(), "insert into price values (?1, ?2) on conflict do update set price = ?2", id,
			price)
	}
	if err == nil {
		_, err = s.src.Bump(s.t.Context(), tx, "price", id, coherence.OpUpdated)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) load(ctx context.Context, id string) (e nearcache.Entry[string], err error) {
	err = s.db.QueryRowContext(ctx, "select price, "+s.src.VersionSQL("'price'", "?1")+" from price where id = ?1", id).
		Scan(&e.Value, &e.Version)
	return e, err
}

// TestBound_HoldsByNATSWithoutRedis: a relay carries the changes of SQLite over NATS. Redis goes away, and the bound of
// two instances that have no Source still holds: they serve from L1, and see a change in time.
func TestBound_HoldsByNATSWithoutRedis(t *testing.T) {
	srv := start(t, "EVENTS")
	admin(t, srv)
	redis := nearcachetest.NewRedis(t)
	prices := openShop(t)
	prices.set("a", "one")
	const bound = 20 * time.Second // a slow machine proves it too
	clients := make([]*nearcache.Client, 2)
	caches := make([]*nearcache.Cache[string, string], 2)
	for i := range clients {
		var err error
		clients[i], err = nearcache.New(nearcache.Config{Redis: redis.ClientOption(), Relayed: true,
			Events: nats.Tail{Server: as(srv, "instance")}})
		if err != nil {
			t.Fatal(err)
		}
		defer clients[i].Close()
		caches[i], err = nearcache.NewCache(clients[i], "price",
			nearcache.Options[string, string]{Load: prices.load, MaxStaleness: bound})
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var relaying sync.WaitGroup
	relaying.Go(func() {
		_ = relay.Relay{Source: prices.src, L2: clients[0].L2(), Publisher: publisher(t, as(srv, "relay"))}.Run(ctx)
	})
	defer relaying.Wait()
	defer stop()
	read := func(i int) nearcache.Result[string] {
		t.Helper()
		r, err := caches[i].Read(t.Context(), "a", nearcache.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	both := func(what string, is func(i int) bool) {
		t.Helper()
		for i := range clients {
			testkit.Eventually(t, what, func() bool { return is(i) })
		}
	}
	both("Redis and NATS prove", func(i int) bool {
		s := clients[i].Status().Bound
		return s.Redis > 0 && s.Events > 0
	})
	redis.Stop()
	both("NATS alone proves, by what the relay says", func(i int) bool {
		s := clients[i].Status().Bound
		return s.Channel == "events" && s.SampledBy == "events"
	})
	both("L1 serves within the bound", func(i int) bool {
		r := read(i)
		return r.Tier == nearcache.TierL1 && r.Staleness > 0 && r.Staleness <= bound
	})
	prices.set("a", "two")
	both("the change is seen", func(i int) bool { return read(i).Value == "two" })
	both("L1 serves the new value", func(i int) bool {
		r := read(i)
		return r.Tier == nearcache.TierL1 && r.Value == "two"
	})
}
