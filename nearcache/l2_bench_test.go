package nearcache_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/nearcache"
)

// shelved is a value that has to be decoded, of 150 bytes.
type shelved struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Price int64  `json:"price"`
	Stock int64  `json:"stock"`
	About string `json:"about"`
}

// BenchmarkL2Hit compares a hit in L2, with L1 switched off, with a bare GET and the same decoding, of a real Redis in
// the same run. "tracked" is the same bare GET on a connection that Redis pushes invalidations on, as L2's is: a client
// of such a connection always reads it on a goroutine of its own. cpu-ns is this process's processor time, redis-ns
// Redis's.
func BenchmarkL2Hit(b *testing.B) {
	p := servicestest.StartRedis(b)
	opt := rueidis.ClientOption{InitAddress: []string{p.Addr}}
	keys := make([]string, 10_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("key-%06d", i)
	}
	about := strings.Repeat("Fifteen bars, a steel boiler, a wand. ", 2)[:45]
	src := &commits{source: newSource()}
	for i, k := range keys {
		j, _ := json.Marshal(shelved{k, "Espresso machine no. " + strconv.Itoa(i), int64(1000 + i), int64(i % 50), about})
		src.write(k, string(j))
	}
	ctx, cancel := context.WithCancel(context.Background()) // as a request's is
	defer cancel()

	plain := opt
	plain.DisableCache = true
	tracked := opt
	tracked.PipelineMultiplex = -1
	tracked.ClientTrackingOptions = []string{}
	tracked.OnInvalidations = func([]rueidis.RedisMessage) {}
	subjects := map[string]func(string) bool{}
	for name, o := range map[string]rueidis.ClientOption{"bare": plain, "tracked": tracked} {
		c, err := rueidis.NewClient(o)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		for _, k := range keys {
			if err := c.Do(ctx, c.B().Set().Key(k).Value(src.values[k]).Build()).Error(); err != nil {
				b.Fatal(err)
			}
		}
		subjects[name] = func(k string) bool {
			raw, err := c.Do(ctx, c.B().Get().Key(k).Build()).AsBytes()
			var v shelved
			return err == nil && json.Unmarshal(raw, &v) == nil
		}
	}
	load := func(ctx context.Context, k string) (e nearcache.Entry[shelved], err error) {
		raw, err := src.load(ctx, k)
		if err == nil {
			e.Version = raw.Version
			err = json.Unmarshal([]byte(raw.Value), &e.Value)
		}
		return e, err
	}
	client := newClient(b, nearcache.Config{Redis: opt, Source: src})
	relaying, stop := context.WithCancel(context.Background())
	var carrying sync.WaitGroup
	carrying.Go(func() { _ = relay.Relay{Source: src, L2: client.L2()}.Run(relaying) })
	defer carrying.Wait()
	defer stop()
	if err := client.Ready(ctx); err != nil {
		b.Fatal(err)
	}
	for name, bound := range map[string]time.Duration{"nearcache": 0,
		"nearcache with MaxStaleness": 500 * time.Millisecond} {
		cache, err := nearcache.NewCache(client, strings.ReplaceAll(name, " ", "-"),
			nearcache.Options[string, shelved]{Load: load, L1Bytes: -1, MaxStaleness: bound})
		if err != nil {
			b.Fatal(err)
		}
		for range 2 {
			if _, err := cache.GetMany(ctx, keys); err != nil {
				b.Fatal(err)
			}
		}
		subjects[name] = func(k string) bool {
			v, err := cache.Get(ctx, k)
			return err == nil && v.ID == k
		}
	}
	for _, goroutines := range []int{1, 8, 64} {
		for _, name := range []string{"bare", "tracked", "nearcache", "nearcache with MaxStaleness"} {
			b.Run(fmt.Sprintf("%s/goroutines=%d", name, goroutines), func(b *testing.B) {
				loads := src.loads.Load()
				redis := redisTime(b, p)
				self := ownTime()
				if b.SetParallelism(goroutines / 2); goroutines == 1 {
					b.ReportAllocs()
					b.ResetTimer()
					for i := range b.N {
						if !subjects[name](keys[i%len(keys)]) {
							b.Fatal("a miss")
						}
					}
				} else {
					measure(b, keys, subjects[name])
				}
				b.StopTimer()
				b.ReportMetric(float64(ownTime()-self)/float64(b.N), "cpu-ns/op")
				b.ReportMetric(float64(redisTime(b, p)-redis)/float64(b.N), "redis-ns/op")
				if n := src.loads.Load() - loads; n > int64(math.Ceil(float64(b.N)/1000)) {
					b.Errorf("%d of %d reads went to the source", n, b.N)
				}
			})
		}
	}
}

// ownTime is the processor time of this process.
func ownTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// redisTime is the processor time of Redis.
func redisTime(b *testing.B, p *servicestest.RedisProcess) (sum time.Duration) {
	b.Helper()
	for _, line := range strings.Fields(p.Do("INFO", "cpu")) {
		for _, name := range []string{"used_cpu_sys:", "used_cpu_user:"} {
			if v, ok := strings.CutPrefix(line, name); ok {
				s, err := strconv.ParseFloat(v, 64)
				if err != nil {
					b.Fatal(err)
				}
				sum += time.Duration(s * float64(time.Second))
			}
		}
	}
	return sum
}
