package servicestest

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/internal/services/local"
)

// Replicated is a Redis primary with a replica, and a Sentinel that watches them under SentinelName. It belongs to one
// test.
type Replicated struct {
	Primary, Replica *RedisProcess
	Sentinel         string // host:port

	t testing.TB
}

// SentinelName is the name of the primary.
const SentinelName = "primary"

// StartReplicated starts all three, and returns once the replica follows and the Sentinel knows it. The primary is
// taken for down after half a second.
func StartReplicated(t testing.TB) *Replicated {
	t.Helper()
	r := &Replicated{Primary: StartRedis(t), t: t}
	host, port, err := net.SplitHostPort(r.Primary.Addr)
	if err != nil {
		t.Fatal(err)
	}
	r.Replica = StartRedis(t, "--replicaof", host, port) // Redis 6 does not split one argument
	s, err := local.StartSentinel(context.Background(), t.TempDir(), local.Launch{}, SentinelName, r.Primary.Addr, 1,
		500*time.Millisecond)
	r.Sentinel = adopt(t, "Redis Sentinel", "NEARCACHE_TEST_REDIS", s, err).s.Addr
	r.until("the replica follows", func() bool {
		return strings.Contains(r.Replica.Do("INFO", "replication"), "master_link_status:up")
	})
	r.until("the Sentinel knows the replica", func() bool {
		_, port, _ := net.SplitHostPort(r.Replica.Addr)
		return strings.Contains(RedisDo(t, r.Sentinel, "SENTINEL", "REPLICAS", SentinelName), port)
	})
	return r
}

// Cut has the replica lag from now on: its link is gone, and the primary lets it in no more.
func (r *Replicated) Cut() {
	r.t.Helper()
	r.Replica.Do("CONFIG", "SET", "masteruser", "nobody")
	r.Replica.Do("CONFIG", "SET", "masterauth", "wrong")
	r.Primary.Do("CLIENT", "KILL", "TYPE", "replica")
	r.until("the replica lags", func() bool {
		return strings.Contains(r.Replica.Do("INFO", "replication"), "master_link_status:down")
	})
}

// Promoted waits until the replica is the primary.
func (r *Replicated) Promoted() {
	r.t.Helper()
	r.until("the replica is promoted", func() bool {
		return hasRole(r.Replica, "master")
	})
}

// Swapped reports whether the replica is the primary, and the old primary is its replica.
func (r *Replicated) Swapped() bool {
	return hasRole(r.Replica, "master") && hasRole(r.Primary, "slave")
}

// hasRole reports whether a server says that it has a role. The Sentinel ends all connections to a server whose role it
// changes, this one too: then there is no answer.
func hasRole(p *RedisProcess, role string) bool {
	info, err := local.RedisDo(context.Background(), p.Addr, "INFO", "replication")
	return err == nil && strings.Contains(info, "role:"+role)
}

func (r *Replicated) until(what string, done func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			r.t.Fatalf("servicestest: not within a minute: %s", what)
		}
		<-time.After(20 * time.Millisecond)
	}
}
