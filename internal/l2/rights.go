package l2

import (
	"context"
	"slices"
	"strings"

	"github.com/redis/rueidis"
)

// Use says how a program uses Redis: what it needs depends on that.
type Use struct {
	Untracked bool // nearcache's Config.Tracking is off
	Alone     bool // no relay carries changes to L2
	Cluster   bool
	Sentinel  bool // it asks Sentinels for the primary
}

// right is one command that an instance sends, or that its scripts call, and a call of it that does no harm.
type right struct {
	name   string // as ACL SETUSER has it, without the plus
	try    []string
	needed func(Use) bool // nil: always
}

func tracked(u Use) bool   { return !u.Untracked }
func inCluster(u Use) bool { return u.Cluster }

// rights are all that an instance needs on the keys of its prefix. The documents, the advice for NOPERM and doctor show
// them; tests take each of them away.
var rights = []right{
	{"get", []string{"GET", probeKey}, nil},
	{"getex", []string{"GETEX", probeKey}, tracked},
	{"getrange", []string{"GETRANGE", probeKey, "0", "0"}, nil},
	{"set", []string{"SET", probeKey, "", "PX", "1000"}, nil},
	{"del", []string{"DEL", probeKey}, nil},
	{"exists", []string{"EXISTS", probeKey}, nil},
	{"pttl", []string{"PTTL", probeKey}, nil},
	{"pexpire", []string{"PEXPIRE", probeKey, "1000"}, nil},
	{"eval", []string{"EVAL", "return 1", "1", probeKey}, nil},
	{"evalsha", []string{"EVALSHA", strings.Repeat("0", 40), "1", probeKey}, nil},
	{"client|tracking", []string{"CLIENT", "TRACKING", "OFF"}, tracked},
	{"info", []string{"INFO", "replication"}, func(u Use) bool { return u.Alone }},
	{"cluster|slots", []string{"CLUSTER", "SLOTS"}, inCluster},
	{"cluster|shards", []string{"CLUSTER", "SHARDS"}, inCluster}, // rueidis asks Redis 8, Valkey 8 and newer ones so
	{"role", []string{"ROLE"}, func(u Use) bool { return u.Sentinel }},
}

// probeKey stands for a key of the prefix in right.try.
const probeKey = "KEY"

func (u Use) rights() (out []right) {
	for _, r := range rights {
		if r.needed == nil || r.needed(u) {
			out = append(out, r)
		}
	}
	return out
}

// Rights are the commands that a program needs, in the form of ACL SETUSER: "+get +getex ...".
func Rights(u Use) string { return grants(u.rights()) }

func grants(all []right) string {
	names := make([]string, len(all))
	for i, r := range all {
		names[i] = "+" + r.name
	}
	return strings.Join(names, " ")
}

// ClusterRights are what a program needs in a Cluster besides the rest, in the same form.
var ClusterRights = grants(slices.DeleteFunc(Use{Cluster: true}.rights(), func(r right) bool {
	return r.needed == nil || r.needed(Use{})
}))

// SentinelRights are what a program that tracks needs on the Sentinels themselves. Without the last two it works,
// but is not told of a fail-over.
const SentinelRights = "+sentinel|get-master-addr-by-name +sentinel|sentinels +client|tracking +subscribe &*"

// Denied tries each command that a program needs, and returns those that the user may not run, as ACL SETUSER names
// them. It is empty if Redis does not answer. CLIENT TRACKING is tried by switching it off, on a connection that tracks
// nothing. Whether there is a Cluster, the client says.
func Denied(ctx context.Context, client rueidis.Client, keys *Keyspace, u Use) (denied []string) {
	u.Cluster = client.Mode() == rueidis.ClientModeCluster
	key := keys.probe(0)
	for _, r := range u.rights() {
		cmd := client.B().Arbitrary(r.try[0])
		for _, a := range r.try[1:] {
			if a == probeKey {
				cmd = cmd.Keys(key)
			} else {
				cmd = cmd.Args(a)
			}
		}
		err := client.Do(ctx, cmd.Build()).Error()
		if e, ok := rueidis.IsRedisErr(err); ok && saysWord(e.Error(), "NOPERM") {
			denied = append(denied, r.name)
		}
	}
	return denied
}

// use says how this client uses Redis.
func (l *L2) use() Use {
	return Use{Untracked: l.routes.tracker == nil, Alone: l.recent != nil, Sentinel: l.sentinel}
}

// deniedToConnect names the command that the user may not run, by what Redis said when a connection was made. Redis 6.2
// names no subcommand.
func deniedToConnect(said string, u Use) (denied []string) {
	for _, r := range u.rights() {
		command, _, _ := strings.Cut(r.name, "|")
		if strings.Contains(said, "'"+r.name+"'") || strings.Contains(said, "'"+command+"'") {
			denied = append(denied, r.name)
		}
	}
	return denied
}
