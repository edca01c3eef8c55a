//go:build unix

package chaos

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nearcache/nearcache-go/internal/services/local"
)

// redisFaults are what can happen to L2.
func redisFaults() []fault {
	return []fault{
		{"redis: restarts empty", func(_ context.Context, in *injection) error {
			in.redis.Kill()
			in.heal(func(ctx context.Context) error {
				if err := in.forget(in.redis); err != nil { // a replica's copy of its primary, if it was one
					return err
				}
				return in.restartRedis(ctx)
			})
			return nil
		}, 100 * time.Millisecond, 2 * time.Second},
		{"redis: restarts from an old dump", func(ctx context.Context, in *injection) error {
			if err := in.do(ctx, "SAVE"); err != nil {
				return err
			}
			pause(ctx, 500*time.Millisecond+time.Duration(in.rnd.Int64N(int64(2*time.Second))))
			in.redis.Kill()
			in.heal(func(ctx context.Context) error { return errors.Join(in.restartRedis(ctx), in.forget(in.redis)) })
			return nil
		}, 50 * time.Millisecond, 500 * time.Millisecond},
		{"redis: fails over to a lagging replica",
			func(ctx context.Context, in *injection) error {
				return in.failOver(ctx,
					nil)
			}, 200 * time.Millisecond, time.Second},
		{"redis: split brain", func(ctx context.Context,
			in *injection) error {
			return in.failOver(ctx, []string{in.anInstance()})
		}, time.Second, 3 * time.Second},
		{"redis: split brain, with the worker", func(ctx context.Context, in *injection) error {
			return in.failOver(ctx, []string{in.anInstance(), "worker"})
		}, time.Second, 3 * time.Second},
		{"redis: FLUSHALL", repeated("FLUSHALL"), 200 * time.Millisecond, 500 * time.Millisecond},
		{"redis: records evicted", deletes("v"), 500 * time.Millisecond, 2 * time.Second},
		{"redis: leases evicted", deletes("l"), 500 * time.Millisecond, 2 * time.Second},
		{"redis: watermarks evicted", deletes("w"), 500 * time.Millisecond, 2 * time.Second},
		{"redis: CLIENT KILL", repeated("CLIENT", "KILL", "TYPE", "normal"), 100 * time.Millisecond, 500 * time.Millisecond},
		{"redis: tracking table of 10", configured("tracking-table-max-keys", "10", "1000000"), time.Second, 2 * time.Second},
		{"redis: out of memory", configured("maxmemory", "3mb", "0"), time.Second, 2 * time.Second},
		{"redis: stopped", func(_ context.Context, in *injection) error {
			in.heal(func(context.Context) error { return in.redis.Resume() })
			return in.redis.Pause()
		}, 300 * time.Millisecond, 3 * time.Second},
		{"redis: DEBUG SLEEP", func(ctx context.Context, in *injection) error {
			go func() { _, _ = local.RedisDo(ctx, in.redis.Addr, "DEBUG", "SLEEP", "0.7") }()
			return nil
		}, 700 * time.Millisecond, 800 * time.Millisecond},
	}
}

// do sends a command to the primary.
func (b *cluster) do(ctx context.Context, args ...string) error {
	_, err := local.RedisDo(ctx, b.redis.Addr, args...)
	return err
}

// forget removes a dump.
func (b *cluster) forget(s *local.Server) error {
	err := os.Remove(filepath.Join(s.Dir, "dump.rdb"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// restartRedis starts the primary again, and has the replica follow it.
func (b *cluster) restartRedis(ctx context.Context) error {
	if err := b.redis.Restart(ctx); err != nil {
		return err
	}
	return b.follow(ctx, b.replica, b.redis)
}

// failOver promotes a replica that has not heard from its primary for a while. Those named go on with the old primary
// until the injection is healed; without any it dies.
func (in *injection) failOver(ctx context.Context, left []string) error {
	l := in.links.of("replica", "redis-link")
	for _, stream := range []string{"upstream", "downstream"} {
		if err := l.add(blackhole(stream)); err != nil {
			return err
		}
	}
	pause(ctx, 300*time.Millisecond+time.Duration(in.rnd.Int64N(int64(2*time.Second))))
	if _, err := local.RedisDo(ctx, in.replica.Addr, "REPLICAOF", "NO", "ONE"); err != nil {
		return err
	}
	old := in.redis
	if len(left) == 0 {
		old.Kill()
	}
	in.redis, in.replica = in.replica, in.redis
	for _, m := range in.members() {
		if !containsName(left, m) {
			if err := in.links.of(m, redisService).route(in.redis.Addr); err != nil {
				return err
			}
		}
	}
	in.heal(func(ctx context.Context) error {
		for _, m := range left {
			if err := in.links.of(m, redisService).route(in.redis.Addr); err != nil {
				return err
			}
		}
		old.Kill()
		if err := old.Restart(ctx); err != nil {
			return err
		}
		return in.follow(ctx, old, in.redis)
	})
	return nil
}

func containsName(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// repeated sends a command again and again.
func repeated(args ...string) func(context.Context, *injection) error {
	return func(_ context.Context, in *injection) error {
		in.repeat(func(ctx context.Context) { _ = in.do(ctx, args...) })
		return nil
	}
}

// configured changes a setting, and changes it back.
func configured(name, value, normal string) func(context.Context, *injection) error {
	return func(ctx context.Context, in *injection) error {
		set := func(ctx context.Context, v string) error { return in.do(ctx, "CONFIG", "SET", name, v) }
		if name == "maxmemory" {
			if err := in.do(ctx, "CONFIG", "SET", "maxmemory-policy", "allkeys-random"); err != nil {
				return err
			}
		}
		in.heal(func(ctx context.Context) error { return set(ctx, normal) })
		return set(ctx, value)
	}
}

// deletes drops, now and then, some of the keys of a kind, as eviction does: v are records, l leases, w watermarks.
func deletes(kind string) func(context.Context, *injection) error {
	pattern := "nc:{*}:" + kind
	if kind != "w" {
		pattern += ":*"
	}
	return func(_ context.Context, in *injection) error {
		in.repeat(func(ctx context.Context) {
			found, err := local.RedisDo(ctx, in.redis.Addr, "KEYS", pattern)
			if err != nil || found == "" {
				return
			}
			del := []string{"DEL"}
			for _, k := range strings.Split(found, "\n") {
				if in.rnd.IntN(8) == 0 {
					del = append(del, k)
				}
			}
			if len(del) > 1 {
				_ = in.do(ctx, del...)
			}
		})
		return nil
	}
}
