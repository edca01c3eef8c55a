package fence

// The scopes. What a scope leaves out is as important as what is in it: each feature multiplies the states, so they are
// explored a few at a time.

// tiny is for builds with the race detector, which searches a tenth as fast.
var tiny = []scope{
	{name: "Redis and relay", n: 1, loads: 1, sourced: true},
	{name: "no source, no versions", n: 1, loads: 1, unversioned: true, intents: true},
}

// quick is what make test explores, the largest first: whole, but for those with a limit.
var quick = []scope{
	{name: "three versions, a delete", n: 3, loads: 1, sourced: true, deleted: 4},
	{name: "fail-over", n: 2, loads: 1, sourced: true, fo: 1},
	{name: "the topic grows", n: 1, loads: 1, sourced: true, kafka: true, parts: 2},
	{name: "two instances", n: 1, insts: 2, loads: 1, sourced: true, limit: 700_000},
	{name: "evictions, flushes", n: 1, loads: 1, sourced: true, ev: 2},
	{name: "two fail-overs, an isolated old primary", n: 1, loads: 1, sourced: true, fo: 2, isolate: true},
	{name: "both channels", n: 1, loads: 1, sourced: true, kafka: true, prune: true},
	{name: "lost T", n: 2, loads: 1, sourced: true, cn: 1},
	{name: "two loads of a key", n: 1, loads: 2, sourced: true},
	{name: "both channels, gap", n: 1, loads: 1, sourced: true, kafka: true, gp: 1},
	{name: "joined flights, Fresh", n: 2, loads: 1, sourced: true, joins: true},
	{name: "AtLeast", n: 2, loads: 1, sourced: true, atLeast: true},
	{name: "late heartbeat replies", n: 2, loads: 1, sourced: true, slowBeat: true},
	{name: "min versions forgotten", n: 1, loads: 1, sourced: true, prune: true, cn: 1},
	{name: "samples in steps", n: 1, loads: 1, sourced: true, prune: true, slowSample: true},
	{name: "bounded reads in steps", n: 2, loads: 1, sourced: true, bounded: true, slowHit: true},
	{name: "keys of one slot, the journal", n: 2, loads: 1, sourced: true, slots: true},
	{name: "commits durable before visible", n: 2, loads: 1, sourced: true, early: true},
	{name: "records of an older schema", n: 2, loads: 1, sourced: true, schema: true},
	{name: "no source", n: 2, loads: 2, deleted: 2},
	{name: "no source, two instances", n: 1, insts: 2, loads: 1},
	{name: "no source, writers mark", n: 2, loads: 2, intents: true},
	{name: "no source, no versions", n: 2, loads: 2, unversioned: true},
	{name: "no source, no versions, writers mark", n: 2, loads: 2, unversioned: true, intents: true},
	{name: "no source, no versions, faults", n: 2, loads: 1, unversioned: true, cn: 1, ev: 1},
}

// full is what make explore adds.
var full = []scope{
	{name: "two instances, further", n: 1, insts: 2, loads: 1, sourced: true},
	{name: "no source, two instances, eviction", n: 1, insts: 2, loads: 1, ev: 1},
	{name: "three versions, two fail-overs", n: 3, loads: 1, sourced: true, fo: 2, deleted: 4},
	{name: "three versions, two evictions", n: 3, loads: 1, sourced: true, ev: 2, deleted: 4},
	{name: "two instances", n: 2, insts: 2, loads: 1, sourced: true},
	{name: "two instances, fail-over", n: 1, insts: 2, loads: 1, sourced: true, fo: 1, isolate: true},
	{name: "two instances, eviction", n: 1, insts: 2, loads: 1, sourced: true, ev: 1},
	{name: "two instances, both channels", n: 1, insts: 2, loads: 1, sourced: true, kafka: true},
	{name: "three versions", n: 3, loads: 1, sourced: true, cn: 1, deleted: 4},
	{name: "min versions forgotten", n: 2, loads: 1, sourced: true, prune: true, cn: 1},
	{name: "min versions forgotten, samples in steps", n: 2, loads: 1, sourced: true, prune: true, slowSample: true},
	{name: "both channels, two versions", n: 2, loads: 1, sourced: true, kafka: true, prune: true},
	{name: "both channels, two versions, gap", n: 2, loads: 1, sourced: true, kafka: true, gp: 1},
	{name: "both channels, every fault", n: 1, loads: 1, sourced: true, kafka: true, prune: true, fo: 1, ev: 1, cn: 1, gp: 1},
	{name: "a broker lost and found", n: 1, loads: 1, sourced: true, kafka: true, lost: true, gp: 1},
	{name: "the topic grows", n: 2, loads: 1, sourced: true, kafka: true, parts: 2},
	{name: "the topic grows, two loads", n: 1, loads: 2, sourced: true, kafka: true, parts: 2},
	{name: "joined flights", n: 1, loads: 2, sourced: true, joins: true},
	{name: "joined flights, one load", n: 2, loads: 1, sourced: true, joins: true, atLeast: true},
	{name: "bounded reads in steps, two loads", n: 1, loads: 2, sourced: true, bounded: true, slowHit: true},
	{name: "two loads, two versions", n: 2, loads: 2, sourced: true},
	{name: "two loads, fail-over", n: 1, loads: 2, sourced: true, fo: 1, cn: 1},
	{name: "no source, two instances", n: 2, insts: 2, loads: 1, deleted: 2},
	{name: "no source, no versions, two instances, marks", n: 2, insts: 2, loads: 1, unversioned: true, intents: true},
}
