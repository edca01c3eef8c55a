package nearcache_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/tier"
)

// shares are how many of the reads each tier has served, in parts of 1.
type shares [int(nearcache.TierSource) + 1]float64

// oneOfThree is an instance on a Cluster of three nodes, of which one will be gone.
type oneOfThree struct {
	*nearcache.Cache[string, string]
	client *nearcache.Client
	nodes  []*servicestest.RedisProcess
	log    *logLines
	write  func(key string)
	others []string // keys of the nodes that stay
	its    []string // keys of the node that goes
}

// logLines counts lines.
type logLines struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(p)
}

func (l *logLines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.FieldsFunc(l.lines.String(), func(r rune) bool { return r == '\n' })
}

// nodeGoneFor is how long a node is gone: NEARCACHE_NODE_GONE, or 2 seconds.
func nodeGoneFor(t *testing.T) time.Duration {
	t.Helper()
	d := 2 * time.Second
	if s := os.Getenv("NEARCACHE_NODE_GONE"); s != "" {
		var err error
		if d, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// read reads the keys of the other nodes, and changes some, for so long.
func (o *oneOfThree) read(t *testing.T, d time.Duration) (s shares) {
	t.Helper()
	var served [len(s)]int
	all := 0
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for end, n := time.Now().Add(d), 0; time.Now().Before(end); n++ {
		<-pace.C
		if n%20 == 0 {
			o.write(o.others[n/20%len(o.others)])
		}
		for i := range 5 {
			served[get(t, o.Cache, o.others[(5*n+i)%len(o.others)]).Tier]++
			all++
		}
	}
	for i := range served {
		s[i] = float64(served[i]) / float64(all)
	}
	return s
}

// differ compares what L1 and L2 have served.
func (s shares) differ(by float64, from shares) bool {
	for _, tier := range []nearcache.Tier{nearcache.TierL1, nearcache.TierL2} {
		if d := s[tier] - from[tier]; d > by || -d > by {
			return true
		}
	}
	return false
}

func newOneOfThree(t *testing.T, sourced bool, victim int) *oneOfThree {
	t.Helper()
	o := &oneOfThree{log: &logLines{}}
	o.nodes = servicestest.StartCluster(t, 3, "--cluster-require-full-coverage", "no", "--cluster-node-timeout", "60000")
	src := &counting{commits: &commits{source: newSource()}}
	cfg := nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{o.nodes[0].Addr, o.nodes[1].Addr,
		o.nodes[2].Addr}}, Logger: slog.New(slog.NewTextHandler(o.log, nil))}
	opt := nearcache.Options[string, string]{Load: src.load}
	if sourced {
		cfg.Source, opt.MaxStaleness = src, 2*time.Second
	}
	o.client = newClient(t, cfg)
	o.Cache = newCache(t, o.client, opt)
	if sourced {
		store, err := tier.Open(tier.Config{Redis: cfg.Redis})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
		t.Cleanup((&relayed{src: src, Cache: o.Cache, interval: 100 * time.Millisecond}).relays(t.Context(), store))
	}
	if err := o.client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	values := 0
	o.write = func(key string) {
		values++
		v := src.write(key, fmt.Sprint(values))
		if !sourced {
			if err := o.Invalidate(t.Context(), key, v); err != nil {
				t.Errorf("a write of a key of another node: %v", err)
			}
		}
	}
	engine := l2.FromHandle(o.client.L2().Handle())
	for i := range 300 {
		key := fmt.Sprint(i)
		src.write(key, "first")
		resident(t, o.Cache, key)
		if engine.Node(engine.Keyspace().Key("t", key).Bucket).Addr() == o.nodes[victim].Addr {
			o.its = append(o.its, key)
		} else {
			o.others = append(o.others, key)
		}
	}
	return o
}

// TestCluster_ANodeThatIsGoneCostsOnlyItsKeys: one of three nodes is killed, or stopped so that it takes connections
// and does not answer. What L1 and L2 serve of the others' keys stays as it was, to within two points; and the log
// names the node, and is short. The node with bucket 0 has the rounds of the relay that are begun.
func TestCluster_ANodeThatIsGoneCostsOnlyItsKeys(t *testing.T) {
	for _, c := range []struct {
		name    string
		sourced bool
		victim  int
		gone    func(*servicestest.RedisProcess)
		back    func(*servicestest.RedisProcess)
	}{
		{"killed, Redis alone", false, 1, (*servicestest.RedisProcess).Kill, (*servicestest.RedisProcess).Restart},
		{"stopped, Redis alone", false, 1, (*servicestest.RedisProcess).Pause, (*servicestest.RedisProcess).Resume},
		{"killed, the node of the rounds", true, 2, (*servicestest.RedisProcess).Kill, (*servicestest.RedisProcess).Restart},
		{"stopped, with a relay", true, 1, (*servicestest.RedisProcess).Pause, (*servicestest.RedisProcess).Resume},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := newOneOfThree(t, c.sourced, c.victim)
			d := nodeGoneFor(t)
			before := o.read(t, d/2)
			lines := len(o.log.all())
			c.gone(o.nodes[c.victim])
			during := o.read(t, d)
			if os.Getenv("NEARCACHE_NODE_GONE") == "" { // a machine with other work may stop the instance itself
				for try := 0; try < 3 && during.differ(0.02, before); try++ {
					during = o.read(t, d)
				}
			}
			t.Logf("L1, L2 and the source served %.3f before, and %.3f while a node was gone", before, during)
			if during.differ(0.02, before) {
				t.Errorf("the shares of the tiers went from %.3f to %.3f, want at most 2 points", before, during)
			}
			if r := get(t, o.Cache, o.its[0]); r.Tier == nearcache.TierL2 {
				t.Errorf("a key of the node that is gone is served by %v", r.Tier)
			}
			testkit.Eventually(t, "the log names the node", func() bool {
				return strings.Contains(strings.Join(o.log.all()[lines:], "\n"), o.nodes[c.victim].Addr)
			})
			said := o.log.all()[lines:]
			if len(said) > 6 {
				t.Errorf("got %d log lines, want one for each state:\n%s", len(said), strings.Join(said, "\n"))
			}
			c.back(o.nodes[c.victim])
			for _, key := range o.its[:3] {
				testkit.Eventually(t, "a key of the node is in L1 again", func() bool {
					return get(t, o.Cache, key).Tier == nearcache.TierL1
				})
			}
		})
	}
}
