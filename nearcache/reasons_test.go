package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

func reasonCodes(c *nearcache.Client) (codes []string) {
	for _, r := range c.Status().Reasons {
		codes = append(codes, r.Code)
	}
	return codes
}

// lines is a logger that remembers.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(b))
	return len(b), nil
}

func (l *lines) count(words ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
next:
	for _, line := range l.all {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		n++
	}
	return n
}

// A fault that begins later is a reason, a sample of the gauge, and one line in the log, until it is over.
func TestReasons_RedisComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer redis.Close()
		reg, log := prometheus.NewRegistry(), &lines{}
		client, err := nearcache.New(nearcache.Config{Redis: redis.PipeOption(), Registerer: reg, Logger: log.logger()})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		time.Sleep(10 * time.Second)
		if got := reasonCodes(client); len(got) != 0 {
			t.Fatalf("reasons are %v while all is well", got)
		}
		redis.Stop()
		time.Sleep(10 * time.Second)
		if got := reasonCodes(client); !slices.Contains(got, "redis_unreachable") {
			t.Errorf("reasons are %v, want redis_unreachable", got)
		}
		if s := client.Status(); s.Redis || s.Ready {
			t.Errorf("redis %v, ready %v with Redis stopped", s.Redis, s.Ready)
		}
		if got := testkit.Metric(t, reg, "nearcache_degraded", "redis_unreachable"); got != 1 {
			t.Errorf("nearcache_degraded is %v, want 1", got)
		}
		if got := log.count("level=WARN", "redis_unreachable"); got != 1 {
			t.Errorf("%d lines at Warn, want 1", got)
		}
		if err := redis.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if got := reasonCodes(client); len(got) != 0 {
			t.Errorf("reasons are %v after Redis has come back", got)
		}
		if got := log.count("recovered", "redis_unreachable"); got != 1 {
			t.Errorf("%d lines say that it recovered, want 1", got)
		}
	})
}

// faultySource fails as it is told to.
type faultySource struct {
	*nearcachetest.Source
	mu       sync.Mutex
	err      error
	findings []coherence.Finding
}

func (s *faultySource) Position(ctx context.Context) (coherence.Position, error) {
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	if err != nil {
		return coherence.Position{}, err
	}
	return s.Source.Position(ctx)
}

func (s *faultySource) Check(context.Context) ([]coherence.Finding, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.findings, nil
}

func (s *faultySource) set(err error, findings ...coherence.Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.findings = err, findings
}

func TestNew_RefusesASourceThatCannotWork(t *testing.T) {
	src := &faultySource{Source: nearcachetest.NewSource()}
	src.set(fmt.Errorf("%w: relation \"nearcache.meta\" does not exist: run Install", coherence.ErrMisconfigured))
	_, err := nearcache.New(nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(), Source: src})
	if !errors.Is(err, coherence.ErrMisconfigured) || !strings.Contains(err.Error(), "Install") {
		t.Errorf("got %v, want ErrMisconfigured that says what to do", err)
	}
	src.set(errors.New("connection refused"))
	client, err := nearcache.New(nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(), Source: src})
	if err != nil {
		t.Fatalf("a source that is away: got %v, want a client", err)
	}
	client.Close()
}

func TestReasons_SourceRelayAndBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer redis.Close()
		src := &faultySource{Source: nearcachetest.NewSource()}
		client, err := nearcache.New(nearcache.Config{Redis: redis.PipeOption(), Source: src, Logger: (&lines{}).logger()})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		_, err = nearcache.NewCache(client, "t", nearcache.Options[string, string]{MaxStaleness: time.Second,
			Load: func(context.Context, string) (nearcache.Entry[string], error) {
				return nearcache.Entry[string]{Version: 1}, nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if got, want := reasonCodes(client), []string{"bound_not_met", "relay_silent"}; !slices.Equal(got, want) {
			t.Errorf("without a relay: reasons are %v, want %v", got, want)
		}
		src.set(errors.New("connection refused"))
		time.Sleep(time.Second)
		if got, want := reasonCodes(client), []string{"bound_not_met", "source_unreachable"}; !slices.Equal(got, want) {
			t.Errorf("with the source down: reasons are %v, want %v", got, want)
		}
		src.set(nil,
			coherence.Finding{Code: coherence.FindingTriggerDisabled,
				Text: "The trigger on shop.products is disabled: enable it."})
		time.Sleep(2 * time.Minute)
		if got := reasonCodes(client); !slices.Contains(got, coherence.FindingTriggerDisabled) {
			t.Errorf("with a trigger disabled: reasons are %v", got)
		}
	})
}

// failingEvents is an EventSource that cannot be followed.
type failingEvents struct{ ping, run error }

func (e failingEvents) Ping(context.Context) error { return e.ping }

func (e failingEvents) Run(ctx context.Context, sink coherence.Sink) error {
	sink.Partitions(2)
	sink.Session(0)
	sink.Failed(1, e.run)
	<-ctx.Done()
	return nil
}

func TestReasons_EventChannel(t *testing.T) {
	denied := fmt.Errorf("%w: topic authorization failed", coherence.ErrMisconfigured)
	redis := nearcachetest.NewRedis(t)
	if _, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption(),
		Events: failingEvents{ping: denied}}); !errors.Is(err, denied) {
		t.Errorf("New: got %v, want the channel's error", err)
	}
	for _, c := range []struct {
		err  error
		code string
	}{{denied, "events_misconfigured"}, {errors.New("unknown topic"), "events_not_followed"}} {
		client := newClient(t, nearcache.Config{Redis: redis.ClientOption(), Events: failingEvents{run: c.err}})
		testkit.Eventually(t, c.code, func() bool { return slices.Contains(reasonCodes(client), c.code) })
		if client.Status().Ready {
			t.Errorf("%s: ready although a partition is not followed", c.code)
		}
	}
}

// Two systems on one prefix: the second is refused by name, and serves nothing of the first.
func TestSystem_OneAPrefix(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		newClient(t, nearcache.Config{Redis: r.Option, System: "shop"})
		newClient(t, nearcache.Config{Redis: r.Option, System: "shop"}) // another instance
		_, err := nearcache.New(nearcache.Config{Redis: r.Option, System: "billing"})
		if !errors.Is(err, coherence.ErrMisconfigured) || !strings.Contains(err.Error(), "shop") {
			t.Errorf("the other system: got %v, want a refusal that names the first", err)
		}
		if user := r.Option.Username; user != "" {
			r.Do("ACL", "SETUSER", user, "~billing:*")
		}
		newClient(t, nearcache.Config{Redis: r.Option, System: "billing", Prefix: "billing"})
		_, err = nearcache.New(nearcache.Config{Redis: r.Option, Source: nearcachetest.NewSource()})
		if !errors.Is(err, coherence.ErrMisconfigured) {
			t.Errorf("a system named by its source: got %v, want a refusal", err)
		}
	})
}

// A system that finds out late, because Redis was away when it started, is switched off.
func TestSystem_FoundOutLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer redis.Close()
		first, err := nearcache.New(nearcache.Config{Redis: redis.PipeOption(), System: "shop", Logger: (&lines{}).logger()})
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		redis.Stop()
		second, err := nearcache.New(nearcache.Config{Redis: redis.PipeOption(),
			System: "billing", Logger: (&lines{}).logger()})
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		if err := redis.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := reasonCodes(second); !slices.Contains(got, "prefix_taken") || second.Mode() != nearcache.ModeOff {
			t.Errorf("reasons are %v and the mode %v, want prefix_taken and off", got, second.Mode())
		}
		if err := second.SetMode(nearcache.ModeOn); err == nil {
			t.Error("it can be switched on again")
		}
		if got := reasonCodes(first); len(got) != 0 {
			t.Errorf("the owner's reasons are %v, want none", got)
		}
	})
}
