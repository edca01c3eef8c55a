package nearcache

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// DebugHandler serves what this instance's caches hold and how they do, as one JSON object, to an operator and to
// `nearcache top`. It answers GET:
//
//	/                            the client's status, and counters of each cache
//	/?cache=NAMESPACE&hottest=N  the N keys of L1 that are hit most, 1,000 at most, the hottest first
//	/?cache=NAMESPACE&key=NAME   one key: what L1 and Redis hold of it, and which tier would answer a read now;
//	                             with &tier=l1 Redis is not asked
//
// The first question for the hottest keys begins to count one hit in 8, and a minute without another question ends
// that. Until then, and after, a hit costs what it costs without the handler. So the first answer has no keys yet;
// `share` is a key's part of the hits that were counted. Keys are named as in Redis. A cache with an Options.EncodeKey
// answers for one key only if it has an Options.DecodeKey.
//
// A value is shown only for a key with &value=true, encoded by the cache's Codec; one over 1 MiB is
// left out.
//
// Keys and values may be private: the handler authorises nobody. Put it behind your own authorisation, and on a
// listener apart from the public one. It answers four questions at a time, and 429 to more. It is safe for concurrent
// use; after Close it answers 503.
func DebugHandler(c *Client) http.Handler {
	return &debugHandler{client: c, places: make(chan struct{}, debugPlaces)}
}

const (
	debugPlaces   = 4           // questions that are answered at a time
	debugMostKeys = 1000        // in one answer
	debugMostSize = 1 << 20     // of a value
	debugWatch    = 1 << 11     // keys that are counted to find the hottest
	debugFor      = time.Minute // counting goes on for so long after the last question
)

type debugHandler struct {
	client *Client
	places chan struct{}
}

// debugCacher is a cache as the handler sees it.
type debugCacher interface {
	managedCache
	debugCounters() debugCounters
	debugKey(ctx context.Context, name string, q url.Values) (debugKey, error)
	debugHottest(n int) debugHottest
}

// ServeHTTP implements http.Handler.
func (h *debugHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", "application/json; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		debugRefuse(w, http.StatusMethodNotAllowed, "GET and HEAD are the methods")
		return
	}
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
	default:
		header.Set("Retry-After", "1")
		debugRefuse(w, http.StatusTooManyRequests, "other questions are being answered; ask again")
		return
	}
	if h.client.closed.Load() {
		debugRefuse(w, http.StatusServiceUnavailable, ErrClosed.Error())
		return
	}
	status, answer := h.answer(r)
	if status != http.StatusOK {
		debugRefuse(w, status, fmt.Sprint(answer))
		return
	}
	_ = json.NewEncoder(w).Encode(answer) // the reader has gone
}

func debugRefuse(w http.ResponseWriter, status int, why string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": why})
}

// answer is the status and what to send; with another status than 200 it is the reason.
func (h *debugHandler) answer(r *http.Request) (status int, answer any) {
	q := r.URL.Query()
	if q.Get("cache") == "" {
		if q.Has("key") || q.Has("key_base64") || q.Has("hottest") {
			return http.StatusBadRequest, "cache is missing: the namespace that the key is of"
		}
		return http.StatusOK, h.client.debugView()
	}
	cache := h.client.debugCache(q.Get("cache"))
	if cache == nil {
		return http.StatusNotFound, fmt.Sprintf("there is no cache %q; there is: %s", q.Get("cache"),
			strings.Join(h.client.namespaces(), ", "))
	}
	if q.Has("hottest") {
		n, err := strconv.Atoi(q.Get("hottest"))
		if err != nil || n < 1 || n > debugMostKeys {
			return http.StatusBadRequest, fmt.Sprintf("hottest is a number from 1 to %d", debugMostKeys)
		}
		return http.StatusOK, cache.debugHottest(n)
	}
	name := q.Get("key")
	if coded := q.Get("key_base64"); coded != "" {
		b, err := base64.StdEncoding.DecodeString(coded)
		if err != nil {
			return http.StatusBadRequest, "key_base64 is not base64"
		}
		name = string(b)
	} else if !q.Has("key") {
		return http.StatusBadRequest, "key or hottest is missing"
	}
	if tier := q.Get("tier"); tier != "" && tier != TierL1.String() {
		return http.StatusBadRequest, "tier is l1, or left out"
	}
	key, err := cache.debugKey(r.Context(), name, q)
	switch {
	case errors.Is(err, ErrUnsupported):
		return http.StatusNotImplemented, err.Error()
	case err != nil:
		return http.StatusBadRequest, err.Error()
	}
	return http.StatusOK, key
}

// debugCache is the cache of a namespace, nil if there is none.
func (c *Client) debugCache(namespace string) debugCacher {
	c.mu.Lock()
	defer c.mu.Unlock()
	cache, _ := c.caches[namespace].(debugCacher)
	return cache
}

// namespaces are those of the client's caches, in order.
func (c *Client) namespaces() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.caches))
}

// debugView is the answer without a cache.
type debugView struct {
	Time    time.Time                `json:"time"`
	Prefix  string                   `json:"prefix"`
	Mode    string                   `json:"mode"`
	Ready   bool                     `json:"ready"`
	Redis   bool                     `json:"redis"`
	Events  bool                     `json:"events"`
	Pending int                      `json:"pending_invalidations"`
	Proved  debugProved              `json:"proved_staleness"`
	Reasons []debugReason            `json:"reasons"`
	Caches  map[string]debugCounters `json:"caches"`
}

// debugProved are Bound's durations in seconds; 0: nothing is proved.
type debugProved struct {
	Seconds float64 `json:"seconds"`
	Channel string  `json:"channel"`
	Redis   float64 `json:"redis_seconds"`
	Events  float64 `json:"events_seconds"`
}

type debugReason struct {
	Code    string    `json:"code"`
	Message string    `json:"message"`
	Since   time.Time `json:"since"`
}

// debugCounters are what a cache has counted since it was made.
type debugCounters struct {
	L1Hits       uint64  `json:"l1_hits"`
	L1Misses     uint64  `json:"l1_misses"`
	L2Hits       uint64  `json:"l2_hits"`
	Loads        uint64  `json:"loads"`
	LoadErrors   uint64  `json:"load_errors"`
	ServedStale  uint64  `json:"served_stale"`
	L1Bytes      int64   `json:"l1_bytes"`
	L1Evictions  uint64  `json:"l1_evictions"`
	MaxStaleness float64 `json:"max_staleness_seconds"` // 0: no bound
	GateOpen     bool    `json:"gate_open"`

	Audit *debugAudit `json:"audit,omitempty"` // with Options.Audit
}

func (c *Client) debugView() debugView {
	s := c.Status()
	v := debugView{Time: time.Now().UTC(), Prefix: c.keyspace.Prefix(), Mode: s.Mode.String(), Ready: s.Ready,
		Redis: s.Redis, Events: s.Events, Pending: s.Pending,
		Proved: debugProved{Seconds: s.Bound.Staleness.Seconds(), Channel: s.Bound.Channel,
			Redis: s.Bound.Redis.Seconds(), Events: s.Bound.Events.Seconds()},
		Reasons: []debugReason{}, Caches: map[string]debugCounters{}}
	for _, r := range s.Reasons {
		v.Reasons = append(v.Reasons, debugReason{r.Code, r.Message, r.Since.UTC()})
	}
	for name, cs := range s.Caches {
		cache := c.debugCache(name)
		if cache == nil {
			continue // the client is being closed
		}
		counters := cache.debugCounters()
		counters.MaxStaleness, counters.GateOpen = cs.MaxStaleness.Seconds(), cs.Open
		counters.Audit = newDebugAudit(&cs.Audit)
		v.Caches[name] = counters
	}
	return v
}

// debugName is a key's name in an answer. One that is not UTF-8 has no form as a JSON string.
type debugName struct {
	Key    string `json:"key,omitempty"`
	Base64 []byte `json:"key_base64,omitempty"`
}

// debugEntry is what L1 holds of a key.
type debugEntry struct {
	Version   Version  `json:"version"`
	Absent    bool     `json:"absent,omitempty"`
	Age       float64  `json:"age_seconds"`        // since this process obtained the value from the tier below
	ExpiresIn float64  `json:"expires_in_seconds"` // negative: it has expired
	Staleness float64  `json:"staleness_seconds"`  // how old it can be at most; 0: nothing is proved
	Serves    bool     `json:"serves"`
	Refused   string   `json:"refused,omitempty"` // why it does not serve, as in nearcache_misses_total
	Tags      []string `json:"tags,omitempty"`
}

// debugRecord is what Redis holds of a key.
type debugRecord struct {
	Version Version `json:"version"`
	Absent  bool    `json:"absent,omitempty"`
	Bytes   int     `json:"bytes"`
	Serves  bool    `json:"serves"`
	Refused string  `json:"refused,omitempty"`
}

// debugKey is the answer about one key.
type debugKey struct {
	debugName
	Cache   string       `json:"cache"`
	Tier    string       `json:"tier"` // that would answer a read now, without what the read itself demands
	L1      *debugEntry  `json:"l1,omitempty"`
	L2      *debugRecord `json:"l2,omitempty"`
	L2Error string       `json:"l2_error,omitempty"`
	debugValue
}

// debugValue is a value that was asked for. It is JSON if the Codec encodes to that.
type debugValue struct {
	JSON    json.RawMessage `json:"value,omitempty"`
	Base64  []byte          `json:"value_base64,omitempty"`
	Omitted string          `json:"value_omitted,omitempty"`
}

// debugHottest is the answer for the hottest keys.
type debugHottest struct {
	Cache    string        `json:"cache"`
	Counting float64       `json:"counting_seconds"` // since counting began
	Counted  uint64        `json:"counted"`          // hits; counts are halved now and then
	Keys     []debugHotKey `json:"keys"`
}

type debugHotKey struct {
	debugName
	Share float64     `json:"share"` // of the hits that were counted, 0 to 1
	Tier  string      `json:"tier"`  // "l1", or "none": L1 does not serve it now
	L1    *debugEntry `json:"l1,omitempty"`
}

// newDebugRecord describes a record, nil if there is none.
func newDebugRecord(raw []byte, rec *l2.Record, miss l2Miss) *debugRecord {
	if raw == nil {
		return nil
	}
	return &debugRecord{Version: rec.Version, Absent: rec.Absent, Bytes: len(raw), Serves: miss == "",
		Refused: string(miss)}
}
