package kafka

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// holding is the other side of polls: it holds each request until one of its parts has a record.
type holding struct {
	gatherer[ask, int]
	feed map[int]chan int // the records of each partition

	mu   sync.Mutex
	sent []string
}

func newHolding(partitions int) *holding {
	h := &holding{feed: make(map[int]chan int)}
	for p := range partitions {
		h.feed[p] = make(chan int, 1)
	}
	h.underWay, h.maxBytes = 3, 100
	h.polls = &polls[int]{tells: func(record int) bool { return record != 0 }}
	h.exchange = func(ctx context.Context, _ int32, parts []ask, hold time.Duration) ([]int, error) {
		var names []int
		for _, p := range parts {
			names = append(names, p.partition)
		}
		slices.Sort(names)
		h.mu.Lock()
		h.sent = append(h.sent, fmt.Sprint(names, hold))
		h.mu.Unlock()
		answers := make([]int, len(parts))
		for end := time.Now().Add(hold); ctx.Err() == nil && time.Now().Before(end); <-time.After(time.Millisecond) {
			found := false
			for i, p := range parts {
				select {
				case answers[i] = <-h.feed[p.partition]:
					found = true
				default:
				}
			}
			if found {
				break
			}
		}
		return answers, nil
	}
	return h
}

// requests are those that were sent.
func (h *holding) requests() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.sent)
}

// polled asks for a partition until its answers end, and counts them. After a record it is busy for a while.
func (h *holding) polled(ctx context.Context, partition int, busy time.Duration, answers *atomic.Int64) {
	for ctx.Err() == nil {
		record, err := h.do(ctx, 1, ask{partition: partition, wait: time.Second})
		if err != nil {
			return
		}
		answers.Add(1)
		if record != 0 {
			<-time.After(busy)
		}
	}
}

// TestPolls_ARecordWakesItsPartition: the others stay where they are, and all are in one request again.
func TestPolls_ARecordWakesItsPartition(t *testing.T) {
	for busy, want := range map[time.Duration][]string{
		0:                      {"[0 1 2 3] 499ms"},
		5 * time.Millisecond:   {"[0 1 2 3] 494ms"},
		100 * time.Millisecond: {"[0 2 3] 489ms", "[1] 399ms", "[0 1 2 3] 1s"}, // they end together
	} {
		t.Run(busy.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHolding(4)
				ctx, stop := context.WithCancel(t.Context())
				defer h.close()
				defer stop()
				var answers [4]atomic.Int64
				for p := range answers {
					go h.polled(ctx, p, busy, &answers[p])
					synctest.Wait()
				}
				for end := time.Now().Add(20 * time.Second); !slices.Contains(h.requests(), "[0 1 2 3] 1s"); {
					if settle(time.Millisecond); time.Now().After(end) {
						t.Fatalf("got the requests %q: the partitions are not in one", h.requests())
					}
				}
				var before [4]int64
				for p := range answers {
					before[p] = answers[p].Load()
				}
				sent := len(h.requests())
				settle(500 * time.Millisecond)
				h.feed[1] <- 7
				settle(1100 * time.Millisecond)
				if got := h.requests()[sent:]; len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
					t.Errorf("got the requests %q after a record, want %q", got, want)
				}
				for p := range answers {
					got, want := answers[p].Load()-before[p], int64(1) // the end of the poll
					if p == 1 {
						want = 2 // and the record
					}
					if got != want {
						t.Errorf("partition %d: got %d answers, want %d", p, got, want)
					}
				}
			})
		})
	}
}
