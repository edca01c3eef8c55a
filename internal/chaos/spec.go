//go:build unix

package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/tier"
)

// roleVariable is the environment variable that gives a child process its spec, in JSON.
const roleVariable = "NEARCACHE_CHAOS_ROLE"

// spec configures a process of the fleet.
type spec struct {
	Role     string // instance, relay, worker, writer or nats
	Process  uint16
	Instance uint16
	Log      string // its history; "": none
	Seed     uint64

	Redis   string // addresses of its proxies
	To      redisTo
	Kafka   string
	Source  string   // postgres or mariadb
	Address string   // of the source, by its proxy
	Brokers []string // what Kafka advertises
	Topic   string
	Group   string
	NATS    string // carries the events instead of Kafka. Of the server itself: where it listens
	Dir     string // of the server's data

	Keys    int
	Readers int
	Rate    float64 // reads a second
	Writes  float64 // writes a second
	Bound   time.Duration
	Default bool          // the bound is the cache's own, so that a plain Get has it
	Hold    time.Duration // how long a writer keeps transactions open at most
	Without string        // a rule to take out

	Tracking string // on or off
	Relayed  bool   // the instances have no Source
}

// status is what a process says of itself, a line of JSON each time.
type status struct {
	At    int64 // by the history's clock
	Ready bool
	// Proved is the time up to which the bound is proved; 0: nothing is.
	Proved int64
	// Settled is the time up to which each channel proves it: an entry may have only one that vouches for it.
	Settled int64
	// Bounded is when a bounded read was last served from L1.
	Bounded int64
	// Reads is how many there were so far.
	Reads int64
	// Done counts the commands that were carried out.
	Done int
	// Audited is how many reads the auditor has compared with the source, and Differs what it has found.
	Audited uint64
	Differs []string
}

// IsChild reports whether this program was started as a part of a fleet.
func IsChild() bool { return os.Getenv(roleVariable) != "" }

// Child runs the role that this process was started for, and returns its exit code.
func Child() int {
	var s spec
	if err := json.Unmarshal([]byte(os.Getenv(roleVariable)), &s); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 2
	}
	if err := ablate.Take(ablate.Rule(s.Without)); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 2
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	// The controller's end is the end of standard input.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := &child{spec: s, log: log, commands: make(chan string, 16)}
	go func() {
		defer cancel()
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			c.commands <- in.Text()
		}
	}()
	roles := map[string]func(context.Context) error{"instance": c.instance, "relay": c.relay, "worker": c.worker,
		"writer": c.writer, natsEvents: c.nats}
	role, ok := roles[s.Role]
	if !ok {
		fmt.Fprintf(os.Stderr, "chaos: no role %q\n", s.Role)
		return 2
	}
	if err := role(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintf(os.Stderr, "chaos: %s: %v\n", s.Role, err)
		return 1
	}
	return 0
}

// child is a process of the fleet.
type child struct {
	spec
	log      *slog.Logger
	commands chan string

	mu   sync.Mutex // guards standard output
	done int        // commands carried out; only the role's main loop counts
}

// report prints a status.
func (c *child) report(st status) {
	b, err := json.Marshal(st)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = os.Stdout.Write(append(b, '\n'))
}

func (c *child) redis() rueidis.ClientOption {
	return c.To.apply(rueidis.ClientOption{InitAddress: []string{c.Redis}, ConnWriteTimeout: time.Second,
		Dialer: net.Dialer{Timeout: time.Second, KeepAlive: 500 * time.Millisecond}})
}

// l2 is Redis for a process that only writes to it.
func (c *child) l2() (*tier.L2, error) {
	return tier.Open(tier.Config{Redis: c.redis(), Logger: c.log})
}
