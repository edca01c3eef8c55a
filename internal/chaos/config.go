//go:build unix

package chaos

import (
	"io"
	"time"
)

// The sources of truth that a run can have.
const (
	postgresSource = "postgres"
	mariadb        = "mariadb"
)

// Whether Redis pushes changes to the instances.
const (
	trackingOn  = "on"
	trackingOff = "off"
)

// Config says how a run goes. The zero value of every field but Dir and Jars is useful.
type Config struct {
	Dir      string        // a new directory for data, histories and logs; required
	Jars     string        // of Kafka; required
	Duration time.Duration // for how long faults are injected. Defaults to 60 seconds
	Times    int           // how many faults are injected, however long that takes. Defaults to as many as Duration allows
	Seed     uint64        // of the schedule and of what is read and written
	Faults   []string      // which faults, by name, in this order. Defaults to all, in an order that the seed gives
	Heavy    bool          // also the faults that take minutes. Defaults to false
	Server   string        // the program cmd/product-server; it is asked over HTTP besides. Defaults to none
	Source   string        // "postgres" or "mariadb". Defaults to "postgres"
	Redis    string        // "single", "sentinel" or "cluster". Defaults to "single"
	Tracking string        // "on" or "off": whether Redis pushes changes to the instances. Defaults to "on"
	Events   string        // "kafka" or "nats" carries the events. Defaults to "kafka"
	Relayed  bool          // the instances have no Source, only nearcache.Config.Relayed. Defaults to false
	Without  string        // a rule of the protocol that is taken out: internal/ablate. Defaults to none

	Bound     time.Duration // Δ. Defaults to 250ms
	Instances int           // defaults to 3
	Keys      int           // defaults to 200
	Readers   int           // that read side by side on each instance. Defaults to 8
	Rate      float64       // reads a second and instance. Defaults to 11,000
	Writes    float64       // writes a second of each instance, and of the foreign writer. Defaults to 15
	Hold      time.Duration // how long transactions are kept open at most. Defaults to 40ms
	Steady    time.Duration // how long there is peace between faults. Defaults to 1.5s

	// MinShare is the part of the reads that L1 must have served while there was no fault. Defaults to 0.9.
	MinShare float64
	// Reopen bounds how many times the 99.9th percentile of Λ the gate may take to open again after a heal. Defaults
	// to 50.
	Reopen float64
	// ReopenWithin is a bound that is enough however small Λ is: reconnecting has timeouts of its own. Defaults to
	// 5s.
	ReopenWithin time.Duration

	Out io.Writer // takes the progress and the table. Defaults to discarding
}

func (c *Config) defaults() {
	or := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	if c.Source == "" {
		c.Source = postgresSource
	}
	if c.Redis == "" {
		c.Redis = redisSingle
	}
	if c.Events == "" {
		c.Events = kafkaEvents
	}
	if c.Tracking == "" {
		c.Tracking = trackingOn
	}
	or(&c.Duration, time.Minute)
	or(&c.Bound, 250*time.Millisecond)
	or(&c.Hold, 40*time.Millisecond)
	or(&c.Steady, 1500*time.Millisecond)
	or(&c.ReopenWithin, 5*time.Second)
	for _, n := range []struct {
		v   *int
		def int
	}{{&c.Instances, 3}, {&c.Keys, 200}, {&c.Readers, 8}} {
		if *n.v <= 0 {
			*n.v = n.def
		}
	}
	for _, f := range []struct {
		v   *float64
		def float64
	}{{&c.Rate, 11_000}, {&c.Writes, 15}, {&c.MinShare, 0.9}, {&c.Reopen, 50}} {
		if *f.v <= 0 {
			*f.v = f.def
		}
	}
	if c.Out == nil {
		c.Out = io.Discard
	}
}
