//go:build unix

package chaos

import (
	"context"
	"strconv"
	"syscall"
	"time"
)

// processFaults kill and stop members of the fleet.
func processFaults() []fault {
	kill := func(in *injection, name string) {
		in.member(name).kill()
		in.heal(func(context.Context) error { return in.launch(name) })
	}
	stop := func(in *injection, name string) error {
		p := in.member(name)
		in.heal(func(context.Context) error { return p.signal(syscall.SIGCONT) })
		return p.signal(syscall.SIGSTOP)
	}
	aRelay := func(in *injection) string { return "relay-" + strconv.Itoa(in.rnd.IntN(2)) }
	return []fault{
		{"instance: kill -9", func(_ context.Context, in *injection) error { kill(in, in.anInstance()); return nil }, 100 * time.Millisecond, time.Second},
		{"instance: dies after a commit", func(ctx context.Context, in *injection) error {
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
		}, 100 * time.Millisecond, time.Second},
		{"instance: stopped", func(_ context.Context, in *injection) error { return stop(in, in.anInstance()) }, 300 * time.Millisecond, 2500 * time.Millisecond},
		{"instance: stopped again and again", func(_ context.Context, in *injection) error {
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
		}, 2 * time.Second, 3 * time.Second},
		{"relay: kill -9", func(_ context.Context, in *injection) error { kill(in, aRelay(in)); return nil }, 300 * time.Millisecond, time.Second},
		{"relay: both kill -9", func(_ context.Context, in *injection) error { kill(in, "relay-0"); kill(in, "relay-1"); return nil }, 500 * time.Millisecond, 2 * time.Second},
		{"relay: the leader stopped", func(ctx context.Context, in *injection) error { return stop(in, in.leader(ctx)) }, 500 * time.Millisecond, 2 * time.Second},
		{"relay: a zombie beside its successor", func(ctx context.Context, in *injection) error {
			name := in.leader(ctx)
			if err := stop(in, name); err != nil {
				return err
			}
			// Its lock goes with its connections; when it runs on it has not noticed yet.
			return in.links.of(name, postgresService).reset()
		}, time.Second, 2500 * time.Millisecond},
		{"server: kill -9", func(_ context.Context, in *injection) error {
			if names := in.serverNames(); len(names) > 0 {
				name := names[in.rnd.IntN(len(names))]
				in.server(name).kill()
				in.heal(func(context.Context) error { return in.launch(name) })
			}
			return nil
		}, 300 * time.Millisecond, time.Second},
		{"worker: kill -9", func(_ context.Context, in *injection) error { kill(in, "worker"); return nil }, 300 * time.Millisecond, time.Second},
	}
}

// leader is the relay that leads, as Postgres knows it by the name that its connections have.
func (b *cluster) leader(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var name string
	err := b.store.pool.QueryRow(ctx, `select a.application_name from pg_locks l join pg_stat_activity a using (pid)
		where l.locktype = 'advisory' and l.granted limit 1`).Scan(&name)
	if _, isRelay := number(name, "relay-"); err != nil || !isRelay {
		return "relay-0"
	}
	return name
}
