//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/local"
)

// nodesPatience is for how long recovery may take once a node is back: Sentinels and nodes have time-outs of their own.
const nodesPatience = 25 * time.Second

// moveTimeout is for how long a slot may be on its way.
const moveTimeout = 10 * time.Second

// nodeFaults are what can happen to a Redis of several nodes. Those of the slots need a Cluster.
func nodeFaults(kind string) []fault {
	down, long := 3*nodeDown, 5*nodeDown
	out := []fault{
		{"nodes: a primary, kill -9", func(ctx context.Context, in *injection) error {
			s, err := in.aPrimary(ctx)
			if err != nil {
				return err
			}
			s.Kill()
			in.settle(func(ctx context.Context) error { return s.Restart(ctx) })
			return nil
		}, down, long},
		{"nodes: a primary stopped", func(ctx context.Context, in *injection) error {
			s, err := in.aPrimary(ctx)
			if err != nil {
				return err
			}
			in.settle(func(context.Context) error { return s.Resume() })
			return s.Pause()
		}, down, long},
		{"nodes: a replica, kill -9", func(ctx context.Context, in *injection) error {
			s, err := in.aReplica(ctx)
			if err != nil {
				return err
			}
			s.Kill()
			in.settle(func(ctx context.Context) error { return s.Restart(ctx) })
			return nil
		}, nodeDown, down},
		{"nodes: a manual fail-over", func(ctx context.Context, in *injection) error {
			in.settle(nil)
			if in.nodes.cluster {
				s, err := in.aReplica(ctx)
				if err != nil {
					return err
				}
				_, err = local.RedisDo(ctx, s.Addr, "CLUSTER", "FAILOVER")
				return err
			}
			s := in.nodes.sentinels[in.rnd.IntN(len(in.nodes.sentinels))]
			_, err := local.RedisDo(ctx, s.Addr, "SENTINEL", "FAILOVER", masterName)
			return err
		}, nodeDown, down},
		{"nodes: an instance cut off from a primary", func(ctx context.Context, in *injection) error {
			s, err := in.aPrimary(ctx)
			if err != nil {
				return err
			}
			l := in.links.of(in.anInstance(), nodeService(s.Addr))
			in.heal(func(context.Context) error { return l.cure() })
			return errors.Join(l.add(blackhole("upstream")), l.add(blackhole("downstream")))
		}, nodeDown, down},
		{"nodes: FLUSHALL of a primary", func(ctx context.Context, in *injection) error {
			s, err := in.aPrimary(ctx)
			if err != nil {
				return err
			}
			_, err = local.RedisDo(ctx, s.Addr, "FLUSHALL")
			return err
		}, 200 * time.Millisecond, 500 * time.Millisecond},
	}
	if kind == redisCluster {
		out = append(out, fault{"nodes: slots move", func(_ context.Context, in *injection) error {
			in.settle(nil)
			in.repeat(func(ctx context.Context) {
				// A move that has begun is completed: a slot that stays open would be a fault of its own, without an end.
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), moveTimeout)
				defer cancel()
				_ = in.moveSlot(ctx)
			})
			return nil
		}, nodeDown, down})
	}
	return out
}

// settle heals, and then waits until the nodes have agreed.
func (in *injection) settle(heal func(context.Context) error) {
	in.patience = nodesPatience
	in.heal(func(ctx context.Context) error {
		if heal != nil {
			if err := heal(ctx); err != nil {
				return err
			}
		}
		return in.nodes.settled(ctx)
	})
}

func (in *injection) aPrimary(ctx context.Context) (*local.Server, error) {
	return in.aNode(ctx, "role:master")
}

func (in *injection) aReplica(ctx context.Context) (*local.Server, error) {
	return in.aNode(ctx, "role:slave")
}

// aNode is any node that says of itself that it has a role.
func (in *injection) aNode(ctx context.Context, role string) (*local.Server, error) {
	var all []*local.Server
	for _, s := range in.nodes.all {
		if contains(in.nodes.info(ctx, s), role) {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("chaos: no node of Redis has " + role)
	}
	return all[in.rnd.IntN(len(all))], nil
}

// moveSlot moves the slot of a bucket, key by key, to another primary.
func (in *injection) moveSlot(ctx context.Context) error {
	primaries := in.nodes.primaries(ctx)
	if len(primaries) < 2 {
		return errors.New("chaos: fewer than two primaries")
	}
	keys := l2.NewKeyspace("")
	mark := keys.Watermark(in.rnd.IntN(keys.Buckets()))
	slot, err := local.RedisDo(ctx, primaries[0].Addr, "CLUSTER", "KEYSLOT", mark)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(slot)
	if err != nil {
		return fmt.Errorf("chaos: slot %q: %w", slot, err)
	}
	ids := make([]string, len(primaries))
	from := -1
	for i, s := range primaries {
		if ids[i], err = local.RedisDo(ctx, s.Addr, "CLUSTER", "MYID"); err != nil {
			return err
		}
		if in.nodes.serves(ctx, s, n) {
			from = i
		}
	}
	if from < 0 {
		return fmt.Errorf("chaos: no primary has slot %d", n)
	}
	to := (from + 1 + in.rnd.IntN(len(primaries)-1)) % len(primaries)
	source, target := primaries[from].Addr, primaries[to].Addr
	if _, err := local.RedisDo(ctx, target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[from]); err != nil {
		return err
	}
	if _, err := local.RedisDo(ctx, source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to]); err != nil {
		return err
	}
	host, port := split(target)
	for {
		keys, err := local.RedisDo(ctx, source, "CLUSTER", "GETKEYSINSLOT", slot, "10")
		if err != nil {
			return err
		}
		if keys == "" {
			break
		}
		args := append([]string{"MIGRATE", host, port, "", "0", "1000", "KEYS"}, strings.Split(keys, "\n")...)
		if _, err := local.RedisDo(ctx, source, args...); err != nil {
			return err
		}
	}
	for _, addr := range []string{target, source} {
		if _, err := local.RedisDo(ctx, addr, "CLUSTER", "SETSLOT", slot, "NODE", ids[to]); err != nil {
			return err
		}
	}
	return nil
}

// serves reports whether a node has a slot, by its own idea.
func (n *nodes) serves(ctx context.Context, s *local.Server, slot int) bool {
	text, err := local.RedisDo(ctx, s.Addr, "CLUSTER", "NODES")
	if err != nil {
		return false
	}
	for line := range strings.SplitSeq(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 9 || !strings.Contains(f[2], "myself") {
			continue
		}
		for _, r := range f[8:] {
			first, last, ranged := strings.Cut(r, "-")
			a, err := strconv.Atoi(first)
			z := a
			if ranged {
				z, _ = strconv.Atoi(last)
			}
			if err == nil && slot >= a && slot <= z {
				return true
			}
		}
	}
	return false
}
