package project

import (
	"fmt"
	"strings"
)

// unitRow is a line of the table of unit costs.
type unitRow struct {
	text, curve, unit, figure string
	scale                     float64
	as                        string // the unit of the scaled cost
}

const (
	perSecond    = "/s"
	milliseconds = " ms/s"
	microseconds = " us"
)

var unitRows = []unitRow{
	{"an idle instance, both channels: Redis commands", bothChannels, idleInstance, redisCommands, 1, perSecond},
	{"queries of the source", bothChannels, idleInstance, sourceQueries, 1, perSecond},
	{"its own processor time", bothChannels, idleInstance, instanceCPU, 1e3, milliseconds},
	{"Redis's", bothChannels, idleInstance, redisCPU, 1e3, milliseconds},
	{"Kafka's", bothChannels, idleInstance, kafkaCPU, 1e3, milliseconds},
	{"an instance that reads within its bound, both channels: Redis commands", bothChannels, readingInstance,
		redisCommands, 1, perSecond},
	{"queries of the source", bothChannels, readingInstance, sourceQueries, 1, perSecond},
	{"its own processor time", bothChannels, readingInstance, instanceCPU, 1e3, milliseconds},
	{"Redis's", bothChannels, readingInstance, redisCPU, 1e3, milliseconds},
	{"Kafka's", bothChannels, readingInstance, kafkaCPU, 1e3, milliseconds},
	{"connections to Redis", bothChannels, readingInstance, redisClients, 1, ""},
	{"the same in a cluster of 6 masters, Redis alone: Redis commands, all masters", inCluster, readingInstance,
		redisCommands, 1, perSecond},
	{"its own processor time", inCluster, readingInstance, instanceCPU, 1e3, milliseconds},
	{"Redis's, all masters", inCluster, readingInstance, redisCPU, 1e3, milliseconds},
	{"connections to Redis, all masters", inCluster, readingInstance, redisClients, 1, ""},
	{"an instance more while every bucket changes, Redis alone: Redis commands", redisAlone, busyInstance, redisCommands,
		1, perSecond},
	{"its own processor time", redisAlone, busyInstance, instanceCPU, 1e3, milliseconds},
	{"Redis's", redisAlone, busyInstance, redisCPU, 1e3, milliseconds},
	{"the idle relay, both channels: Redis commands", bothChannels, idleRelay, redisCommands, 1, perSecond},
	{"its queries of the source", bothChannels, idleRelay, relayQueries, 1, perSecond},
	{"its own processor time", bothChannels, idleRelay, relayCPU, 1e3, milliseconds},
	{"a change by itself (200/s), both channels: the relay", bothChannels, changeAlone, relayCPU, 1e6, microseconds},
	{"Redis", bothChannels, changeAlone, redisCPU, 1e6, microseconds},
	{"Postgres, with the write", bothChannels, changeAlone, postgresCPU, 1e6, microseconds},
	{"Kafka", bothChannels, changeAlone, kafkaCPU, 1e6, microseconds},
	{"a change among 100 of a transaction (2,000/s), both channels: the relay", bothChannels, change, relayCPU, 1e6,
		microseconds},
	{"Redis", bothChannels, change, redisCPU, 1e6, microseconds},
	{"Postgres, with the write", bothChannels, change, postgresCPU, 1e6, microseconds},
	{"Kafka", bothChannels, change, kafkaCPU, 1e6, microseconds},
	{"an event of Kafka for an instance (200/s): the instance", bothChannels, told, instanceCPU, 1e6, microseconds},
	{"Kafka", bothChannels, told, kafkaCPU, 1e6, microseconds},
	{"bytes to the instance", bothChannels, told, kafkaDelivered, 1, " B"},
	{"an event among many (2,000/s): the instance", bothChannels, toldInBulk, instanceCPU, 1e6, microseconds},
	{"Kafka", bothChannels, toldInBulk, kafkaCPU, 1e6, microseconds},
	{"bytes to the instance", bothChannels, toldInBulk, kafkaDelivered, 1, " B"},
	{"a fetch of a changed key: the instance", redisAlone, fetch, instanceCPU, 1e6, microseconds},
	{"Redis", redisAlone, fetch, redisCPU, 1e6, microseconds},
	{"Redis commands", redisAlone, fetch, redisCommands, 1, ""},
}

// unitTable writes the unit costs that the arithmetic uses. A cost that was not measured is empty.
func unitTable(b *strings.Builder, before, after *Costs) {
	if before == nil {
		fmt.Fprint(b, "| cost | |\n|---|---|\n")
	} else {
		fmt.Fprint(b, "| cost | before | after |\n|---|---|---|\n")
	}
	for _, r := range unitRows {
		fmt.Fprintf(b, "| %s |", r.text)
		for _, c := range []*Costs{before, after} {
			if c == nil {
				continue
			}
			text := ""
			if v, ok := c.figures[r.curve+", "+r.unit+": "+r.figure]; ok {
				text = thousands(max(0, r.scale*v)) + r.as
			}
			fmt.Fprintf(b, " %s |", text)
		}
		b.WriteString("\n")
	}
}
