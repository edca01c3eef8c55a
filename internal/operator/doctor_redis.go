package operator

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// redis looks at Redis. An error is one of the command line.
func (c *checkup) redis(ctx context.Context) error {
	opt, err := c.redisOption()
	if err != nil {
		return err
	}
	prefix, err := c.prefixOf()
	if err != nil {
		return err
	}
	buckets, err := c.bucketsOf()
	if err != nil {
		return err
	}
	engine, err := l2.Open(l2.Config{Redis: opt, Prefix: prefix, Buckets: buckets, Tracker: noTracker{}})
	if err != nil {
		c.wrong("connect", "correct what it says", "%v", err)
		return nil
	}
	defer engine.Close()
	reach, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if err := engine.Ready(reach); err != nil {
		do := "check the address, the network and TLS"
		for _, f := range engine.Faults() {
			do = f.Advice
			err = f.Err
		}
		c.wrong("connect", do, "Redis cannot be reached: %v", err)
		return nil
	}
	c.ok("connect", "it answers, speaks RESP3, and runs scripts")
	c.pushOrder(ctx, engine)
	client, err := c.openCommands()
	if err != nil {
		c.wrong("connect", "", "%v", err)
		return nil
	}
	defer client.Close()
	c.redisRights(ctx, client, prefix)
	info := c.redisInfo(ctx, client)
	c.redisTable(ctx, client, info)
	c.redisMemory(ctx, client, info)
	c.redisOwner(ctx, client, engine)
	c.redisClock(ctx, client)
	return nil
}

// noTracker is a Tracker that needs no pushes: the engine's probe looks at them by itself.
type noTracker struct{}

// KeysChanged implements l2.Tracker.
func (noTracker) KeysChanged([]uint64) {}

// SessionChanged implements l2.Tracker.
func (noTracker) SessionChanged(l2.BucketSet) {}

// orderTrials is how often the order of push and reply is tried on each server.
const orderTrials = 20

// pushOrder tries what the near cache relies on: before a reply shows a key's new state, Redis has pushed, on the same
// connection, that the old one is gone.
func (c *checkup) pushOrder(ctx context.Context, engine *l2.L2) {
	const do = "use Redis or Valkey, without a proxy between; CLIENT TRACKING must be allowed; or set Config.Tracking " +
		"to TrackingOff"
	p, err := engine.Probe(ctx, orderTrials)
	switch {
	case err != nil:
		c.wrong("tracking", do, "the order of push and reply could not be tried: %v", err)
	case p.Disorder != "":
		c.wrong("tracking", do, "it is not shown that the push comes before the reply that shows the change (%s): no bound "+
			"can be proved by tracking", p.Disorder)
	case p.Untried > 0:
		c.wrong("tracking", do, "the order of push and reply could not be tried on %d servers: %v", p.Untried, p.Err)
	default:
		c.ok("tracking", "the push came before the reply that shows the change, %d times of %d, on %d servers", orderTrials,
			orderTrials, p.Tried)
	}
}

// redisRights names the commands that an instance sends and that the user may not run.
func (c *checkup) redisRights(ctx context.Context, client rueidis.Client, prefix string) {
	denied := l2.Denied(ctx, client, l2.NewKeyspace(prefix), l2.Use{Alone: true})
	whoami, err := client.Do(ctx, client.B().Arbitrary("ACL", "WHOAMI").Build()).ToString()
	if err != nil {
		whoami = "this user"
	}
	grant := fmt.Sprintf("ACL SETUSER %s ~%s:* %s", whoami, prefix,
		l2.Rights(l2.Use{Alone: true, Cluster: client.Mode() == rueidis.ClientModeCluster}))
	switch {
	case len(denied) == 0:
		c.ok("rights", "%s has every right that an instance needs on %s:*", whoami, prefix)
	case len(denied) == 1 && denied[0] == "info":
		c.warn("rights", grant, "%s may not: info, by which an instance without a relay notices that a replica was "+
			"promoted", whoami)
	case !slices.ContainsFunc(denied, func(name string) bool { return name != "getex" && name != "client|tracking" }):
		c.wrong("rights", grant+"; or set Config.Tracking to TrackingOff, which needs neither", "%s may not: %s", whoami,
			strings.Join(denied, ", "))
	default:
		c.wrong("rights", grant, "%s may not: %s", whoami, strings.Join(denied, ", "))
	}
}

// redisInfo is what INFO says, empty if the user may not ask.
func (c *checkup) redisInfo(ctx context.Context, client rueidis.Client) map[string]string {
	text, err := client.Do(ctx, client.B().Info().Build()).ToString()
	if err != nil {
		c.skip("version", "INFO is not allowed: %v", err)
		return nil
	}
	info := map[string]string{}
	for line := range strings.SplitSeq(text, "\n") {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	switch version, valkey := info["redis_version"], info["valkey_version"]; {
	case valkey != "":
		c.ok("version", "Valkey %s", valkey)
	case older(version, 6, 2):
		c.wrong("version", "use Redis 6.2 or newer: GETEX does not exist before", "Redis %s", version)
	default:
		c.ok("version", "Redis %s", version)
	}
	switch role := info["role"]; role {
	case "master":
		c.ok("role", "it is a primary, with %s replicas", info["connected_slaves"])
	case "":
		c.skip("role", "INFO does not say")
	default:
		c.wrong("role", "give the address of the primary", "it is a %s, which takes no writes", role)
	}
	return info
}

// older reports whether a version is before another one.
func older(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, errA := strconv.Atoi(parts[0])
	b, errB := strconv.Atoi(parts[1])
	return errA == nil && errB == nil && (a < major || a == major && b < minor)
}

// config is a setting of Redis, "" if the user may not read it.
func redisConfig(ctx context.Context, client rueidis.Client, name string) string {
	m, err := client.Do(ctx, client.B().ConfigGet().Parameter(name).Build()).AsStrMap()
	if err != nil {
		return ""
	}
	return m[name]
}

// redisTable compares the tracking table with its limit.
func (c *checkup) redisTable(ctx context.Context, client rueidis.Client, info map[string]string) {
	limit, err := strconv.ParseInt(redisConfig(ctx, client, "tracking-table-max-keys"), 10, 64)
	used, errUsed := strconv.ParseInt(info["tracking_total_keys"], 10, 64)
	const do = "CONFIG SET tracking-table-max-keys to the number of keys that all instances hold together; Redis evicts " +
		"keys of a full table from the instances, which costs hits"
	switch {
	case err != nil || errUsed != nil:
		c.skip("tracking table", "its size and its limit (tracking-table-max-keys) may not be read")
	case limit > 0 && used*10 >= limit*9:
		c.warn("tracking table", do, "%d keys of %d are tracked", used, limit)
	default:
		c.ok("tracking table", "%d keys of %d are tracked", used, limit)
	}
}

func (c *checkup) redisMemory(ctx context.Context, client rueidis.Client, info map[string]string) {
	policy, limit := info["maxmemory_policy"], info["maxmemory"]
	if policy == "" {
		policy, limit = redisConfig(ctx, client, "maxmemory-policy"), redisConfig(ctx, client, "maxmemory")
	}
	used, _ := strconv.ParseInt(info["used_memory"], 10, 64)
	most, err := strconv.ParseInt(limit, 10, 64)
	switch {
	case policy == "" || err != nil:
		c.skip("memory", "maxmemory and its policy may not be read")
	case most == 0:
		c.warn("memory", "set maxmemory, and maxmemory-policy allkeys-lru", "maxmemory is not set: Redis grows until the "+
			"machine ends it; policy %s", policy)
	case policy == "noeviction" && used*10 >= most*9:
		c.warn("memory", "raise maxmemory, or set maxmemory-policy allkeys-lru: nothing new is cached when it is full",
			"%d of %d bytes are used, and nothing is evicted", used, most)
	case strings.HasPrefix(policy, "volatile-"):
		c.ok("memory", "%d of %d bytes, policy %s: records and leases have TTLs, watermarks are never evicted", used, most,
			policy)
	default:
		c.ok("memory", "%d of %d bytes, policy %s", used, most, policy)
	}
}

// redisOwner compares whose data the prefix holds with the database.
func (c *checkup) redisOwner(ctx context.Context, client rueidis.Client, engine *l2.L2) {
	key := engine.Keyspace().Owner()
	owner, err := client.Do(ctx, client.B().Get().Key(key).Build()).ToString()
	switch {
	case rueidis.IsRedisNil(err):
		c.ok("owner", "the prefix %s belongs to no system yet", engine.Keyspace().Prefix())
		return
	case err != nil:
		c.skip("owner", "%s cannot be read: %v", key, err)
		return
	case !c.hasDatabase():
		c.ok("owner", "the prefix %s belongs to the system %s", engine.Keyspace().Prefix(), owner)
		return
	}
	src, _, closeIt, err := c.openSource(ctx)
	if err != nil {
		c.skip("owner", "%v", err)
		return
	}
	defer closeIt()
	switch id, err := src.Identity(ctx); {
	case err != nil:
		c.skip("owner", "the database does not say which system it is: %v", err)
	case id != owner:
		c.wrong("owner",
			"give each system a prefix of its own (REDIS_PREFIX); or, if the other one is gone for good, delete "+
				"the key "+key, "the prefix %s belongs to the system %s, and the database is %s", engine.Keyspace().Prefix(), owner,
			id)
	default:
		c.ok("owner", "the prefix %s belongs to this database's system", engine.Keyspace().Prefix())
	}
}

func (c *checkup) redisClock(ctx context.Context, client rueidis.Client) {
	asked := time.Now()
	parts, err := client.Do(ctx, client.B().Time().Build()).AsStrSlice()
	answered := time.Now()
	if err != nil || len(parts) != 2 {
		c.skip("clock", "TIME is not allowed: %v", err)
		return
	}
	sec, errSec := strconv.ParseInt(parts[0], 10, 64)
	micro, errMicro := strconv.ParseInt(parts[1], 10, 64)
	if errSec == nil && errMicro == nil {
		c.clock(time.Unix(sec, micro*1000), asked, answered)
	}
}
