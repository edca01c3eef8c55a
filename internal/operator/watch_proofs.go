package operator

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// proofs knows how old, at most, what each channel vouches for is, as an instance does: by the newest position of the
// source that the channel covers, and when that was read.
type proofs struct {
	mu       sync.Mutex
	samples  []sample
	barriers []coherence.Position // by partition
}

type sample struct {
	at       time.Time // before the position was read
	position coherence.Position
}

const mostSamples = 1200

func (p *proofs) sample(s sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.samples = append(p.samples, s); len(p.samples) > mostSamples {
		p.samples = p.samples[len(p.samples)-mostSamples:]
	}
}

func (p *proofs) partitions(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.barriers = make([]coherence.Position, n)
}

func (p *proofs) barrier(part int, at coherence.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if part < len(p.barriers) {
		p.barriers[part] = at
	}
}

// age is how old what covers all of these positions can be, nil if nothing is proved.
func (p *proofs) age(covered []coherence.Position, now time.Time) *float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.samples) - 1; i >= 0 && len(covered) > 0; i-- {
		s, all := p.samples[i], true
		for _, c := range covered {
			all = all && c.Covers(s.position)
		}
		if all {
			age := now.Sub(s.at).Seconds()
			return &age
		}
	}
	return nil
}

func (p *proofs) kafka(now time.Time) *float64 {
	p.mu.Lock()
	covered := append([]coherence.Position{}, p.barriers...)
	p.mu.Unlock()
	return p.age(covered, now)
}

// prove samples the source's position, and prints what the channels prove.
func (w *watcher) prove(ctx context.Context, every time.Duration) {
	src, _, closeIt, err := w.openSource(ctx)
	if err != nil {
		w.print(sighting{Channel: "proof", What: "failed", Text: err.Error()})
		return
	}
	defer closeIt()
	tick, print := time.NewTicker(100*time.Millisecond), time.NewTicker(every)
	defer tick.Stop()
	defer print.Stop()
	var failing error
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s := sample{at: time.Now()}
			if s.position, failing = src.Position(ctx); failing == nil {
				w.proofs.sample(s)
			}
		case now := <-print.C:
			w.print(w.proved(ctx, now, failing))
		}
	}
}

func (w *watcher) proved(ctx context.Context, now time.Time, failing error) sighting {
	s := sighting{Time: now, Channel: "proof", What: "proof"}
	if failing != nil && !errors.Is(failing, context.Canceled) {
		s.Text = "the database cannot be read: " + failing.Error()
		return s
	}
	var missing []string
	if w.hasRedis() {
		if s.RedisProved = w.redisAge(ctx, now); s.RedisProved == nil {
			missing = append(missing, "redis")
		}
	}
	if w.hasKafka() {
		if s.KafkaProved = w.proofs.kafka(now); s.KafkaProved == nil {
			missing = append(missing, "kafka")
		}
	}
	if len(missing) > 0 {
		s.Text = "nothing is proved by " + strings.Join(missing, " and ") + " (nearcache relay status)"
	}
	return s
}

func (w *watcher) redisAge(ctx context.Context, now time.Time) *float64 {
	watermarks, err := w.engine.Reached(ctx)
	if err != nil {
		return nil
	}
	covered := make([]coherence.Position, 0, len(watermarks))
	for _, wm := range watermarks {
		covered = append(covered, wm.Position)
	}
	return w.proofs.age(covered, now)
}
