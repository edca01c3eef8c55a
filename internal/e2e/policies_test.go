package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
)

// instances are clients of their own, as many processes would have.
func instances(t *testing.T, n int, redis string, o nearcache.Options[string, string]) (cs []*nearcache.Cache[string,
	string]) {
	t.Helper()
	for range n {
		client, err := nearcache.New(nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{redis}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		c, err := nearcache.NewCache(client, "t", o)
		if err != nil {
			t.Fatal(err)
		}
		cs = append(cs, c)
	}
	return cs
}

// rush reads a key with as many goroutines on every instance.
func rush(t *testing.T, cs []*nearcache.Cache[string, string], goroutines int, k, want string) {
	t.Helper()
	var wg sync.WaitGroup
	var wrong atomic.Int64
	for _, c := range cs {
		for range goroutines {
			wg.Go(func() {
				if v, err := c.Get(t.Context(), k); err != nil || v != want {
					if wrong.Add(1) == 1 {
						t.Errorf("got %q and error %v, want the key's value", v, err)
					}
				}
			})
		}
	}
	wg.Wait()
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d of %d reads went wrong", n, len(cs)*goroutines)
	}
}

// TestStampede_EightInstances: one load of a cold key over all of them.
func TestStampede_EightInstances(t *testing.T) {
	var loads atomic.Int64
	cs := instances(t, 8, servicestest.StartRedis(t).Addr, nearcache.Options[string, string]{Load: func(context.Context,
		string) (nearcache.Entry[string], error) {
		loads.Add(1)
		<-time.After(200 * time.Millisecond) // a slow database
		return nearcache.Entry[string]{Value: "v", Version: 1}, nil
	}})
	rush(t, cs, 500, "cold", "v")
	t.Logf("8 instances x 500 goroutines: %d load", loads.Load())
	if n := loads.Load(); n != 1 {
		t.Errorf("%d loads, want 1", n)
	}
}

// holderEnv makes this test's binary a process that loads a key and never returns.
const holderEnv = "NEARCACHE_E2E_HOLDER"

func holder(redis string) int {
	client, err := nearcache.New(nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{redis}}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	c, err := nearcache.NewCache(client, "t", nearcache.Options[string, string]{LoadTimeout: time.Hour,
		Load: func(context.Context, string) (nearcache.Entry[string], error) {
			fmt.Println("loading")
			select {}
		}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, err = c.Get(context.Background(), "cold")
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// TestStampede_HolderKilled: the process that loads is killed; its lease's TTL later one of the others loads, and no
// more.
func TestStampede_HolderKilled(t *testing.T) {
	redis := servicestest.StartRedis(t).Addr
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holderEnv+"="+redis)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "loading\n" {
		t.Fatalf("got the line %q and error %v, want \"loading\"", line, err)
	}
	var loads atomic.Int64
	cs := instances(t, 8, redis, nearcache.Options[string, string]{Load: func(context.Context,
		string) (nearcache.Entry[string], error) {
		loads.Add(1)
		return nearcache.Entry[string]{Value: "v", Version: 1}, nil
	}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		rush(t, cs, 500, "cold", "v")
	}()
	<-time.After(300 * time.Millisecond) // they wait for the holder
	if n := loads.Load(); n != 0 {
		t.Errorf("%d loads while the holder lives", n)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	<-done
	t.Logf("the holder's load, killed, and %d more", loads.Load())
	if n := loads.Load(); n != 1 {
		t.Errorf("%d loads after the holder's death, want 1", n)
	}
}

// TestFailSafe_DatabaseDownUnderLoad: keys that were loaded once are served for as long as the database is down.
func TestFailSafe_DatabaseDownUnderLoad(t *testing.T) {
	const down = 6 * time.Second // several times each TTL below
	pg := servicestest.StartPostgres(t)
	pool, err := pgxpool.New(t.Context(), pg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(t.Context(),
		`create table rows as select i::text as id, 'v' || i as value from generate_series(0, 99) i`); err != nil {
		t.Fatal(err)
	}
	cs := instances(t, 3, servicestest.StartRedis(t).Addr, nearcache.Options[string, string]{
		TTL: time.Second, LoadTimeout: 2 * time.Second,
		FailSafe: nearcache.FailSafe{MaxAge: 10 * time.Minute, SoftTimeout: 100 * time.Millisecond},
		ErrorTTL: 500 * time.Millisecond,
		Load: func(ctx context.Context, id string) (e nearcache.Entry[string], err error) {
			err = pool.QueryRow(ctx, `select value from rows where id = $1`, id).Scan(&e.Value)
			return e, err
		}})
	for _, c := range cs {
		for range 3 {
			for i := range 100 {
				if _, err := c.Get(t.Context(), strconv.Itoa(i)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	pg.Kill()
	var reads, stale, failed atomic.Int64
	ctx, stop := context.WithTimeout(t.Context(), down)
	defer stop()
	var wg sync.WaitGroup
	for i, c := range cs {
		for g := range 4 {
			wg.Go(func() {
				for n := g; ctx.Err() == nil; n++ {
					id := strconv.Itoa((n*7 + i) % 100)
					r, err := c.Read(t.Context(), id, nearcache.ReadOptions{})
					reads.Add(1)
					if r.Stale {
						stale.Add(1)
					}
					if err != nil || r.Value != "v"+id {
						if failed.Add(1) == 1 {
							t.Errorf("key %s: got %+v and error %v, want its value", id, r, err)
						}
					}
				}
			})
		}
	}
	wg.Wait()
	t.Logf("database down for %v: %d reads, %d of them labelled stale, %d errors", down, reads.Load(), stale.Load(),
		failed.Load())
	if failed.Load() > 0 || stale.Load() == 0 {
		t.Errorf("%d errors, %d stale", failed.Load(), stale.Load())
	}
	pg.Restart()
	testkit.Eventually(t, "what the database says is served again", func() bool {
		r, err := cs[0].Read(t.Context(), "0", nearcache.ReadOptions{})
		return err == nil && !r.Stale && r.Tier == nearcache.TierSource
	})
}

// TestJitter_TenThousandKeys: what is filled together does not expire together.
func TestJitter_TenThousandKeys(t *testing.T) {
	redis := servicestest.StartRedis(t)
	const keys, ttl = 10_000, 100 * time.Second
	c := instances(t, 1, redis.Addr, nearcache.Options[string, string]{TTL: ttl, Jitter: 0.5,
		LoadMany: func(_ context.Context, ks []string) (map[string]nearcache.Entry[string], error) {
			out := make(map[string]nearcache.Entry[string], len(ks))
			for _, k := range ks {
				out[k] = nearcache.Entry[string]{Value: "v"}
			}
			return out, nil
		}})[0]
	var ks []string
	for i := range keys {
		ks = append(ks, strconv.Itoa(i))
	}
	for chunk := range slices.Chunk(ks, 200) {
		if m, err := c.GetMany(t.Context(), chunk); err != nil || len(m) != len(chunk) {
			t.Fatal(len(m), err)
		}
	}
	space := l2.NewKeyspace("")
	var by [10]int // by tenths of the TTL
	total := 0
	for _, k := range ks {
		ms, err := strconv.Atoi(strings.Trim(redis.Do("PTTL", space.Key("t", k).Record), ":\r\n "))
		if err != nil || ms <= 0 {
			continue // Redis was too slow for its lease
		}
		total++
		by[min(9, ms*10/int(ttl.Milliseconds()))]++
	}
	t.Logf("keys that expire in each tenth of the TTL: %v", by)
	if total < keys*9/10 {
		t.Errorf("%d of %d keys were filled", total, keys)
	}
	for tenth, n := range by {
		if tenth >= 5 && tenth < 9 && (n < total/10 || n > total*3/10) {
			t.Errorf("%d of %d keys expire in the %dth tenth", n, keys, tenth+1)
		}
	}
}
