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
type faultTarget struct {
	redis   *local.Server
	proxies []*proxy // from each instance to Redis, where the fault is the network's
	kafka   *local.Server
	source  *faultySource
}

// addr is where an instance finds Redis.
func (s *faultTarget) addr(instance int) string {
	if s.proxies != nil {
		return s.proxies[instance].addr
	}
	return s.redis.Addr
}

// fault is something that fails for a while.
type fault struct {
	name, description string
	// ttl is that of the values. With Redis's faults a minute: what they leave stale shows. Where the source fails 2 s, since
	// nothing asks it for what has not expired.
	ttl          time.Duration
	lead         time.Duration // how long the load goes on before: where values live shortly until their ages are as mixed as after an hour
	affectsRedis bool          // a cache that keeps nothing in Redis has no part in it
	proxied      bool          // by the network: instances reach Redis through proxies
	lastOnly     bool          // the last instance alone has it, and its reads are those that count
	affectsKafka bool

	begin, end func(context.Context, *faultTarget) error
	// asks are requests each of which must fail while the fault lasts, or the run is void, and succeed after it.
	probes probes
}

type probes []func(context.Context, *faultTarget) error

const (
	longTTL, shortTTL   = time.Minute, 2 * time.Second
	longLead, shortLead = 700 * time.Millisecond, 3 * time.Second
	slowRedis           = 100 * time.Millisecond
	probeTimeout        = slowRedis / 2 // in which a healthy service of this machine answers
)

var faults = []fault{
	{name: "Redis killed", description: "kill -9, then started again, empty", ttl: longTTL, lead: longLead,
		affectsRedis: true, probes: probes{probeRedis},
		begin: func(_ context.Context, s *faultTarget) error { s.redis.Kill(); return nil },
		end:   func(ctx context.Context, s *faultTarget) error { return s.redis.Restart(ctx) }},
	{name: "Redis stopped", description: "SIGSTOP, then SIGCONT: it accepts, and does not answer", ttl: longTTL,
		lead: longLead, affectsRedis: true, probes: probes{probeRedis},
		begin: func(_ context.Context, s *faultTarget) error { return s.redis.Pause() },
		end:   func(_ context.Context, s *faultTarget) error { return s.redis.Resume() }},
	{name: "Redis slow", description: "each of its answers and pushes comes 100 ms later", ttl: longTTL,
		lead: longLead, affectsRedis: true, proxied: true, probes: probes{probeRedis},
		begin: onProxies(func(w *proxy) { w.delay.Store(int64(slowRedis)) }),
		end:   onProxies(func(w *proxy) { w.delay.Store(0) })},
	{name: "Partition", description: "what goes to Redis and comes from it is lost, on new connections too; connections are reset when that ends", ttl: longTTL, lead: longLead, affectsRedis: true, proxied: true,
		probes: probes{probeRedis}, begin: onProxies((*proxy).dropAll), end: onProxies((*proxy).restore)},
	{name: "Partition of one instance",
		description: "the same for one instance of the two; its reads alone are counted", ttl: longTTL,
		lead: longLead, affectsRedis: true, proxied: true, lastOnly: true, probes: probes{probeRedis},
		begin: func(_ context.Context, s *faultTarget) error { s.proxies[len(s.proxies)-1].dropAll(); return nil },
		end:   func(_ context.Context, s *faultTarget) error { s.proxies[len(s.proxies)-1].restore(); return nil }},
	{name: "Source down", description: "every query fails at once", ttl: shortTTL, lead: shortLead,
		probes: probes{probeSource},
		begin:  func(_ context.Context, s *faultTarget) error { s.source.down.Store(true); return nil },
		end:    func(_ context.Context, s *faultTarget) error { s.source.down.Store(false); return nil }},
	{name: "Source hanging", description: "no query is answered before the end", ttl: shortTTL, lead: shortLead,
		probes: probes{probeSource},
		begin:  func(_ context.Context, s *faultTarget) error { s.source.startHanging(); return nil },
		end:    func(_ context.Context, s *faultTarget) error { s.source.stopHanging(); return nil }},
	{name: "Redis and source down", description: "kill -9 of Redis, and every query of the source fails",
		ttl: shortTTL, lead: shortLead, affectsRedis: true, probes: probes{probeRedis, probeSource},
		begin: func(_ context.Context, s *faultTarget) error { s.source.down.Store(true); s.redis.Kill(); return nil },
		end: func(ctx context.Context, s *faultTarget) error {
			s.source.down.Store(false)
			return s.redis.Restart(ctx)
		}},
}

// kafkaFaults are those of the near cache that has Kafka as its second channel, and what only that can show.
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

// askRedis asks it as the last instance does, who has every fault.
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

// lasts says whether all of the fault is there.
func (f fault) requireFailing(ctx context.Context, s *faultTarget) error {
	for i, ask := range f.probes {
		if ask(ctx, s) == nil {
			return fmt.Errorf("suite: %s: request %d was answered meanwhile: the run is void", f.name, i)
		}
	}
	return nil
}

// over waits until nothing of it is.
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
