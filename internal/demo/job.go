package demo

import (
	"context"
	"sync"
)

// job is background work that can be started and stopped, again and again. It is safe for concurrent use.
type job struct {
	run func(context.Context)

	mu   sync.Mutex
	stop func() // ends the work and waits for its end; nil: it does not run
}

// start starts the work, unless it runs. It ends with ctx.
func (j *job) start(ctx context.Context) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.stop != nil || j.run == nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); j.run(ctx) }()
	j.stop = func() { cancel(); <-ended }
}

// end stops the work and waits for its end.
func (j *job) end() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.stop != nil {
		j.stop()
		j.stop = nil
	}
}

func (j *job) running() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.stop != nil
}

// together runs all functions and returns when the last one has.
func together(ctx context.Context, all ...func(context.Context)) {
	var wg sync.WaitGroup
	for _, f := range all {
		wg.Go(func() { f(ctx) })
	}
	wg.Wait()
}
