package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// lag is how late one change was.
type lag struct{ redis, kafka time.Duration }

// give up after a minute: the relay does not work, or never catches up.
const patience = time.Minute

// arrive commits a change and waits until it has arrived everywhere.
func (b *bench) arrive(ctx context.Context) (lag, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	name := fmt.Sprint("marker-", b.marker.Add(1))
	record := l2.NewKeyspace(b.prefix).Key("product", name).Record
	if err := b.redis.Do(ctx, b.redis.B().Set().Key(record).Value("old").Build()).Error(); err != nil {
		return lag{}, err
	}
	arrived := b.kafka.expect(name)
	for { // the relay installs the schema when it starts
		_, err := b.pool.Exec(ctx, b.waking(`insert into nearcache.outbox (namespace, key, version, op)
			values ('product', $1::text, 1, 'updated')`), name)
		if err == nil {
			break
		}
		if !strings.Contains(err.Error(), "does not exist") || ctx.Err() != nil {
			return lag{}, err
		}
		pause(ctx, 100*time.Millisecond)
	}
	committed := time.Now()
	var l lag
	for l.redis == 0 {
		n, err := b.redis.Do(ctx, b.redis.B().Exists().Key(record).Build()).AsInt64()
		switch {
		case err != nil:
			return lag{}, fmt.Errorf("in Redis: %w", err)
		case n == 0:
			l.redis = time.Since(committed)
		default:
			pause(ctx, time.Millisecond)
		}
	}
	select {
	case at := <-arrived:
		l.kafka = max(0, at.Sub(committed))
	case <-ctx.Done():
		return lag{}, fmt.Errorf("in Kafka: %w", ctx.Err())
	}
	return l, nil
}

func split(all []lag) (redis, kafka string) {
	var r, k []time.Duration
	for _, l := range all {
		r, k = append(r, l.redis), append(k, l.kafka)
	}
	return quantiles(r), quantiles(k)
}

func quantiles(all []time.Duration) string {
	if slices.Sort(all); len(all) == 0 {
		return "none"
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d)/1e6) }
	return ms(all[len(all)/2]) + ", " + ms(all[len(all)*99/100]) + ", " + ms(all[len(all)-1])
}

// arrivals are the events that are read from Kafka.
type arrivals struct {
	readers []*kafka.Reader
	wg      sync.WaitGroup
	stop    context.CancelFunc

	mu    sync.Mutex
	wants map[string]chan time.Time
}

// follow reads a topic that the relay makes.
func follow(ctx context.Context, brokers []string, topic string) (*arrivals, error) {
	ctx, stop := context.WithCancel(ctx)
	a := &arrivals{stop: stop, wants: map[string]chan time.Time{}}
	var parts []kafka.Partition
	for deadline := time.Now().Add(patience); len(parts) == 0; pause(ctx, 200*time.Millisecond) {
		c, err := kafka.DialContext(ctx, "tcp", brokers[0])
		if err == nil {
			parts, err = c.ReadPartitions(topic)
			_ = c.Close()
		}
		if len(parts) == 0 && time.Now().After(deadline) {
			stop()
			return nil, errors.Join(err, fmt.Errorf("the topic %s is not made", topic))
		}
	}
	for _, p := range parts {
		r := kafka.NewReader(kafka.ReaderConfig{Brokers: brokers, Topic: topic, Partition: p.ID, MaxBytes: 8 << 20,
			MaxWait: 10 * time.Millisecond})
		a.readers = append(a.readers, r)
		a.wg.Go(func() { a.read(ctx, r) })
	}
	return a, nil
}

func (a *arrivals) read(ctx context.Context, r *kafka.Reader) {
	for {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			return
		}
		if !strings.Contains(string(m.Value), "marker-") {
			continue
		}
		now := time.Now()
		got, err := coherence.DecodeJSON(m.Value)
		if err != nil {
			continue
		}
		a.mu.Lock()
		if c := a.wants[got.Key]; c != nil {
			c <- now
			delete(a.wants, got.Key)
		}
		a.mu.Unlock()
	}
}

func (a *arrivals) expect(key string) <-chan time.Time {
	c := make(chan time.Time, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wants[key] = c
	return c
}

func (a *arrivals) close() {
	a.stop()
	a.wg.Wait()
	for _, r := range a.readers {
		_ = r.Close()
	}
}

// processors are seconds of processor time so far: of the machine, the relay, Redis and this program.
func (b *bench) processors(ctx context.Context) (s [4]float64) {
	const ticks = 100
	if line, err := os.ReadFile("/proc/stat"); err == nil {
		var user, nice, system, idle, wait, irq, soft float64
		_, _ = fmt.Sscanf(string(line), "cpu %f %f %f %f %f %f %f", &user, &nice, &system, &idle, &wait, &irq, &soft)
		s[0] = (user + nice + system + irq + soft) / ticks
	}
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.relay)); err == nil {
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		var user, system float64
		_, _ = fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
		s[1] = (user + system) / ticks
	}
	info, _ := b.redis.Do(ctx, b.redis.B().Info().Section("cpu").Build()).ToString()
	for line := range strings.Lines(info) {
		var v float64
		for _, name := range []string{"used_cpu_sys:", "used_cpu_user:"} {
			if n, _ := fmt.Sscanf(line, name+"%f", &v); n == 1 {
				s[2] += v
			}
		}
	}
	var own syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &own) == nil {
		s[3] = float64(own.Utime.Nano()+own.Stime.Nano()) / 1e9
	}
	return s
}
