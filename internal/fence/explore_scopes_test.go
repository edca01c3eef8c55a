package fence

// The scopes. What a scope leaves out is as important as what is in it: each feature multiplies the states, so they are
// explored a few at a time.

// tiny is for builds with the race detector, which searches a tenth as fast.
var tiny = []scope{
	{name: "Redis and relay", versions: 1, loads: 1, sourced: true},
	{name: "no source, no versions", versions: 1, loads: 1, unversioned: true, intents: true},
}

// quick is what make test explores, the largest first: whole, but for those with a limit.
var quick = []scope{
	{name: "three versions, a delete", versions: 3, loads: 1, sourced: true, deleted: 4},
	{name: "fail-over", versions: 2, loads: 1, sourced: true, failOvers: 1},
	{name: "the topic grows", versions: 1, loads: 1, sourced: true, events: true, partitions: 2},
	{name: "two instances", versions: 1, instances: 2, loads: 1, sourced: true, limit: 700_000},
	{name: "evictions, flushes", versions: 1, loads: 1, sourced: true, evictions: 2},
	{name: "two fail-overs, an isolated old primary", versions: 1, loads: 1, sourced: true,
		failOvers: 2, isolation: true},
	{name: "both channels", versions: 1, loads: 1, sourced: true, events: true, forgetMinVersions: true},
	{name: "lost connections", versions: 2, loads: 1, sourced: true, lostConnections: 1},
	{name: "two loads of a key", versions: 1, loads: 2, sourced: true},
	{name: "both channels, gap", versions: 1, loads: 1, sourced: true, events: true, gaps: 1},
	{name: "joined flights, Fresh", versions: 2, loads: 1, sourced: true, joins: true},
	{name: "AtLeast", versions: 2, loads: 1, sourced: true, atLeast: true},
	{name: "late heartbeat replies", versions: 2, loads: 1, sourced: true, lateHeartbeats: true},
	{name: "min versions forgotten", versions: 1, loads: 1, sourced: true, forgetMinVersions: true, lostConnections: 1},
	{name: "samples in steps", versions: 1, loads: 1, sourced: true, forgetMinVersions: true, samplesInSteps: true},
	{name: "bounded reads in steps", versions: 2, loads: 1, sourced: true, bounded: true, hitsInSteps: true},
	{name: "keys of one slot, recent bumps", versions: 2, loads: 1, sourced: true, otherKeys: true},
	{name: "commits durable before visible", versions: 2, loads: 1, sourced: true, durableFirst: true},
	{name: "records of an older schema", versions: 2, loads: 1, sourced: true, olderSchema: true},
	{name: "transactions in pieces, fail-over", versions: 1, loads: 1, sourced: true, pieces: true, failOvers: 1},
	{name: "transactions in pieces, evictions", versions: 1, loads: 1, sourced: true, pieces: true, evictions: 1},
	{name: "no source", versions: 2, loads: 2, deleted: 2},
	{name: "no source, two instances", versions: 1, instances: 2, loads: 1},
	{name: "no source, writers place intents", versions: 2, loads: 2, intents: true},
	{name: "no source, no versions", versions: 2, loads: 2, unversioned: true},
	{name: "no source, no versions, writers place intents", versions: 2, loads: 2, unversioned: true, intents: true},
	{name: "no source, no versions, faults", versions: 2, loads: 1, unversioned: true,
		lostConnections: 1, evictions: 1},
}

// full is what make explore adds.
var full = []scope{
	{name: "two instances, further", versions: 1, instances: 2, loads: 1, sourced: true},
	{name: "no source, two instances, eviction", versions: 1, instances: 2, loads: 1, evictions: 1},
	{name: "three versions, two fail-overs", versions: 3, loads: 1, sourced: true, failOvers: 2, deleted: 4},
	{name: "three versions, two evictions", versions: 3, loads: 1, sourced: true, evictions: 2, deleted: 4},
	{name: "two instances", versions: 2, instances: 2, loads: 1, sourced: true},
	{name: "two instances, fail-over", versions: 1, instances: 2, loads: 1, sourced: true,
		failOvers: 1, isolation: true},
	{name: "two instances, eviction", versions: 1, instances: 2, loads: 1, sourced: true, evictions: 1},
	{name: "two instances, both channels", versions: 1, instances: 2, loads: 1, sourced: true, events: true},
	{name: "three versions", versions: 3, loads: 1, sourced: true, lostConnections: 1, deleted: 4},
	{name: "min versions forgotten", versions: 2, loads: 1, sourced: true, forgetMinVersions: true, lostConnections: 1},
	{name: "min versions forgotten, samples in steps", versions: 2, loads: 1, sourced: true,
		forgetMinVersions: true, samplesInSteps: true},
	{name: "both channels, two versions", versions: 2, loads: 1, sourced: true, events: true, forgetMinVersions: true},
	{name: "both channels, two versions, gap", versions: 2, loads: 1, sourced: true, events: true, gaps: 1},
	{name: "both channels, every fault", versions: 1, loads: 1, sourced: true, events: true,
		forgetMinVersions: true, failOvers: 1, evictions: 1, lostConnections: 1, gaps: 1},
	{name: "a broker lost and found", versions: 1, loads: 1, sourced: true, events: true, brokersLost: true, gaps: 1},
	{name: "the topic grows", versions: 2, loads: 1, sourced: true, events: true, partitions: 2},
	{name: "the topic grows, two loads", versions: 1, loads: 2, sourced: true, events: true, partitions: 2},
	{name: "joined flights", versions: 1, loads: 2, sourced: true, joins: true},
	{name: "joined flights, one load", versions: 2, loads: 1, sourced: true, joins: true, atLeast: true},
	{name: "bounded reads in steps, two loads", versions: 1, loads: 2, sourced: true, bounded: true, hitsInSteps: true},
	{name: "transactions in pieces, two versions", versions: 2, loads: 1, sourced: true, pieces: true, failOvers: 1},
	{name: "transactions in pieces, every fault", versions: 1, loads: 1, sourced: true, pieces: true, failOvers: 2,
		isolation: true, evictions: 1, lostConnections: 1},
	{name: "two loads, two versions", versions: 2, loads: 2, sourced: true},
	{name: "two loads, fail-over", versions: 1, loads: 2, sourced: true, failOvers: 1, lostConnections: 1},
	{name: "no source, two instances", versions: 2, instances: 2, loads: 1, deleted: 2},
	{name: "no source, no versions, two instances, intents", versions: 2, instances: 2, loads: 1,
		unversioned: true, intents: true},
}
