//go:build unix

package chaos

import (
	"context"
	"strings"
	"syscall"
	"time"
)

// slowly delays a stream by 50 to 250 ms.
func slowly(stream string) toxic { return latency(stream, 150, 100) }

// linkFaults are what can happen between a member of the fleet and a service.
func linkFaults(channel service) []fault {
	least, most := 400*time.Millisecond, 2500*time.Millisecond
	// all is a fault of all links of one member.
	all := func(name string, member func(context.Context, *injection) string, t func(string) toxic) fault {
		return fault{name, func(ctx context.Context, in *injection) error {
			return in.addToxicsEverywhere(member(ctx, in), t)
		}, least, most}
	}
	anInstance := func(_ context.Context, in *injection) string { return in.anInstance() }
	aRelay := func(ctx context.Context, in *injection) string { return in.leader(ctx) }
	var out []fault
	for _, s := range []service{redisService, channel, postgresService} {
		out = append(out, serviceLinkFaults(s, least, most)...)
	}
	return append(out,
		all("link: an instance, all slow", anInstance, slowly),
		fault{slow, slowEverywhere, time.Second, most},
		fault{"link: an instance, all dribble", dribbles, least, most},
		all("link: a relay, all slow", aRelay, slowly),
		all("link: an instance, isolated", anInstance, blackhole),
		fault{"link: all resets", resets, least, most},
		fault{late, slowThenStopped, 500 * time.Millisecond, 1500 * time.Millisecond},
		lost("link: no instance has redis", redisService),
		lost("link: no instance has redis or "+string(channel), redisService, channel),
	)
}

// serviceLinkFaults are those of a link to one service.
func serviceLinkFaults(s service, least, most time.Duration) []fault {
	return []fault{
		{"link: an instance and " + string(s) + ", blackhole", func(_ context.Context, in *injection) error {
			return in.addToxics(in.anInstance(), s, blackhole, in.streams())
		}, least, most},
		{"link: a relay and " + string(s) + ", blackhole", func(ctx context.Context, in *injection) error {
			return in.addToxics(in.leader(ctx), s, blackhole, in.streams())
		}, least, most},
		{"link: an instance and " + string(s) + ", refused", func(_ context.Context, in *injection) error {
			l := in.links.of(in.anInstance(), s)
			in.heal(func(context.Context) error { return l.restore() })
			l.cut()
			return nil
		}, least, most},
	}
}

// slowEverywhere delays all links of all instances.
func slowEverywhere(_ context.Context, in *injection) error {
	for _, m := range in.instances() {
		if err := in.addToxicsEverywhere(m, slowly); err != nil {
			return err
		}
	}
	return nil
}

// dribbles limits the bandwidth of each connection of an instance.
func dribbles(_ context.Context, in *injection) error {
	in.congested = true
	return in.addToxicsEverywhere(in.anInstance(), func(stream string) toxic { return dribble(stream, 20) })
}

// resets closes the connections of random links again and again.
func resets(_ context.Context, in *injection) error {
	in.repeat(func(context.Context) {
		for _, m := range in.members() {
			for _, s := range in.services() {
				if in.rnd.IntN(6) == 0 {
					_ = in.links.of(m, s).reset()
				}
			}
		}
	})
	return nil
}

// slowThenStopped delays the instances' questions to Postgres, and then stops the leading relay. The position that an
// answer brings was read when the question began, so it is old when it arrives.
func slowThenStopped(ctx context.Context, in *injection) error {
	leader := in.member(in.leader(ctx))
	in.heal(func(context.Context) error { return leader.signal(syscall.SIGCONT) })
	for _, m := range in.instances() {
		if err := in.addToxics(m, postgresService, slowly, []string{"upstream", "downstream"}); err != nil {
			return err
		}
	}
	pause(ctx, time.Second)
	return leader.signal(syscall.SIGSTOP)
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
	for _, s := range in.services() {
		if err := in.addToxics(member, s, t, strings.Fields("upstream downstream")); err != nil {
			return err
		}
	}
	return nil
}
