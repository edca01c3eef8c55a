package l2

import (
	"context"
	"strings"

	"github.com/redis/rueidis"
)

// right is one command that an instance sends, or that its scripts call, and a call of it that does no harm.
type right struct {
	name string // as ACL SETUSER has it, without the plus
	try  []string
}

// rights are all that an instance needs on the keys of its prefix. The documents, the advice for NOPERM and doctor show
// them; tests take each of them away.
var rights = []right{
	{"get", []string{"GET", probeKey}},
	{"getex", []string{"GETEX", probeKey}},
	{"getrange", []string{"GETRANGE", probeKey, "0", "0"}},
	{"set", []string{"SET", probeKey, "", "PX", "1000"}},
	{"del", []string{"DEL", probeKey}},
	{"exists", []string{"EXISTS", probeKey}},
	{"pttl", []string{"PTTL", probeKey}},
	{"pexpire", []string{"PEXPIRE", probeKey, "1000"}},
	{"eval", []string{"EVAL", "return 1", "1", probeKey}},
	{"evalsha", []string{"EVALSHA", strings.Repeat("0", 40), "1", probeKey}},
	{"client|tracking", []string{"CLIENT", "TRACKING", "OFF"}},
}

// clusterRight is needed in a Cluster besides.
var clusterRight = right{"cluster|slots", []string{"CLUSTER", "SLOTS"}}

// probeKey stands for a key of the prefix in right.try.
const probeKey = "KEY"

// Rights are the commands that an instance needs, in the form of ACL SETUSER: "+get +getex ...". In a Cluster it also
// needs ClusterRight.
func Rights() string {
	var b strings.Builder
	for i, r := range rights {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("+" + r.name)
	}
	return b.String()
}

// ClusterRight is what an instance needs in a Cluster besides Rights.
func ClusterRight() string { return "+" + clusterRight.name }

// Denied tries each command that an instance needs, and returns those that the user may not run, as ACL SETUSER names
// them. It is empty if Redis does not answer. CLIENT TRACKING is tried by switching it off, on a connection that tracks
// nothing.
func Denied(ctx context.Context, client rueidis.Client, keys *Keyspace) (denied []string) {
	all := rights
	if client.Mode() == rueidis.ClientModeCluster {
		all = append(all[:len(all):len(all)], clusterRight)
	}
	key := keys.probe(0)
	for _, r := range all {
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
