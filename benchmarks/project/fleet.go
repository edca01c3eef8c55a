package project

import (
	"cmp"
	"slices"
)

// Fleet is a size of a system.
type Fleet struct {
	Instances float64
	Writes    float64 // changed rows per second
	Held      float64 // the probability that an instance holds a key when it is written
	Masters   float64 // of Redis
	Kafka     bool    // every instance follows the topic
}

// What the arithmetic assumes of one machine. None of it was measured.
const (
	redisCores      = 1.0    // Redis runs commands on one
	maxClients      = 10_000 // Redis's default
	networkBytes    = 1.25e9 // per second: 10 Gbit
	postgresCores   = 32.0
	postgresMost    = 1_000 // connections
	kafkaBrokers    = 10.0
	kafkaCores      = 16.0 // of each broker
	relayCores      = 1.0  // most of the relay's work is done by one goroutine for each channel
	instanceBudget  = 0.05 // of a core, that a service may give to coherence
	beatsPerSecond  = 10   // a heartbeat of 100 ms
	bucketsOfPrefix = 64   // Config.Buckets by default; at more changes than buckets in every beat, every bucket changes
)

// Load is what a fleet asks of one resource.
type Load struct {
	Resource string
	Amount   float64
	Limit    float64 // 0: none is assumed
	Unit     string
	Moves    string // what moves it
}

// Share is the part of the limit that is used.
func (l Load) Share() float64 {
	if l.Limit == 0 {
		return 0
	}
	return l.Amount / l.Limit
}

// Loads returns what a fleet asks of each resource, the fullest first.
func (c *Costs) Loads(f Fleet) ([]Load, error) {
	all := slices.Concat(c.redis(f), c.postgres(f), c.kafka(f), c.processes(f))
	slices.SortStableFunc(all, func(a, b Load) int { return cmp.Compare(b.Share(), a.Share()) })
	return all, c.err()
}

// curve is the curve of which a fleet's instances are.
func (f Fleet) curve() string {
	if f.Kafka {
		return bothChannels
	}
	return redisAlone
}

// everyBucketChanges reports whether the beat of an instance finds a change in every bucket.
func (f Fleet) everyBucketChanges() bool { return f.Writes >= beatsPerSecond*bucketsOfPrefix }

// told is the unit of a change of which Kafka tells an instance: one by one, or in batches.
func (f Fleet) told() string {
	if f.everyBucketChanges() {
		return toldInBulk
	}
	return told
}

// fetches is the rate at which all instances fetch changed keys again.
func (f Fleet) fetches() float64 { return f.Writes * f.Held * f.Instances }

// perMaster is what an instance costs each master of the fleet. In a cluster a beat reads the watermark of every
// bucket, and the buckets are spread over the masters.
func (c *Costs) perMaster(f Fleet, figure string) float64 {
	cost := c.at(redisAlone, readingInstance, figure)
	if f.Masters > 1 {
		cost = c.at(inCluster, readingInstance, figure) / f.Masters
	}
	if f.everyBucketChanges() {
		cost += c.at(redisAlone, busyInstance, figure) / f.Masters
	}
	return cost
}

func (c *Costs) redis(f Fleet) []Load {
	perMaster := func(figure string) float64 {
		return f.Instances*c.perMaster(f, figure) + f.Writes/f.Masters*c.at(redisAlone, change, figure) +
			f.fetches()/f.Masters*c.at(redisAlone, fetch, figure)
	}
	connections := c.at(redisAlone, readingInstance, redisClients)
	if f.Masters > 1 {
		connections = c.at(inCluster, readingInstance, redisClients) / measuredMasters
	}
	return []Load{
		{"a Redis master: processor", perMaster(redisCPU), redisCores, "cores",
			"Config.Heartbeat moves the part of the beats, masters that of changes and fetches"},
		{"a Redis master: commands", perMaster(redisCommands), 0, "/s", ""},
		{"a Redis master: connections", f.Instances * connections, maxClients, "", "maxclients"},
		{"a Redis master: network out", perMaster(redisOut), networkBytes, "B/s", "masters; smaller values"},
	}
}

func (c *Costs) postgres(f Fleet) []Load {
	return []Load{
		{"Postgres: processor, for the writes and the relay", f.Writes*c.at(redisAlone, change, postgresCPU) +
			f.Instances*c.at(f.curve(), readingInstance, postgresCPU), postgresCores, "cores",
			"transactions of several rows; postgres.Config.WithoutNotify; databases with a relay each"},
		{"Postgres: connections of Sources", f.Instances * c.at(f.curve(), idleInstance, postgresConns), postgresMost, "",
			"no Source where no ability of it is used"},
		{"Postgres: queries of Sources", f.Instances * c.at(f.curve(), idleInstance, sourceQueries), 0, "/s", ""},
		{"Postgres: queries of Loaders, at most", f.Writes * min(1, f.Held*f.Instances), 0, "/s", ""},
	}
}

func (c *Costs) kafka(f Fleet) []Load {
	if !f.Kafka {
		return nil
	}
	delivered := f.Instances * (c.at(bothChannels, readingInstance, kafkaDelivered) +
		f.Writes*c.at(bothChannels, f.told(), kafkaDelivered))
	return []Load{
		{"all Kafka brokers: network out", delivered, kafkaBrokers * networkBytes, "B/s",
			"Config.Events on none of the instances; brokers"},
		{"all Kafka brokers: processor, at most", f.Instances*(c.at(bothChannels, readingInstance, kafkaCPU)+
			f.Writes*c.at(bothChannels, f.told(), kafkaCPU)) + f.Writes*c.at(bothChannels, change, kafkaCPU),
			kafkaBrokers * kafkaCores, "cores", "kafka.Tail.MaxWait; Config.Events on none of the instances; brokers"},
		{"Kafka: published", f.Writes * c.at(bothChannels, change, kafkaPublished), 0, "B/s", ""},
	}
}

func (c *Costs) processes(f Fleet) []Load {
	instance := c.at(f.curve(), readingInstance, instanceCPU) +
		f.Writes*f.Held*c.at(redisAlone, fetch, instanceCPU)
	if f.Masters > 1 {
		more := c.at(inCluster, readingInstance, instanceCPU) - c.at(redisAlone, readingInstance, instanceCPU)
		instance += (f.Masters - 1) * max(0, more) / (measuredMasters - 1)
	}
	switch { // what is told by Kafka was measured with the buckets' changes
	case f.Kafka:
		instance += f.Writes * c.at(bothChannels, f.told(), instanceCPU)
	case f.everyBucketChanges():
		instance += c.at(redisAlone, busyInstance, instanceCPU)
	}
	return []Load{
		{"an instance: processor for coherence, at most", instance, instanceBudget, "cores",
			"Config.Heartbeat; fewer masters; Config.Events on none of the instances; a shorter TTL holds fewer keys"},
		{"the relay: processor", c.at(f.curve(), idleRelay, relayCPU) + f.Writes*c.at(f.curve(), change, relayCPU),
			relayCores, "cores", "databases, or prefixes, with a relay each; transactions of several rows"},
	}
}
