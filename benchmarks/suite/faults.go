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

// faultTarget has the parts that can fail.
type faultTarget struct {
	redis   *local.Server
	proxies []*proxy // between each instance and Redis, if the fault is the network's
	kafka   *local.Server
	source  *faultySource
}

// addr is the address at which an instance reaches Redis.
func (s *faultTarget) addr(instance int) string {
	if s.proxies != nil {
		return s.proxies[instance].addr
	}
	return s.redis.Addr
}

// fault is a failure for a while.
type fault struct {
	name, description string
	// ttl is the TTL of values. It is a minute for faults of Redis, so that stale leftovers show, and 2 s where the
	// source fails, since only expired values are loaded again.
	ttl          time.Duration
	lead         time.Duration // the load before the fault; with a short TTL long enough to mix the ages of values
	affectsRedis bool          // a cache that keeps nothing in Redis is left out
	proxied      bool          // the network fails: instances reach Redis through proxies
	lastOnly     bool          // only the last instance is affected, and only its reads count
	affectsKafka bool

	begin, end func(context.Context, *faultTarget) error
	// probes are requests that must fail while the fault lasts, or the run is void, and must succeed after it.
	probes probes
}

type probes []func(context.Context, *faultTarget) error

const (
	longTTL, shortTTL   = time.Minute, 2 * time.Second
	longLead, shortLead = 700 * time.Millisecond, 3 * time.Second
	slowRedis           = 100 * time.Millisecond
	probeTimeout        = slowRedis / 2 // a healthy service on this machine answers sooner
)

var faults = []fault{
	{
		name: "Redis killed", description: "kill -9, then started again, empty",
		ttl: longTTL, lead: longLead, affectsRedis: true, probes: probes{probeRedis},
		begin: func(_ context.Context, s *faultTarget) error { s.redis.Kill(); return nil },
		end:   func(ctx context.Context, s *faultTarget) error { return s.redis.Restart(ctx) },
	},
	{
		name: "Redis stopped", description: "SIGSTOP, then SIGCONT: it accepts connections, and does not answer",
		ttl: longTTL, lead: longLead, affectsRedis: true, probes: probes{probeRedis},
		begin: func(_ context.Context, s *faultTarget) error { return s.redis.Pause() },
		end:   func(_ context.Context, s *faultTarget) error { return s.redis.Resume() },
	},
	{
		name: "Redis slow", description: "each answer and push arrives 100 ms later",
		ttl: longTTL, lead: longLead, affectsRedis: true, proxied: true, probes: probes{probeRedis},
		begin: onProxies(func(w *proxy) { w.delay.Store(int64(slowRedis)) }),
		end:   onProxies(func(w *proxy) { w.delay.Store(0) }),
	},
	{
		name: "Partition",
		description: "everything to and from Redis is lost, on new connections too; " +
			"connections are reset at the end",
		ttl: longTTL, lead: longLead, affectsRedis: true, proxied: true, probes: probes{probeRedis},
		begin: onProxies((*proxy).dropAll),
		end:   onProxies((*proxy).restore),
	},
	{
		name: "Partition of one instance", description: "the same for one of the two instances; only its reads count",
		ttl: longTTL, lead: longLead, affectsRedis: true, proxied: true, lastOnly: true, probes: probes{probeRedis},
		begin: func(_ context.Context, s *faultTarget) error { s.proxies[len(s.proxies)-1].dropAll(); return nil },
		end:   func(_ context.Context, s *faultTarget) error { s.proxies[len(s.proxies)-1].restore(); return nil },
	},
	{
		name: "Source down", description: "every query fails at once",
		ttl: shortTTL, lead: shortLead, probes: probes{probeSource},
		begin: func(_ context.Context, s *faultTarget) error { s.source.down.Store(true); return nil },
		end:   func(_ context.Context, s *faultTarget) error { s.source.down.Store(false); return nil },
	},
	{
		name: "Source hanging", description: "no query is answered before the end of the fault",
		ttl: shortTTL, lead: shortLead, probes: probes{probeSource},
		begin: func(_ context.Context, s *faultTarget) error { s.source.startHanging(); return nil },
		end:   func(_ context.Context, s *faultTarget) error { s.source.stopHanging(); return nil },
	},
	{
		name: "Redis and source down", description: "kill -9 of Redis, and every query of the source fails at once",
		ttl: shortTTL, lead: shortLead, affectsRedis: true, probes: probes{probeRedis, probeSource},
		begin: func(_ context.Context, s *faultTarget) error { s.source.down.Store(true); s.redis.Kill(); return nil },
		end: func(ctx context.Context, s *faultTarget) error {
			s.source.down.Store(false)
			return s.redis.Restart(ctx)
		},
	},
}

// kafkaFaults are the faults for the near cache with Kafka as its second channel.
var kafkaFaults = []fault{
	{name: "Kafka killed", description: "kill -9, then started again, which takes seconds", ttl: longTTL,
		lead: longLead, affectsKafka: true, probes: probes{probeKafka},
		begin: func(_ context.Context, s *faultTarget) error { s.kafka.Kill(); return nil },
		end:   func(ctx context.Context, s *faultTarget) error { return s.kafka.Restart(ctx) }},
	faults[0], faults[1],
}

func onProxies(f func(*proxy)) func(context.Context, *faultTarget) error {
	return func(_ context.Context, s *faultTarget) error {
		for _, w := range s.proxies {
			f(w)
		}
		return nil
	}
}

// probeRedis uses the path of the last instance, which every fault affects.
func probeRedis(ctx context.Context, s *faultTarget) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, err := local.RedisDo(ctx, s.addr(len(s.proxies)-1), "PING")
	return err
}

func probeSource(ctx context.Context, s *faultTarget) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, _, err := s.source.Load(ctx, keyName("", 0))
	if errors.Is(err, peers.ErrMiss) {
		return nil
	}
	return err
}

func probeKafka(ctx context.Context, s *faultTarget) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", s.kafka.Addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// requireFailing returns an error if a probe succeeds.
func (f fault) requireFailing(ctx context.Context, s *faultTarget) error {
	for i, ask := range f.probes {
		if ask(ctx, s) == nil {
			return fmt.Errorf("suite: %s: request %d succeeded during the fault: the run is void", f.name, i)
		}
	}
	return nil
}

// awaitRecovery waits until every probe succeeds.
func (f fault) awaitRecovery(ctx context.Context, s *faultTarget) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		var err error
		for _, ask := range f.probes {
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
