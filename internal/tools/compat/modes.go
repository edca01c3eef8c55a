package main

import "strings"

// mode is a column of the table: a way to run Redis, and the tests that try it.
type mode struct {
	name  string
	needs string // "tracking": a server that New refuses with tracking is "refused" here
	tests []suite
}

// suite is a selection of the tests of a package.
type suite struct{ pkg, run, skip string }

// modes are the columns, in their order.
var modes = []mode{
	{"single", "tracking", []suite{
		{"internal/l2", "^Test", "Cluster|Untracked|Rights|Broadcast|Metrics|Refuses|Waits|KeepsNoContext|./embedded"},
		{"nearcache", "^Test(ForeignCommands|TTL_NoPush|RedisDown|FullTrackingTable|Maxmemory|Incarnation)", "./embedded"},
	}},
	{"least rights", "tracking", []suite{{"internal/l2", "^TestRights|NeedsTheRight|WithoutMGET", ""}}},
	{"Cluster", "tracking", []suite{
		{"internal/l2", "^TestCluster|OfACluster|OfAClusterAs", "Atomically"},
		{"nearcache", "^TestCluster", "Atomically"},
	}},
	{"atomic slot migration", "tracking", []suite{{"nearcache", "^TestCluster_.*Atomically", ""}}},
	{"Sentinel", "tracking", []suite{{"nearcache", "^TestSentinel", ""}}},
	{"TrackingOff", "", []suite{
		{"internal/l2", "^TestUntracked", "Proxy|Twemproxy"},
		{"nearcache", "^TestUntracked_OnARedisWithoutTracking", ""},
	}},
	{"RESP2 proxy", "", []suite{
		{"internal/l2", "^TestUntracked_.*Proxy", ""},
		{"nearcache", "^TestUntracked_.*RESP2Proxy", ""},
	}},
	{"twemproxy", "", []suite{{"nearcache", "^TestUntracked_.*Twemproxy", ""}}},
	{"conformance", "tracking", []suite{{"internal/services/conformance", ".", ""}}},
}

// modesNamed are the modes whose name begins with a text, in whatever case.
func modesNamed(name string) (out []mode) {
	for _, m := range modes {
		if strings.HasPrefix(strings.ToLower(m.name), strings.ToLower(name)) {
			out = append(out, m)
		}
	}
	return out
}
