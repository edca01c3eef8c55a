//go:build unix

package chaos

import (
	"context"
	"strings"
	"syscall"
	"time"
)

// linkFaults are what can happen between a member of the fleet and a service.
func linkFaults() []fault {
	least, most := 400*time.Millisecond, 2500*time.Millisecond
	var out []fault
	for _, s := range services {
		out = append(out,
			fault{"link: an instance and " + string(s) + ", blackhole", func(_ context.Context, in *injection) error {
				return in.addToxics(in.anInstance(), s, blackhole, in.streams())
			}, least, most},
			fault{"link: a relay and " + string(s) + ", blackhole", func(ctx context.Context, in *injection) error {
				return in.addToxics(in.leader(ctx), s, blackhole, in.streams())
			}, least, most},
			fault{"link: an instance and " + string(s) + ", refused", func(_ context.Context, in *injection) error {
				l := in.links.of(in.anInstance(), s)
				in.heal(func(context.Context) error { return l.restore() })
				l.cut()
				return nil
			}, least, most})
	}
	late := func(stream string) toxic { return latency(stream, 150, 100) }
	return append(out,
		fault{"link: an instance, all slow", func(_ context.Context, in *injection) error { return in.addToxicsEverywhere(in.anInstance(), late) }, least, most},
		fault{slow, func(_ context.Context, in *injection) error {
			for _, m := range in.instances() {
				if err := in.addToxicsEverywhere(m, late); err != nil {
					return err
				}
			}
			return nil
		}, time.Second, most},
		fault{"link: an instance, all dribble", func(_ context.Context, in *injection) error {
			return in.addToxicsEverywhere(in.anInstance(), func(stream string) toxic { return dribble(stream, 20) })
		}, least, most},
		fault{"link: a relay, all slow", func(ctx context.Context, in *injection) error { return in.addToxicsEverywhere(in.leader(ctx), late) }, least, most},
		fault{"link: an instance, isolated", func(_ context.Context, in *injection) error {
			return in.addToxicsEverywhere(in.anInstance(), blackhole)
		}, least, most},
		fault{"link: all resets", func(_ context.Context, in *injection) error {
			in.repeat(func(context.Context) {
				for _, m := range in.members() {
					for _, s := range services {
						if in.rnd.IntN(6) == 0 {
							_ = in.links.of(m, s).reset()
						}
					}
				}
			})
			return nil
		}, least, most},
		// What a probe proves is the age of its question; while it is under way the answer gets old.
		fault{"link: postgres slow, then the leader stops", func(ctx context.Context, in *injection) error {
			leader := in.member(in.leader(ctx))
			in.heal(func(context.Context) error { return leader.signal(syscall.SIGCONT) })
			for _, m := range in.instances() {
				if err := in.addToxics(m, postgresService, late, []string{"upstream", "downstream"}); err != nil {
					return err
				}
			}
			pause(ctx, time.Second)
			return leader.signal(syscall.SIGSTOP)
		}, 500 * time.Millisecond, 1500 * time.Millisecond},
		lost("link: no instance has redis", redisService),
		lost("link: no instance has redis or kafka", redisService, kafkaService),
	)
}

// lost is a fault in which no instance hears from services.
func lost(name string, from ...service) fault {
	return fault{name, func(_ context.Context, in *injection) error {
		for _, m := range in.instances() {
			for _, s := range from {
				if err := in.addToxics(m, s, blackhole, []string{"downstream"}); err != nil {
					return err
				}
			}
		}
		return nil
	}, 400 * time.Millisecond, 2500 * time.Millisecond}
}

// streams are one direction or both: a link can lose its questions, its answers, or both.
func (in *injection) streams() []string {
	return [][]string{{"upstream"}, {"downstream"}, {"upstream", "downstream"}}[in.rnd.IntN(3)]
}

// poison puts toxics on a link until the injection is healed.
func (in *injection) addToxics(member string, s service, t func(stream string) toxic, streams []string) error {
	l := in.links.of(member, s)
	in.heal(func(context.Context) error { return l.cure() })
	for _, stream := range streams {
		if l.has(t(stream)) { // of another fault at the same time
			continue
		}
		if err := l.add(t(stream)); err != nil {
			return err
		}
	}
	return nil
}

func (in *injection) addToxicsEverywhere(member string, t func(stream string) toxic) error {
	for _, s := range services {
		if err := in.addToxics(member, s, t, strings.Fields("upstream downstream")); err != nil {
			return err
		}
	}
	return nil
}
