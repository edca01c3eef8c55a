package suite

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/internal/services/local"
)

// scene is what a peer runs on while something of it fails.
type scene struct {
	redis *local.Server
	wires []*wire // from each instance to Redis, where the fault is the network's
	kafka *local.Server
	src   *flaky
}

// addr is where an instance finds Redis.
func (s *scene) addr(instance int) string {
	if s.wires != nil {
		return s.wires[instance].addr
	}
	return s.redis.Addr
}

// fault is something that fails for a while.
type fault struct {
	name, what string
	// ttl is that of the values. With Redis's faults a minute: what they leave stale shows. Where the source fails 2 s, since
	// nothing asks it for what has not expired.
	ttl   time.Duration
	lead  time.Duration // how long the load goes on before: where values live shortly until their ages are as mixed as after an hour
	redis bool          // a cache that keeps nothing in Redis has no part in it
	wired bool          // by the network: instances reach Redis through proxies
	half  bool          // the last instance alone has it, and its reads are those that count
	kafka bool

	begin, end func(context.Context, *scene) error
	// asks are requests each of which must fail while the fault lasts, or the run is void, and succeed after it.
	asks requests
}

type requests []func(context.Context, *scene) error

const (
	longTTL, shortTTL   = time.Minute, 2 * time.Second
	longLead, shortLead = 700 * time.Millisecond, 3 * time.Second
	slowRedis           = 100 * time.Millisecond
	atOnce              = slowRedis / 2 // in which a healthy service of this machine answers
)

var faults = []fault{
	{name: "Redis killed", what: "kill -9, then started again, empty", ttl: longTTL, lead: longLead, redis: true, asks: requests{askRedis},
		begin: func(_ context.Context, s *scene) error { s.redis.Kill(); return nil },
		end:   func(ctx context.Context, s *scene) error { return s.redis.Restart(ctx) }},
	{name: "Redis stopped", what: "SIGSTOP, then SIGCONT: it accepts, and does not answer", ttl: longTTL, lead: longLead, redis: true, asks: requests{askRedis},
		begin: func(_ context.Context, s *scene) error { return s.redis.Pause() },
		end:   func(_ context.Context, s *scene) error { return s.redis.Resume() }},
	{name: "Redis slow", what: "each of its answers and pushes comes 100 ms later", ttl: longTTL, lead: longLead, redis: true, wired: true, asks: requests{askRedis},
		begin: onWires(func(w *wire) { w.late.Store(int64(slowRedis)) }), end: onWires(func(w *wire) { w.late.Store(0) })},
	{name: "Partition", what: "what goes to Redis and comes from it is lost, on new connections too; connections are reset when that ends", ttl: longTTL, lead: longLead, redis: true, wired: true,
		asks: requests{askRedis}, begin: onWires((*wire).black), end: onWires((*wire).heal)},
	{name: "Partition of one instance", what: "the same for one instance of the two; its reads alone are counted", ttl: longTTL, lead: longLead, redis: true, wired: true, half: true, asks: requests{askRedis},
		begin: func(_ context.Context, s *scene) error { s.wires[len(s.wires)-1].black(); return nil },
		end:   func(_ context.Context, s *scene) error { s.wires[len(s.wires)-1].heal(); return nil }},
	{name: "Source down", what: "every query fails at once", ttl: shortTTL, lead: shortLead, asks: requests{askSource},
		begin: func(_ context.Context, s *scene) error { s.src.down.Store(true); return nil },
		end:   func(_ context.Context, s *scene) error { s.src.down.Store(false); return nil }},
	{name: "Source hanging", what: "no query is answered before the end", ttl: shortTTL, lead: shortLead, asks: requests{askSource},
		begin: func(_ context.Context, s *scene) error { s.src.hang(); return nil },
		end:   func(_ context.Context, s *scene) error { s.src.answer(); return nil }},
	{name: "Redis and source down", what: "kill -9 of Redis, and every query of the source fails", ttl: shortTTL, lead: shortLead, redis: true, asks: requests{askRedis, askSource},
		begin: func(_ context.Context, s *scene) error { s.src.down.Store(true); s.redis.Kill(); return nil },
		end:   func(ctx context.Context, s *scene) error { s.src.down.Store(false); return s.redis.Restart(ctx) }},
}

// kafkaFaults are those of the near cache that has Kafka as its second channel, and what only that can show.
var kafkaFaults = []fault{
	{name: "Kafka killed", what: "kill -9, then started again, which takes seconds", ttl: longTTL, lead: longLead, kafka: true, asks: requests{askKafka},
		begin: func(_ context.Context, s *scene) error { s.kafka.Kill(); return nil },
		end:   func(ctx context.Context, s *scene) error { return s.kafka.Restart(ctx) }},
	faults[0], faults[1],
}

func onWires(f func(*wire)) func(context.Context, *scene) error {
	return func(_ context.Context, s *scene) error {
		for _, w := range s.wires {
			f(w)
		}
		return nil
	}
}

// askRedis asks it as the last instance does, who has every fault.
func askRedis(ctx context.Context, s *scene) error {
	ctx, cancel := context.WithTimeout(ctx, atOnce)
	defer cancel()
	_, err := local.RedisDo(ctx, s.addr(len(s.wires)-1), "PING")
	return err
}

func askSource(ctx context.Context, s *scene) error {
	ctx, cancel := context.WithTimeout(ctx, atOnce)
	defer cancel()
	_, _, err := s.src.Load(ctx, keyName("", 0))
	if errors.Is(err, peers.ErrMiss) {
		return nil
	}
	return err
}

func askKafka(ctx context.Context, s *scene) error {
	ctx, cancel := context.WithTimeout(ctx, atOnce)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", s.kafka.Addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// lasts says whether all of the fault is there.
func (f fault) lasts(ctx context.Context, s *scene) error {
	for i, ask := range f.asks {
		if ask(ctx, s) == nil {
			return fmt.Errorf("suite: %s: request %d was answered meanwhile: the run is void", f.name, i)
		}
	}
	return nil
}

// over waits until nothing of it is.
func (f fault) over(ctx context.Context, s *scene) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		var err error
		for _, ask := range f.asks {
			err = errors.Join(err, ask(ctx, s))
		}
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("suite: %s does not end: %w", f.name, err)
		}
	}
}
