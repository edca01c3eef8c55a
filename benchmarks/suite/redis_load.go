package suite

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// pipeline is how many commands the suite sends in one pipeline.
const pipeline = 500

// store writes n values to Redis, with a TTL of an hour.
func (e *Env) store(ctx context.Context, n int, one func(i int) (at, value string)) error {
	return each(ctx, 4, n/pipeline+1, func(b int) error {
		cmds := make([]rueidis.Completed, 0, pipeline)
		for i := b * pipeline; i < min(n, (b+1)*pipeline); i++ {
			at, v := one(i)
			cmds = append(cmds, e.foreign.B().Set().Key(at).Value(v).Px(time.Hour).Build())
		}
		return e.send(ctx, cmds)
	})
}

// send sends one pipeline and returns the first error.
func (e *Env) send(ctx context.Context, cmds []rueidis.Completed) error {
	for _, res := range e.foreign.DoMulti(ctx, cmds...) {
		if err := res.Error(); err != nil {
			return err
		}
	}
	return nil
}

// redisStats are totals of a Redis server since its start, or rates. in and out are bytes.
type redisStats struct{ commands, gets, in, out float64 }

func (e *Env) redisStats(ctx context.Context) (s redisStats) {
	info, _ := e.foreign.Do(ctx, e.foreign.B().Info().Section("stats", "commandstats").Build()).ToString()
	for _, line := range strings.Split(info, "\r\n") {
		name, v, _ := strings.Cut(line, ":")
		f, _ := strconv.ParseFloat(v, 64)
		switch name {
		case "total_commands_processed":
			s.commands = f
		case "total_net_input_bytes":
			s.in = f
		case "total_net_output_bytes":
			s.out = f
		case "cmdstat_get":
			calls, _, _ := strings.Cut(strings.TrimPrefix(v, "calls="), ",")
			s.gets, _ = strconv.ParseFloat(calls, 64)
		}
	}
	return s
}

// killQuarterOfClients kills every fourth connection, and not its own.
func (e *Env) killQuarterOfClients(ctx context.Context) {
	list, err := e.foreign.Do(ctx, e.foreign.B().Arbitrary("CLIENT", "LIST").Build()).ToString()
	if err != nil {
		return
	}
	n := 0
	for _, line := range strings.Split(list, "\n") {
		id, rest, ok := strings.Cut(strings.TrimPrefix(line, "id="), " ")
		if !ok || strings.Contains(rest, "cmd=client") {
			continue
		}
		if n++; n%4 == 0 {
			e.foreign.Do(ctx, e.foreign.B().Arbitrary("CLIENT", "KILL", "ID", id).Build())
		}
	}
}
