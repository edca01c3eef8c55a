package audit_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/audit"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
)

// shop is a cache of products over a real Postgres and a real Redis, with a relay, an auditor and readers.
type shop struct {
	t      *testing.T
	pool   *pgxpool.Pool
	source *postgres.Source
	redis  *servicestest.RedisProcess
	client *nearcache.Client
	cache  *nearcache.Cache[string, string]

	mu    sync.Mutex
	found []nearcache.Difference
	from  string // what the Loader reads; %s is the key
}

const auditWait = 200 * time.Millisecond

// openShop has 20 products of text keys, "p0" to "p19", and 20 of numbers, "0" to "19".
func openShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{t: t, redis: servicestest.StartRedis(t)}
	var err error
	if s.pool, err = pgxpool.New(t.Context(), servicestest.Postgres(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.pool.Close)
	if s.source, err = postgres.New(s.pool, postgres.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.source.Close)
	if err := s.source.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.exec(`create table products (id text primary key, name text not null)`)
	if err := s.source.InstallTrigger(t.Context(), postgres.Trigger{Table: "products", Namespace: "product",
		KeyColumns: []string{"id"}}); err != nil {
		t.Fatal(err)
	}
	s.exec(`insert into products select 'p' || g, 'name ' || g from generate_series(0, 19) g`)
	s.read(`select coalesce((select name from products where id = $1), ''), ` + s.source.VersionSQL("'product'", "$1"))
	s.client, err = nearcache.New(nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{s.redis.Addr}},
		Source: s.source, Heartbeat: 25 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.client.Close() })
	ctx, stop := context.WithCancel(t.Context())
	var relaying sync.WaitGroup
	relaying.Go(func() {
		_ = relay.Relay{Source: s.source, L2: s.client.L2(), Interval: 20 * time.Millisecond}.Run(ctx)
	})
	t.Cleanup(func() { stop(); relaying.Wait() })
	s.cache, err = nearcache.NewCache(s.client, "product", nearcache.Options[string, string]{Load: s.load,
		Audit: nearcache.Audit[string, string]{Rate: 500, Wait: auditWait, Found: func(d nearcache.Difference) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.found = append(s.found, d)
		}}})
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the relay has begun: until then Redis forgets what it holds", func() bool {
		return s.client.Status().Bound.Redis > 0
	})
	return s
}

func (s *shop) exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.pool.Exec(s.t.Context(), sql, args...); err != nil {
		s.t.Fatal(err)
	}
}

// read sets what the Loader reads.
func (s *shop) read(sql string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from = sql
}

func (s *shop) load(ctx context.Context, k string) (e nearcache.Entry[string], err error) {
	s.mu.Lock()
	sql := s.from
	s.mu.Unlock()
	var v int64
	err = s.pool.QueryRow(ctx, sql, k).Scan(&e.Value, &v)
	e.Version = nearcache.Version(v)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && e.Value == "" {
		err = nearcache.ErrNotFound
	}
	return e, err
}

// warm has L1 hold these keys.
func (s *shop) warm(keys ...string) {
	s.t.Helper()
	for _, k := range keys {
		testkit.Eventually(s.t, k+" is in L1", func() bool {
			r, err := s.cache.Read(s.t.Context(), k, nearcache.ReadOptions{})
			return err == nil && r.Tier == nearcache.TierL1
		})
	}
}

// audited reads until the auditor has found something, or has compared so many reads.
func (s *shop) audited(reads uint64, keys ...string) []nearcache.Difference {
	s.t.Helper()
	before := s.client.Status().Caches["product"].Audit.Reads
	var found []nearcache.Difference
	testkit.Eventually(s.t, fmt.Sprintf("the auditor finds something, or compares %d reads", reads), func() bool {
		for _, k := range keys {
			_, _ = s.cache.Get(s.t.Context(), k)
		}
		s.mu.Lock()
		found = s.found
		s.mu.Unlock()
		return len(found) > 0 || reads > 0 && s.client.Status().Caches["product"].Audit.Reads >= before+reads
	})
	return found
}

// expect wants the first difference to be of a key and a cause, and the text to show it.
func (s *shop) expect(key string, cause audit.Cause, shows string, keys ...string) {
	s.t.Helper()
	begun := time.Now()
	d := s.audited(0, keys...)[0]
	if d.Key != key || d.Cause != string(cause) || !strings.Contains(d.Text, shows) {
		s.t.Errorf("found %+v; want %s of %q, with %q", d, cause, key, shows)
	}
	if took := time.Since(begun); took > time.Minute {
		s.t.Errorf("found after %v, want within a minute", took)
	}
	a := s.client.Status().Caches["product"].Audit
	if !a.On || a.Inconsistent == 0 || len(a.Differences) == 0 || a.Differences[0].Text != d.Text {
		s.t.Errorf("the status has %+v", a)
	}
	testkit.Eventually(s.t, "a reason is in the status", func() bool {
		for _, r := range s.client.Status().Reasons {
			if r.Code == "cache_and_source_differ" && strings.Contains(r.Message, string(cause)) {
				return true
			}
		}
		return false
	})
}

func (s *shop) recordOf(k string) string { return l2.NewKeyspace("nc").Key("product", k).Record }

// TestPlanted_NothingIsFoundInPeace: writes of all kinds through the trigger, among them those that change nothing.
func TestPlanted_NothingIsFoundInPeace(t *testing.T) {
	s := openShop(t)
	keys := []string{"p0", "p1", "p2", "p3", "nobody"}
	s.warm(keys[:4]...)
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			for _, sql := range []string{`update products set name = $2 where id = $1`,
				`update products set name = name where id = $1 and $2 <> ''`, `delete from products where id = $1 and $2 <> ''`,
				`insert into products values ($1, $2)`} {
				_, _ = s.pool.Exec(ctx, sql, keys[n%4], fmt.Sprint("name ", n))
			}
		}
	})
	found := s.audited(300, keys...)
	stop()
	writing.Wait()
	if len(found) > 0 {
		t.Errorf("found %+v", found)
	}
	for _, sc := range s.client.Status().Caches["product"].Audit.Scales {
		t.Logf("within %v: %d of %d inconsistent, %.2f nines at least", sc.Within, sc.Inconsistent, sc.Judged, sc.Nines)
		if sc.Within >= time.Second && sc.Inconsistent > 0 {
			t.Errorf("within %v: %d of %d are inconsistent", sc.Within, sc.Inconsistent, sc.Judged)
		}
	}
}

func TestPlanted_RecordOverwrittenWithGarbage(t *testing.T) {
	s := openShop(t)
	s.warm("p7")
	s.redis.Do("SET", s.recordOf("p7"), "hello")
	s.expect("p7", audit.RecordOverwritten, "foreign bytes", "p7")
}

func TestPlanted_RecordCopiedFromAnotherKey(t *testing.T) {
	s := openShop(t)
	s.warm("p7", "p8")
	s.redis.Do("SET", s.recordOf("p8"), s.redis.Do("GET", s.recordOf("p7")))
	s.expect("p8", audit.RecordOverwritten, "the record of another key", "p8")
}

// TestPlanted_RecordForged: whoever does it well makes a record that every cache serves.
func TestPlanted_RecordForged(t *testing.T) {
	s := openShop(t)
	s.warm("p7", "p8")
	rec, err := l2.DecodeRecord([]byte(s.redis.Do("GET", s.recordOf("p8"))))
	if err != nil {
		t.Fatal(err)
	}
	rec.Payload = []byte(`"forged"`)
	forged, err := l2.AppendRecord(nil, rec)
	if err != nil {
		t.Fatal(err)
	}
	s.redis.Do("SET", s.recordOf("p8"), string(forged))
	testkit.Eventually(t, "the forged value is served", func() bool {
		v, err := s.cache.Get(t.Context(), "p8")
		return err == nil && v == "forged"
	})
	s.expect("p8", audit.RecordOverwritten, "somebody wrote the record", "p7", "p8")
}

func TestPlanted_RowChangedWithTheTriggerDisabled(t *testing.T) {
	for _, enabledAgain := range []bool{false, true} {
		t.Run(fmt.Sprintf("enabled again %v", enabledAgain), func(t *testing.T) {
			s := openShop(t)
			s.warm("p3", "p4")
			s.exec(`alter table products disable trigger user`)
			s.exec(`update products set name = 'unseen' where id = 'p4'`)
			if enabledAgain {
				s.exec(`alter table products enable trigger user`)
			}
			s.expect("p4", audit.ChangeUncounted, "transaction", "p3", "p4")
		})
	}
}

func TestPlanted_KeyInAnotherSpelling(t *testing.T) {
	s := openShop(t)
	s.read(`select coalesce((select name from products where id = lower($1)), ''), ` +
		s.source.VersionSQL("'product'", "$1"))
	s.warm("P5", "p6")
	s.exec(`update products set name = 'new' where id = 'p5'`)
	s.expect("P5", audit.KeySpelling, `"p5"`, "P5", "p6")
}

// TestPlanted_LoaderOnALaggingReplica: the replica is a copy of the rows and of their versions, in one snapshot.
func TestPlanted_LoaderOnALaggingReplica(t *testing.T) {
	s := openShop(t)
	s.exec(`create table replica as select id, name, ` + s.source.VersionSQL("'product'", "id") +
		` as version from products`)
	s.read(`select name, version from replica where id = $1`)
	s.warm("p1", "p2")
	s.exec(`update products set name = 'new' where id = 'p2'`)
	s.expect("p2", audit.LoaderBehind, "replica", "p1", "p2")
}

// stock is a value that may be modified while the auditor encodes it.
type stock struct{ n atomic.Int64 }

func (s *stock) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, s.n.Load(), 10), nil }

func (s *stock) UnmarshalText(b []byte) error {
	n, err := strconv.ParseInt(string(b), 10, 64)
	s.n.Store(n)
	return err
}

// TestPlanted_CallerModifiesASharedValue needs values that are shared by a pointer, and no database.
func TestPlanted_CallerModifiesASharedValue(t *testing.T) {
	redis := servicestest.StartRedis(t)
	client, err := nearcache.New(nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{redis.Addr}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	found := make(chan nearcache.Difference, 1)
	cache, err := nearcache.NewCache(client, "product", nearcache.Options[string, *stock]{
		Load: func(context.Context, string) (nearcache.Entry[*stock], error) {
			v := &stock{}
			v.n.Store(7)
			return nearcache.Entry[*stock]{Value: v, Version: 3}, nil
		},
		Audit: nearcache.Audit[string, *stock]{Rate: 500, Wait: auditWait, Found: func(d nearcache.Difference) {
			select {
			case found <- d:
			default:
			}
		}}})
	if err != nil {
		t.Fatal(err)
	}
	var shared *stock
	testkit.Eventually(t, "L1 has it", func() bool {
		r, err := cache.Read(t.Context(), "a", nearcache.ReadOptions{})
		shared = r.Value
		return err == nil && r.Tier == nearcache.TierL1
	})
	if v, err := cache.Get(t.Context(), "a"); err != nil || v != shared {
		t.Fatal("the value is not shared: this shows nothing")
	}
	if audits := client.Status().Caches["product"].Audit.Inconsistent; audits != 0 {
		t.Fatalf("%d differences before anything is planted", audits)
	}
	shared.n.Store(8)
	testkit.Eventually(t, "it is found", func() bool {
		_, _ = cache.Get(t.Context(), "a")
		return len(found) > 0
	})
	if d := <-found; d.Cause != string(audit.ValueModified) || !strings.Contains(d.Text, "CheckShared") {
		t.Errorf("found %+v", d)
	}
}
