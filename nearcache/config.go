package nearcache

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
)

// Config configures a Client: one per process and Redis.
type Config struct {
	// Redis says where L2 is: rueidis's own options, with its TLS, ACL, Sentinel and Cluster. What tracking depends on
	// (OnInvalidations, ClientTrackingOptions, DisableCache, ...) belongs to the client, and New refuses it. Required.
	Redis rueidis.ClientOption
	// Events is a stream of version events that evicts L1 besides tracking: a kafka.Tail, or one of your own.
	// Defaults to none: tracking alone.
	Events coherence.EventSource
	// Source is the source of truth's commit order: a postgres.Source, or one of your own. With it, versions never go
	// back on an instance even when Redis does (C3). It says as Relayed does that a relay carries every change. This
	// client uses it for what a relay cannot tell: Fresh by the version alone, tags, the source's name, what makes it
	// miss changes, and its position while neither the relay's rounds nor its barriers show it. Defaults to none.
	Source coherence.Source
	// Relayed says that a relay somewhere carries every change of the source of truth to this Prefix. Then a bound can be
	// asked for without a Source: the relay's rounds in Redis prove it, and this process needs no connection to the
	// database but its Loaders'. While no relay works, reads with a bound go to the source, and Status has the reason
	// "relay_silent". While Redis does not answer, the barriers of Events prove it, if the relay publishes to them.
	// Defaults to whether there is a Source.
	Relayed bool
	// Tracking is TrackingOff for a Redis, or a proxy before it, that cannot do CLIENT TRACKING. What L1 may serve then is
	// told by Events, which need a Source: without them a cache must have a MaxStaleness, with a Source, or L1Bytes of
	// -1. A Write, Invalidate or Apply of another process reaches this one's L1 by the event of its commit alone. Each
	// heartbeat asks the Source for its position. Defaults to TrackingOn.
	Tracking TrackingMode
	// Prefix begins every Redis key. Systems that share a Redis need one each. Defaults to "nc".
	Prefix string
	// Buckets is into how many parts the keys of Redis are divided: a power of two from 64 to 4,096. A part is what one
	// master of a Cluster has whole. All programs of a Prefix must agree on the number, and Redis remembers it: a client
	// with another one is refused, by New or, if Redis was away then, with the reason "redis_buckets". 64 is best for one
	// server and for a Cluster of up to ten masters; a larger Cluster is used evenly with 20 for each master. Each bucket
	// costs a read of its watermark whenever a connection is made, and some memory. Defaults to 64.
	Buckets int
	// System names the system whose data the prefix holds. A client of another system is refused: by New, or with the
	// reason "prefix_taken" if Redis was away then. Defaults to the Source's identity, if it has one; without either
	// nothing is checked.
	System string
	// RedisTimeout is how long a read waits for Redis; then it goes to the source. After 5 such failures in a row reads
	// pass Redis over, until a heartbeat finds that it answers in time. Defaults to 500ms.
	RedisTimeout time.Duration
	// Heartbeat is how often the relay's round is read, and with it the proof that a bound needs. While no cache has a
	// bound, and no read has had one for ten seconds, it is read ten times more rarely, but at least once a second.
	// Defaults to 100ms with a Source or Relayed, and 1s without.
	Heartbeat time.Duration
	// LoadTrace lets a load belong to its reader's trace. It gets the context of the reader that begins a load, and the
	// one that its Loader will get; it returns the latter with what tracing needs of the former, and nothing else of
	// it: for OpenTelemetry, trace.ContextWithSpanContext(load, trace.SpanContextFromContext(caller)). It must not
	// panic, and is called concurrently. Defaults to none.
	LoadTrace func(caller, load context.Context) context.Context
	// Tracer makes spans of what leaves L1: "get" for a read, and below it "l2.read", "l2.acquire", "lease.wait", "load"
	// and "l2.fill". A fill may end after its read. Attributes name the cache (nearcache.cache), the tier that answered
	// (nearcache.tier) and the number of keys (nearcache.keys); none has a key or a value. A hit in L1 makes no span.
	// A batch of events makes "events.apply"; see coherence.Tracer.StartBatch.
	// nearcache/otel has a Tracer for OpenTelemetry. With one LoadTrace need not be set. Defaults to none.
	Tracer coherence.Tracer
	// Registerer takes the metrics. Defaults to none.
	Registerer prometheus.Registerer
	// Logger takes what cannot be returned: a line at Warn for each reason in Status, when it begins. Defaults to
	// slog.Default().
	Logger *slog.Logger
}

// Mode says what reads do with the cache.
type Mode int32

// The modes.
const (
	// ModeOn: the cache serves reads.
	ModeOn Mode = iota
	// ModeShadow: the source answers reads. The cache's answers are compared with them, and differences counted.
	ModeShadow
	// ModeOff: the source alone answers reads.
	ModeOff
)

// String is the mode's name in metrics and logs.
func (m Mode) String() string {
	switch m {
	case ModeOn:
		return "on"
	case ModeShadow:
		return "shadow"
	case ModeOff:
		return "off"
	}
	return "unknown"
}
