package testkit_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// fatal is a testing.TB that records a fatal failure and ends the goroutine.
type fatal struct {
	testing.TB
	failed string
}

func (f *fatal) Helper() {}

func (f *fatal) Fatalf(format string, args ...any) {
	f.failed = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestEventually_WaitsForTheCondition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		testkit.Eventually(t, "a second has passed", func() bool { return time.Since(start) >= time.Second })
		if got := time.Since(start); got != time.Second {
			t.Errorf("got back after %v, want 1s", got)
		}
	})
}

func TestEventually_FailsInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fatal{TB: t}
		go testkit.Eventually(f, "pigs fly", func() bool { return false })
		time.Sleep(time.Hour)
		synctest.Wait()
		if want := "not within 1m0s: pigs fly"; f.failed != want {
			t.Errorf("got the failure %q, want %q", f.failed, want)
		}
	})
}

func TestMetric_SumsTheChildrenWithTheLabels(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "reads_total"}, []string{"tier", "cache"})
	reg.MustRegister(c)
	c.WithLabelValues("l1", "a").Add(1)
	c.WithLabelValues("l1", "b").Add(2)
	c.WithLabelValues("l2", "a").Add(4)
	for _, test := range []struct {
		labels []string
		want   float64
	}{{nil, 7}, {[]string{"l1"}, 3}, {[]string{"a", "l1"}, 1}, {[]string{"c"}, 0}} {
		if got := testkit.Metric(t, reg, "reads_total", test.labels...); got != test.want {
			t.Errorf("labels %v: got %v, want %v", test.labels, got, test.want)
		}
	}
}

func TestTopic_KeepsTheOrderOfAPartition(t *testing.T) {
	p := testkit.NewTopic(2)
	event := func(key string, seq uint64) coherence.Message {
		return coherence.Message{Event: coherence.Event{Key: key, Seq: seq}}
	}
	batch := []coherence.PartitionMessage{{Partition: 1, Message: event("a", 1)}, {Partition: 1, Message: event("b", 2)}}
	if err := p.Publish(context.Background(), batch); err != nil {
		t.Fatal(err)
	}
	down := errors.New("the broker is down")
	p.Fail(down)
	if err := p.Publish(context.Background(), batch); !errors.Is(err, down) {
		t.Errorf("got error %v, want %v", err, down)
	}
	p.Fail(nil)
	if p.Mixed() {
		t.Error("a batch of events counts as mixed")
	}
	batch[1].Message = coherence.Message{Barrier: &coherence.Barrier{Seq: 2}}
	if err := p.Publish(context.Background(), batch); err != nil {
		t.Fatal(err)
	}
	if got, want := p.Events(1), []string{"a@1", "b@2", "a@1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := p.Events(0); len(got) != 0 || !p.Mixed() {
		t.Errorf("got %v in the other partition and mixed %v, want nothing and true", got, p.Mixed())
	}
}
