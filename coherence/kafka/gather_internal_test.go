package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// ask is a part of a request.
type ask struct {
	partition, size int
	other           bool
	wait            time.Duration
}

func (a ask) name() partitionName    { return partitionName{"t", a.partition} }
func (a ask) kind() bool             { return a.other }
func (a ask) bytes() int             { return a.size }
func (a ask) longest() time.Duration { return a.wait }

// broker is the other side of a gatherer: its requests stay under way until they are released.
type broker struct {
	gatherer[ask, int]
	sent    []string
	release chan error
	ended   int // requests whose context ended
}

func newBroker(underWay int) *broker {
	b := &broker{release: make(chan error)}
	b.underWay, b.wait, b.maxBytes = underWay, time.Millisecond, 100
	b.exchange = func(ctx context.Context, leader int32, parts []ask, _ time.Duration) ([]int, error) {
		var names, answers []int
		for _, p := range parts {
			names, answers = append(names, p.partition), append(answers, 10*p.partition)
		}
		slices.Sort(names)
		b.sent = append(b.sent, fmt.Sprint(leader, names))
		select {
		case err := <-b.release:
			return answers, err
		case <-ctx.Done():
			b.ended++
			return nil, ctx.Err()
		}
	}
	return b
}

// ask asks on a goroutine, and returns when the part waits or is under way.
func (b *broker) ask(ctx context.Context, t *testing.T, done chan<- int, leader int32, parts ...ask) {
	for _, p := range parts {
		go func() {
			got, err := b.do(ctx, leader, p)
			if err == nil && got != 10*p.partition {
				t.Errorf("partition %d: got the answer %d", p.partition, got)
			}
			done <- p.partition
		}()
	}
	synctest.Wait()
}

// settle lets time pass, and everything happen that happens by then.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func parts(from, to int) (all []ask) {
	for p := from; p < to; p++ {
		all = append(all, ask{partition: p})
	}
	return all
}

func TestGatherer_ThoseThatComeTogetherGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, done := newBroker(2), make(chan int, 100)
		b.ask(t.Context(), t, done, 1, parts(0, 1)...) // alone: at once
		b.ask(t.Context(), t, done, 2, parts(1, 2)...) // another leader: at once too
		b.ask(t.Context(), t, done, 1, parts(2, 3)...)
		b.ask(t.Context(), t, done, 1, parts(3, 8)...) // two are under way: these wait for one of them
		settle(time.Second)
		if want := []string{"1 [0]", "2 [1]", "1 [2]"}; !slices.Equal(b.sent, want) {
			t.Errorf("got the requests %q, want %q", b.sent, want)
		}
		for range 3 {
			b.release <- nil
		}
		settle(time.Second)
		if got := b.sent[3:]; !slices.Equal(got, []string{"1 [3 4 5 6 7]"}) {
			t.Errorf("got the requests %q after the first ones, want one of the five", got)
		}
		b.release <- nil
		settle(time.Second)
		if len(done) != 8 {
			t.Errorf("got %d answers, want 8", len(done))
		}
	})
}

func TestGatherer_WhatIsInOneRequest(t *testing.T) {
	for name, c := range map[string]struct {
		asks []ask
		want []string
	}{
		"a partition once": {[]ask{{partition: 1}, {partition: 2}, {partition: 2}}, []string{"1 [1 2]", "1 [2]"}},
		"one kind, which does not wait for another": {[]ask{{partition: 1}, {partition: 2}, {partition: 3, other: true}},
			[]string{"1 [3]", "1 [1 2]"}},
		"so many bytes": {[]ask{{partition: 1, size: 60}, {partition: 2, size: 40}, {partition: 3, size: 1}},
			[]string{"1 [1 2]", "1 [3]"}},
		"one that is larger by itself": {[]ask{{partition: 1, size: 200}, {partition: 2}}, []string{"1 [1]", "1 [2]"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, done := newBroker(1), make(chan int, 100)
				b.ask(t.Context(), t, done, 1, ask{partition: 99})
				for _, a := range c.asks { // in order
					b.ask(t.Context(), t, done, 1, a)
				}
				for len(done) < 1+len(c.asks) {
					b.release <- nil
					settle(b.wait)
				}
				if got := b.sent[1:]; !slices.Equal(got, c.want) {
					t.Errorf("got the requests %q, want %q", got, c.want)
				}
			})
		})
	}
}

func TestGatherer_FailsForAllOfARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(1)
		failed := make(chan error, 3)
		for p := range 3 {
			go func() {
				_, err := b.do(t.Context(), 1, ask{partition: p})
				failed <- err
			}()
		}
		settle(b.wait)
		lost := errors.New("lost")
		for len(failed) < 3 {
			b.release <- lost
			settle(b.wait)
		}
		for range 3 {
			if err := <-failed; !errors.Is(err, lost) {
				t.Errorf("got error %v, want that of the request", err)
			}
		}
	})
}

// TestGatherer_EndsWithThoseThatWait: a request goes on while one of its parts is waited for, and no longer; a part
// that nobody waits for is not sent.
func TestGatherer_EndsWithThoseThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, done := newBroker(1), make(chan int, 10)
		first, stopFirst := context.WithCancel(t.Context())
		second, stopSecond := context.WithCancel(t.Context())
		third, stopThird := context.WithCancel(t.Context())
		b.ask(t.Context(), t, done, 1, ask{partition: 9})
		b.ask(first, t, done, 1, ask{partition: 1})
		b.ask(second, t, done, 1, ask{partition: 2})
		b.ask(third, t, done, 1, ask{partition: 3})
		stopThird()
		b.release <- nil
		settle(b.wait)
		stopFirst()
		synctest.Wait()
		if b.ended != 0 {
			t.Error("the request ended while one of its parts was waited for")
		}
		stopSecond()
		synctest.Wait()
		if b.ended != 1 || len(done) != 4 {
			t.Errorf("got %d requests ended and %d readers done, want 1 and 4", b.ended, len(done))
		}
		if want := []string{"1 [9]", "1 [1 2]"}; !slices.Equal(b.sent, want) {
			t.Errorf("got the requests %q, want %q", b.sent, want)
		}
	})
}

// TestGatherer_Close ends what is under way and what waits, and leaves no goroutine.
func TestGatherer_Close(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(1)
		failed := make(chan error, 3)
		ask := func(p int) {
			_, err := b.do(t.Context(), 1, ask{partition: p})
			failed <- err
		}
		go ask(1)
		synctest.Wait()
		go ask(2)
		synctest.Wait()
		b.close()
		ask(3)
		synctest.Wait()
		for range 3 {
			if err := <-failed; !errors.Is(err, context.Canceled) && !errors.Is(err, errClosed) {
				t.Errorf("got error %v, want that it is closed", err)
			}
		}
	})
}
