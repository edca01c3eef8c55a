// Package chaos runs a fleet of near caches as real processes on real Redis, Kafka and Postgres, breaks things, and
// has package history check everything that was read.
//
// # Who runs
//
// The controller (Run) starts the services and, by executing its own program again, the fleet: instances that read
// and write through a cache each, two relays, a worker, and a foreign writer: it writes SQL and knows no cache. Each
// reaches each service through a toxiproxy of its own inside the controller, so that any one of them can lose any one
// service. With Config.Hosts each instance is in a network namespace of its own, which can lose packets. Instances
// record what they read inside the process; a trigger records what was committed.
//
// # What happens
//
// A seed gives the schedule: one fault after another, injected, held for a while, healed. After each, the controller
// waits until every instance proves the bound again, pauses the writers until the bound covers their last write, has
// every key read on every instance and in Redis, and goes on. The fault, its times and the sweep's reads are part of
// the history.
//
// The machine is shared and its scheduler is not under control, so the same seed gives the same faults in the same
// order, and not the same interleavings.
package chaos
