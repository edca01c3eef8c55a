// Command partitions measures what the partitions of a topic cost: an instance and a relay, each a process of its own,
// with few partitions and with many, in turns. It needs the addresses of real services, as `make services-env` prints
// them.
//
// It measures three states:
//
//	idle           the relay carries to Redis and Kafka, and nothing changes
//	without Redis  neither reaches Redis, so Kafka proves all, with a barrier every 100 ms; nothing changes
//	writes         as in the second state, with rows written one at a time
//
// The delay of an event is from the moment before its row is written until the instance decodes it. The bound is how
// old an entry can be that the events vouch for, every 10 ms: the smallest MaxStaleness that a read could ask for.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/benchmarks/database"
	nearkafka "github.com/nearcache/nearcache-go/coherence/kafka"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "worker" {
		exit(worker(context.Background(), os.Args[2], os.Stdin, os.Stdout))
	}
	b := bench{name: fmt.Sprintf("partitions%d", os.Getpid())}
	sizes := flag.String("partitions", "4,100", "partitions of the topics, separated by commas")
	flag.IntVar(&b.rounds, "rounds", 3, "rounds; each begins with another number of partitions")
	flag.DurationVar(&b.window, "for", 10*time.Second, "how long each measurement takes")
	flag.Float64Var(&b.rate, "rate", 50, "rows a second, in the state with writes")
	flag.Parse()
	for s := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil || n < 1 {
			exit(fmt.Errorf("-partitions: %q is no number of partitions", s))
		}
		b.sizes = append(b.sizes, n)
	}
	exit(b.run(context.Background()))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "partitions:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type bench struct {
	name   string
	sizes  []int
	rounds int
	window time.Duration
	rate   float64
}

// states are measured one after the other.
var states = []struct {
	name            string
	toRedis, writes bool
}{{"idle", true, false}, {"without Redis", false, false}, {"writes", false, true}}

func (b *bench) run(ctx context.Context) error {
	all := map[string]map[int]*point{}
	for _, s := range states {
		all[s.name] = map[int]*point{}
	}
	for round := range b.rounds {
		for i := range b.sizes {
			n := b.sizes[(i+round)%len(b.sizes)]
			if err := b.measure(ctx, round, n, all); err != nil {
				return fmt.Errorf("%d partitions: %w", n, err)
			}
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, s := range states {
		fmt.Fprintf(w, "%s\t", s.name)
		for _, n := range b.sizes {
			fmt.Fprintf(w, "%d\t", n)
		}
		fmt.Fprintln(w, "ratio")
		for i, f := range figures {
			first := all[s.name][b.sizes[0]].figure(i)
			last := all[s.name][b.sizes[len(b.sizes)-1]].figure(i)
			if first == 0 && last == 0 {
				continue
			}
			fmt.Fprintf(w, "  %s\t", f.name)
			for _, n := range b.sizes {
				fmt.Fprintf(w, "%.1f\t", all[s.name][n].figure(i))
			}
			fmt.Fprintf(w, "%.2f\n", last/first)
		}
	}
	return w.Flush()
}

// measure measures all states with one number of partitions.
func (b *bench) measure(ctx context.Context, round, partitions int, all map[string]map[int]*point) error {
	address, drop, err := database.Create(ctx, os.Getenv("DATABASE_URL"), b.name)
	if err != nil {
		return err
	}
	defer drop()
	for _, state := range states {
		name := fmt.Sprintf("%s-%d-%d-%t-%t", b.name, round, partitions, state.toRedis, state.writes)
		s := settings{Redis: os.Getenv("REDIS_URL"), Postgres: address, Topic: name, Prefix: name, Partitions: partitions,
			Brokers: strings.Split(os.Getenv("KAFKA_BOOTSTRAP_SERVERS"), ","), ToRedis: state.toRedis}
		p, err := b.once(ctx, s, state.writes)
		if err != nil {
			return fmt.Errorf("%s: %w", state.name, err)
		}
		if all[state.name][partitions] == nil {
			all[state.name][partitions] = &point{}
		}
		all[state.name][partitions].add(p)
	}
	return nil
}

// settle is how long a fleet runs before it is measured.
const settle = 3 * time.Second

// once measures once.
func (b *bench) once(ctx context.Context, s settings, writes bool) (_ []float64, err error) {
	relay, err := start(ctx, "relay", s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, relay.close(), remove(s)) }()
	instance, err := start(ctx, "instance", s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, instance.close()) }()
	time.Sleep(settle)
	var before, after [2]counts
	for i, p := range []*process{instance, relay} {
		if before[i], err = p.counts(); err != nil {
			return nil, err
		}
	}
	broker := brokerProcessor(s.Brokers[0])
	begun := time.Now()
	if writes {
		if err := b.write(ctx, s.Postgres); err != nil {
			return nil, err
		}
	}
	time.Sleep(time.Until(begun.Add(b.window)))
	took := time.Since(begun).Seconds()
	broker = brokerProcessor(s.Brokers[0]) - broker
	for i, p := range []*process{instance, relay} {
		if after[i], err = p.counts(); err != nil {
			return nil, err
		}
	}
	var out []float64
	for _, f := range figures {
		out = append(out, f.of(window{before[0], after[0], before[1], after[1], broker, took}))
	}
	return out, nil
}

// remove deletes the topics, which would cost the next measurement something.
func remove(s settings) error {
	client := &kafka.Client{Addr: kafka.TCP(s.Brokers...)}
	_, err := client.DeleteTopics(context.Background(), &kafka.DeleteTopicsRequest{
		Topics: []string{s.Topic, nearkafka.BarrierTopic(s.Topic)}})
	return err
}

// write writes rows for the time of a measurement.
func (b *bench) write(ctx context.Context, address string) error {
	c, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	begun := time.Now()
	for n := 0; time.Since(begun) < b.window; n++ {
		time.Sleep(time.Until(begun.Add(time.Duration(float64(n) / b.rate * float64(time.Second)))))
		if _, err := c.Exec(ctx, "insert into "+table+" values ($1)", fmt.Sprint(marker, time.Now().UnixNano())); err != nil {
			return err
		}
	}
	return nil
}

// process is an instance or a relay.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func start(ctx context.Context, role string, s settings) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, self, "worker", role)}
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if err := json.NewEncoder(p.in).Encode(s); err != nil {
		return nil, errors.Join(err, p.close())
	}
	if _, err := p.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("the %s does not start: %w", role, err), p.close())
	}
	return p, nil
}

func (p *process) counts() (counts, error) {
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		return counts{}, err
	}
	return p.read()
}

func (p *process) read() (c counts, err error) {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(line, &c)
}

func (p *process) close() error {
	_ = p.in.Close()
	return p.cmd.Wait()
}
