package relay_test

import (
	"context"
	"fmt"
	"time"

	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
	"github.com/nearcache/nearcache-go/tier"
)

// A relay in a program of its own: it brings what a source commits to Redis, and moves the watermarks there.
func Example() {
	redis, err := nearcachetest.StartRedis("127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer redis.Close()
	l2, err := tier.Open(tier.Config{Redis: redis.ClientOption()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l2.Close()
	source := nearcachetest.NewSource() // coherence/postgres has a real one
	products := nearcachetest.NewTable[string](source, "product")
	if _, err := products.Put("42", "desk lamp"); err != nil {
		fmt.Println(err)
		return
	}

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	stopped := make(chan error)
	go func() {
		stopped <- relay.Relay{Source: source, L2: l2, Interval: 10 * time.Millisecond}.Run(ctx)
	}()

	head, err := source.Position(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for reached := 0; reached < 64; {
		<-time.After(5 * time.Millisecond)
		watermarks, err := l2.Watermarks(ctx)
		if err != nil {
			continue // Redis is not connected yet
		}
		reached = 0
		for _, w := range watermarks {
			if w.Position.Covers(head) {
				reached++
			}
		}
	}
	fmt.Println("every bucket of L2 has what was committed before")
	stop()
	fmt.Println(<-stopped)
	// Output:
	// every bucket of L2 has what was committed before
	// <nil>
}
