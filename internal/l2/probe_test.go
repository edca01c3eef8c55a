package l2_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

func probe(t *testing.T, o rueidis.ClientOption, trials int) *l2.Probe {
	t.Helper()
	store, err := l2.Open(l2.Config{Redis: o, Tracker: &ear{}})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	p, err := store.Probe(t.Context(), trials)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestProbe_SaysWhatRedisIs(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		p := probe(t, r.Option, 20)
		if p.Tried != 1 || p.Untried != 0 || p.Disorder != "" || p.Err != nil || len(p.Denied) != 0 {
			t.Errorf("got %+v, want one server, whose pushes come in order", p)
		}
		if len(p.Servers) != 1 || p.Servers[0].Name == "" || p.Servers[0].Version == "" ||
			p.Servers[0].Mode != "standalone" || p.Servers[0].Role != "master" {
			t.Errorf("got the servers %+v, want a standalone master with its name and version", p.Servers)
		}
	})
}

func TestProbe_OfACluster(t *testing.T) {
	b, nodes := newClusterBench(t, 3)
	p, err := b.Probe(t.Context(), 5)
	if err != nil || p.Tried != 3 || p.Untried != 0 || p.Disorder != "" || len(p.Servers) != 3 {
		t.Fatalf("got %+v and error %v, want three servers in order", p, err)
	}
	for _, s := range p.Servers {
		if s.Mode != "cluster" || s.Role != "master" {
			t.Errorf("got %+v, want a master of a Cluster", s)
		}
	}
	if p.Dials != b.Dials() {
		t.Errorf("the probe is of dial %d, and the last one was %d", p.Dials, b.Dials())
	}
	nodes[2].Kill()
	p, err = b.Probe(t.Context(), 5)
	if err != nil || p.Untried == 0 || p.Err == nil || p.Disorder != "" {
		t.Errorf("one server is down: got %+v and error %v, want that it was not tried", p, err)
	}
}

func TestOpen_RefusesANodeOfAClusterAsASingleServer(t *testing.T) {
	nodes := servicestest.StartCluster(t, 2)
	_, err := l2.Open(l2.Config{Tracker: &ear{},
		Redis: rueidis.ClientOption{InitAddress: []string{nodes[0].Addr}, ForceSingleClient: true}})
	if err == nil || !strings.Contains(err.Error(), "node of a Cluster") ||
		!strings.Contains(err.Error(), "cluster|slots") {
		t.Errorf("got %v, want that the server is a node of a Cluster", err)
	}
}

func TestOpen_RefusesServersThatAreNoCluster(t *testing.T) {
	a, b := nearcachetest.NewRedis(t), nearcachetest.NewRedis(t)
	_, err := l2.Open(l2.Config{Tracker: &ear{},
		Redis: rueidis.ClientOption{InitAddress: []string{a.Addr(), b.Addr()}}})
	if err == nil || !strings.Contains(err.Error(), "the server is none") {
		t.Errorf("got %v, want that the servers are no Cluster", err)
	}
}

// A replica is no misconfiguration for ever: it may be promoted.
func TestProbe_NamesAReplica(t *testing.T) {
	primary, replica := servicestest.StartRedis(t), servicestest.StartRedis(t)
	host, port, _ := strings.Cut(primary.Addr, ":")
	replica.Do("REPLICAOF", host, port)
	testkit.Eventually(t, "the replica follows", func() bool {
		return strings.Contains(replica.Do("INFO", "replication"), "master_link_status:up")
	})
	store, err := l2.Open(l2.Config{Tracker: &ear{}, Redis: rueidis.ClientOption{InitAddress: []string{replica.Addr}}})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	p, err := store.Probe(t.Context(), 5)
	if err != nil || len(p.Servers) != 1 || p.Servers[0].Role != "replica" || p.Untried != 1 || p.Tried != 0 {
		t.Errorf("got %+v and error %v, want a replica, which takes no writes to try", p, err)
	}
	if got := codes(store); !slices.Contains(got, "redis_read_only") {
		t.Errorf("faults are %v, want redis_read_only", got)
	}
	replica.Do("REPLICAOF", "NO", "ONE")
	if p, err := store.Probe(t.Context(), 5); err != nil || p.Tried != 1 || p.Servers[0].Role != "master" {
		t.Errorf("after its promotion: got %+v and error %v, want that the primary was tried", p, err)
	}
	if got := codes(store); len(got) != 0 {
		t.Errorf("after its promotion the faults are %v, want none", got)
	}
}

// A Redis whose EVAL has another name still knows EVALSHA, and every script that somebody else has loaded.
func TestOpen_RefusesARealRedisWithoutEVAL(t *testing.T) {
	for command, says := range map[string]string{"EVAL": "runs no scripts", "EVALSHA": "runs no scripts",
		"GETEX": "does not know GETEX", "CLIENT": "CLIENT TRACKING", "HELLO": "RESP3"} {
		offHelps := command == "GETEX" || command == "CLIENT" || command == "HELLO"
		t.Run(command, func(t *testing.T) {
			redis := servicestest.StartRedis(t, "--rename-command", command, "")
			store, err := l2.Open(l2.Config{Tracker: &ear{}, Redis: rueidis.ClientOption{InitAddress: []string{redis.Addr}}})
			if err == nil {
				store.Close()
				t.Fatalf("Open succeeded; faults %v", codes(store))
			}
			if !strings.Contains(err.Error(), says) {
				t.Errorf("got %v, want an error that says %q", err, says)
			}
			if off := strings.Contains(err.Error(), "TrackingOff"); off != offHelps {
				t.Errorf("got %v; it names TrackingOff: %v, want %v", err, off, offHelps)
			}
		})
	}
}

func TestProbe_FindsPushesThatComeLate(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		p := probe(t, testkit.Late(r.Option, &atomic.Bool{}), 5)
		if p.Tried != 1 || !strings.Contains(p.Disorder, "5 times of 5") {
			t.Errorf("got %+v, want that every push came late", p)
		}
	})
}

// The documents name these rights, and each one is needed: with all of them an instance starts and tries the order of
// push and reply, and without one of them it is refused by name.
func TestRights_EachIsNeededAndNamed(t *testing.T) {
	for name, u := range map[string]l2.Use{"with a relay": {}, "alone": {Alone: true}, "tracking off": {Untracked: true}} {
		t.Run(name, func(t *testing.T) {
			redis := servicestest.StartRedis(t)
			open := func(rights []string) (*l2.L2, error) {
				redis.Do(append([]string{"ACL", "SETUSER", "app", "reset", "on", ">pw", "~nc:*"}, rights...)...)
				redis.Do("SCRIPT", "FLUSH")
				cfg := l2.Config{Alone: u.Alone, Redis: rueidis.ClientOption{InitAddress: []string{redis.Addr}, Username: "app",
					Password: "pw", AlwaysRESP2: u.Untracked}}
				if !u.Untracked {
					cfg.Tracker = &ear{}
				}
				return l2.Open(cfg)
			}
			rights := strings.Fields(l2.Rights(u))
			store, err := open(rights)
			if err != nil {
				t.Fatalf("with every right: %v", err)
			}
			defer store.Close()
			p, err := store.Probe(t.Context(), 5)
			if err != nil || len(p.Denied) != 0 || len(store.Faults()) != 0 || !u.Untracked && p.Tried != 1 {
				t.Fatalf("with every right: got %+v, the faults %v and error %v", p, codes(store), err)
			}
			for i, right := range rights {
				if right == "+getrange" {
					continue // it saves work alone; see TestRights_WithoutGETRANGE
				}
				less, err := open(slices.Delete(slices.Clone(rights), i, i+1))
				if err == nil {
					less.Close()
					t.Errorf("without %s: it is not refused", right)
					continue
				}
				_, named, _ := strings.Cut(err.Error(), "not allowed: ")
				if !strings.HasPrefix(named, right[1:]) {
					t.Errorf("without %s: got %v, want an error that names it", right, err)
				}
				if off := strings.Contains(named, "TrackingOff"); off != (right == "+getex" || right == "+client|tracking") {
					t.Errorf("without %s: got %v; does TrackingOff help: %v", right, err, off)
				}
			}
		})
	}
}

// In a Cluster the client asks for the slots by one command or the other, by the server's version. Without the one that
// it needs it is refused; the probe names the other.
func TestRights_InACluster(t *testing.T) {
	nodes := servicestest.StartCluster(t, 2)
	for _, lacks := range strings.Fields(l2.ClusterRights) {
		rights := slices.DeleteFunc(leastRights(l2.Use{Cluster: true}), func(right string) bool { return right == lacks })
		for _, node := range nodes {
			node.Do(rights...)
		}
		o := rueidis.ClientOption{InitAddress: []string{nodes[0].Addr}, Username: "app", Password: "pw"}
		store, err := l2.Open(l2.Config{Tracker: &ear{}, Redis: o})
		if err != nil {
			if !errors.Is(err, coherence.ErrMisconfigured) || !strings.Contains(err.Error(), lacks) {
				t.Errorf("without %s: got %v, want an error that names it", lacks, err)
			}
			continue
		}
		store.Close()
		if got := l2.Denied(t.Context(), clientOf(t, nodes[0].Addr), store.Keyspace(), l2.Use{}); len(got) != 1 ||
			"+"+got[0] != lacks {
			t.Errorf("without %s: Open succeeds, and %v are denied", lacks, got)
		}
	}
}

// Without GETRANGE nothing fails, and each process that hears of a change runs the script. Denied names the right.
func TestRights_WithoutGETRANGE(t *testing.T) {
	redis := servicestest.StartRedis(t)
	scripts := func(rights ...string) int {
		redis.Do(append(leastRights(l2.Use{}), rights...)...)
		b := newBench(t, rueidis.ClientOption{InitAddress: []string{redis.Addr}, Username: "app", Password: "pw"}, redis.Do)
		b.store(7)
		redis.Do("CONFIG", "RESETSTAT")
		for range 3 {
			b.applyOnce(7)
		}
		p, err := b.Probe(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if denied := len(rights) > 0; denied != slices.Contains(l2.Denied(t.Context(), clientOf(t, redis.Addr),
			b.Keyspace(), l2.Use{}), "getrange") || len(p.Denied) != 0 {
			t.Errorf("denied: got %v", p.Denied)
		}
		calls := 0
		_, after, found := strings.Cut(redis.Do("INFO", "commandstats"), "cmdstat_evalsha:calls=")
		if found {
			_, _ = fmt.Sscanf(after, "%d", &calls)
		}
		return calls
	}
	with, without := scripts(), scripts("-getrange")
	if without < with+3 {
		t.Errorf("got %d scripts with the right and %d without, want one more for each change", with, without)
	}
}

// clientOf is a client of the user app.
func clientOf(t *testing.T, addr string) rueidis.Client {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, Username: "app", Password: "pw"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Redis does not name the command that a script may not call. A Redis 6.0 has no GETEX, which an instance without a
// relay calls by a script.
func TestOpen_RefusesARedisThatLacksACommandOfTheScripts(t *testing.T) {
	for command, says := range map[string]string{"GETEX": "does not know GETEX", "PEXPIRE": "PEXPIRE"} {
		t.Run(command, func(t *testing.T) {
			redis := servicestest.StartRedis(t, "--rename-command", command, "")
			store, err := l2.Open(l2.Config{Tracker: &ear{}, Alone: true,
				Redis: rueidis.ClientOption{InitAddress: []string{redis.Addr}}})
			if err == nil {
				store.Close()
				t.Fatalf("Open succeeded; faults %v", codes(store))
			}
			if !errors.Is(err, coherence.ErrMisconfigured) || !strings.Contains(err.Error(), says) {
				t.Errorf("got %v, want an error that says %q", err, says)
			}
		})
	}
}
