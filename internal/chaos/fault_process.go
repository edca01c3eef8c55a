//go:build unix

package chaos

import (
	"context"
	"errors"
	"strconv"
	"syscall"
	"time"
)

// processFaults kill and stop members of the fleet.
func processFaults() []fault {
	short, second, long := 100*time.Millisecond, time.Second, 2500*time.Millisecond
	aRelay := func(in *injection) string { return "relay-" + strconv.Itoa(in.rnd.IntN(2)) }
	return []fault{
		{"instance: kill -9", func(_ context.Context, in *injection) error { return in.kill(in.anInstance()) },
			short, second},
		{"instance: dies after a commit", dieAfterCommit, short, second},
		{"instance: stopped", func(_ context.Context, in *injection) error { return in.stop(in.anInstance()) },
			300 * time.Millisecond, long},
		{"instance: stopped again and again", stopAgainAndAgain, 2 * time.Second, 3 * time.Second},
		// As long as a reader that is not woken sleeps.
		{leaseEnds, leasesEnd, heldTTL, heldTTL + 500*time.Millisecond},
		{"relay: kill -9", func(_ context.Context, in *injection) error { return in.kill(aRelay(in)) },
			300 * time.Millisecond, second},
		{"relay: both kill -9", func(_ context.Context, in *injection) error {
			return errors.Join(in.kill("relay-0"), in.kill("relay-1"))
		}, 500 * time.Millisecond, 2 * time.Second},
		{"relay: the leader stopped", func(ctx context.Context, in *injection) error { return in.stop(in.leader(ctx)) },
			500 * time.Millisecond, 2 * time.Second},
		{"relay: a zombie beside its successor", func(ctx context.Context, in *injection) error {
			name := in.leader(ctx)
			if err := in.stop(name); err != nil {
				return err
			}
			// It loses its lock with its connections. When it continues it has not noticed that yet.
			return in.links.of(name, postgresService).reset()
		}, second, long},
		{"server: kill -9", killServer, 300 * time.Millisecond, second},
		{"worker: kill -9", func(_ context.Context, in *injection) error { return in.kill("worker") },
			300 * time.Millisecond, second},
	}
}

// kill kills a member, and starts it again when the fault is healed.
func (in *injection) kill(name string) error {
	in.member(name).kill()
	in.heal(func(context.Context) error { return in.launch(name) })
	return nil
}

// stop stops a member with SIGSTOP, and continues it when the fault is healed.
func (in *injection) stop(name string) error {
	p := in.member(name)
	in.heal(func(context.Context) error { return p.signal(syscall.SIGCONT) })
	return p.signal(syscall.SIGSTOP)
}

// killServer kills a product server, if there are any.
func killServer(_ context.Context, in *injection) error {
	if names := in.serverNames(); len(names) > 0 {
		name := names[in.rnd.IntN(len(names))]
		in.server(name).kill()
		in.heal(func(context.Context) error { return in.launch(name) })
	}
	return nil
}

// dieAfterCommit has an instance kill itself between a commit and its invalidation.
func dieAfterCommit(ctx context.Context, in *injection) error {
	name := in.anInstance()
	p := in.member(name)
	if _, err := p.send("die"); err != nil {
		return err
	}
	in.heal(func(context.Context) error { return in.launch(name) })
	select {
	case <-p.ended:
	case <-time.After(5 * time.Second):
		p.kill()
	case <-ctx.Done():
	}
	return nil
}

// stopAgainAndAgain stops and continues an instance at random times.
func stopAgainAndAgain(_ context.Context, in *injection) error {
	p := in.member(in.anInstance())
	in.heal(func(context.Context) error { return p.signal(syscall.SIGCONT) })
	stopped := false
	in.repeat(func(context.Context) {
		sig := syscall.SIGSTOP
		if stopped {
			sig = syscall.SIGCONT
		}
		if in.rnd.IntN(4) == 0 && p.signal(sig) == nil {
			stopped = !stopped
		}
	})
	return nil
}

// leader is the relay that leads, as the source knows it.
func (b *cluster) leader(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	name, err := b.store.leader(ctx)
	if _, isRelay := number(name, "relay-"); err != nil || !isRelay {
		return "relay-0"
	}
	return name
}
