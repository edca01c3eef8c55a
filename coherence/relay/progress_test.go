package relay_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// slow is a Redis in memory that takes its time.
type slow struct {
	*redisFake
	takes time.Duration // for a batch with changes
}

func (s *slow) ApplyBatch(ctx context.Context, b int, changes []l2.Change, from l2.Watermark,
	to coherence.Position) (l2.Watermark, bool, error) {
	if len(changes) > 0 {
		<-time.After(s.takes)
	}
	return s.redisFake.ApplyBatch(ctx, b, changes, from, to)
}

// journal is a log.
type journal struct{ testkit.Output }

// lines are those with a message.
func (j *journal) lines(message string) (out []string) {
	for line := range strings.Lines(j.String()) {
		if strings.Contains(line, message) {
			out = append(out, line)
		}
	}
	return out
}

// gauge is a relay's metric of a channel.
func gauge(t *testing.T, reg *prometheus.Registry, name, channel string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "nearcache_relay_"+name && m.GetLabel()[0].GetValue() == channel {
				return m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("there is no %s of %s", name, channel)
	return 0
}

func TestRelay_TellsHowItCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rows, batch = 2_000, 10
		src, red, said := newOutbox(), &slow{newRedisFake(), 100 * time.Millisecond}, &journal{}
		reg := prometheus.NewRegistry()
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = relay.Relay{Source: src, Batch: batch, Registerer: reg,
				Logger: slog.New(slog.NewTextHandler(said, nil))}.RunOn(ctx, red)
		})
		defer wg.Wait()
		defer stop()
		time.Sleep(time.Second)
		src.addLarge(t, rows) // 20 s of work
		time.Sleep(11 * time.Second)
		synctest.Wait()
		inside, left := gauge(t, reg, "transaction_changes", "redis"), gauge(t, reg, "lag_changes", "redis")
		if inside < rows/4 || inside > 3*rows/4 || left < rows/4 || left > 3*rows/4 {
			t.Errorf("in the midst, %v changes of the transaction are relayed, and %v are left", inside, left)
		}
		if behind := gauge(t, reg, "lag_seconds", "redis"); behind < 9 || behind > 12 {
			t.Errorf("in the midst it is %v seconds behind, want about 11", behind)
		}
		if lines := said.lines("catching up"); len(lines) != 2 || !strings.Contains(lines[1], " left=9") {
			t.Errorf("in 11 seconds the log tells %q, want two lines with what is left", lines)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, name := range []string{"transaction_changes", "lag_changes", "lag_seconds"} {
			if v := gauge(t, reg, name, "redis"); v != 0 {
				t.Errorf("at the end %s is %v, want 0", name, v)
			}
		}
		if lines := said.lines("has caught up"); len(lines) != 1 || !strings.Contains(lines[0], "relayed=2000") {
			t.Errorf("at the end the log tells %q", lines)
		}
	})
}

// untrimmed is an outbox that nothing can be dropped from.
type untrimmed struct {
	*outbox
	mu   sync.Mutex
	fail error
	more int // steps that end before all is dropped
}

func (u *untrimmed) Trim(ctx context.Context, _ coherence.Position, _ time.Duration) (int64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.fail == nil && u.more > 0 {
		u.more--
		<-ctx.Done()
		return 1, nil
	}
	return 0, u.fail
}

// TestRelay_SaysWhatFailsForEver: a trim that failed was counted, and nothing else told of it.
func TestRelay_SaysWhatFailsForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, said := &untrimmed{outbox: newOutbox(), fail: errors.New("no right to delete")}, &journal{}
		reg := prometheus.NewRegistry()
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = relay.Relay{Source: src, Registerer: reg, Logger: slog.New(slog.NewTextHandler(said, nil))}.
				RunOn(ctx, newRedisFake())
		})
		defer wg.Wait()
		defer stop()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		lines := said.lines("cannot be dropped")
		if len(lines) < 8 || len(lines) > 11 || !strings.Contains(lines[0], "no right to delete") {
			t.Errorf("in 10 minutes the log tells %d times: %q", len(lines), lines)
		}
		if s := gauge(t, reg, "failing_seconds", "trim"); s < 450 {
			t.Errorf("it has failed for %v seconds, want about 540", s)
		}
		src.mu.Lock()
		src.fail, src.more = nil, 20
		src.mu.Unlock()
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if s := gauge(t, reg, "failing_seconds", "trim"); s != 0 || len(said.lines("dropped again")) != 1 {
			t.Errorf("it succeeds, and failing_seconds is %v; the log: %q", s, said.lines("dropped again"))
		}
		if src.mu.Lock(); src.more != 0 {
			t.Errorf("after a step that could not drop all, the next follows at once; %d are left", src.more)
		}
		src.mu.Unlock()
	})
}
