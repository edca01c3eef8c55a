package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/nearcache"
)

func productID(n int) string { return fmt.Sprintf("p%05d", n) }

// frame is what the page shows at one moment. Times are in milliseconds, but for names that end in "us".
type frame struct {
	Time      int64           `json:"t"`
	Bound     float64         `json:"bound"`
	Relay     bool            `json:"relay"`
	Load      bool            `json:"load"`
	Compare   bool            `json:"compare"`
	Instances []instanceFrame `json:"instances"`
	Audit     auditFrame      `json:"audit"`
	Keys      []keyFrame      `json:"keys"`
	Scores    []scoreFrame    `json:"scores"`
	Journey   *journey        `json:"journey,omitempty"`
	Tour      int             `json:"tour"` // the step that runs, from 1; 0: none
}

// auditFrame is what the auditors of all instances have found: reads that they compared with the database, and those
// that differed for longer than the bound.
type auditFrame struct {
	Reads        uint64 `json:"reads"`
	Inconsistent uint64 `json:"inconsistent"`
	Why          string `json:"why,omitempty"` // of the first difference
}

type instanceFrame struct {
	Name     string `json:"name"`
	URL      string `json:"url"`
	Paused   bool   `json:"paused"`
	RedisCut bool   `json:"redisCut"`
	KafkaCut bool   `json:"kafkaCut"`
	Redis    bool   `json:"redis"`  // connected
	Events   bool   `json:"events"` // followed
	Gate     bool   `json:"gate"`
	// Proved is the bound that is proved now, and by which channel; 0: none.
	Proved  float64 `json:"proved"`
	Channel string  `json:"channel"`
	// ByRedis and ByEvents are what each channel proves; 0: nothing.
	ByRedis   float64  `json:"byRedis"`
	ByEvents  float64  `json:"byEvents"`
	Reasons   []reason `json:"reasons"`
	Says      string   `json:"says"`
	Guarantee string   `json:"guarantee"`
	HitRatio  float64  `json:"hitRatio"` // of L1, over the last two seconds; -1: no reads
	Reads     float64  `json:"reads"`    // a second
	Loads     float64  `json:"loads"`    // of the database, a second
	MedianUS  float64  `json:"medianUs"`
	P99US     float64  `json:"p99Us"`
	Stale     float64  `json:"stale"` // the oldest answer of the last two seconds, in truth
}

type reason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type keyFrame struct {
	ID       string          `json:"id"`
	Name     string          `json:"name"`
	Price    product.Price   `json:"price"`
	Database product.Version `json:"db"`
	Redis    product.Version `json:"redis"` // 0: Redis has no record
	L1       []cell          `json:"l1"`
}

// cell is what one instance's L1 holds of a product.
type cell struct {
	Version product.Version `json:"v"` // 0: nothing
	Serves  bool            `json:"serves"`
	Refused string          `json:"why,omitempty"`
}

type scoreFrame struct {
	Name   string  `json:"name"`
	Reads  int64   `json:"reads"`
	Stale  int64   `json:"stale"`
	Over   int64   `json:"over"` // older than the bound
	Failed int64   `json:"failed"`
	Loads  int64   `json:"loads"`
	Worst  float64 `json:"worst"`
}

var scoreNames = [3]string{"nearcache", "TTL only", "pub/sub"}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// frames makes a frame at the highest rate that a viewer asks for.
func (d *Demo) frames(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		d.hub.show(d.frame(ctx, began))
		pause(ctx, time.Second/time.Duration(d.rate())-time.Since(began))
	}
}

func (d *Demo) frame(ctx context.Context, now time.Time) *frame {
	f := &frame{Time: now.UnixMilli(), Bound: millis(d.cfg.Bound), Relay: d.relay.running(), Load: d.load.running(),
		Compare: d.compare.running(), Journey: d.journeys.latest(), Tour: d.tours.running(), Keys: d.stores.keys()}
	for i := range d.members {
		f.Instances = append(f.Instances, d.instanceFrame(ctx, i, now))
	}
	for _, m := range d.members {
		a := m.Client.Status().Caches[product.Namespace].Audit
		f.Audit.Reads += a.Reads
		f.Audit.Inconsistent += a.Inconsistent
		if len(a.Differences) > 0 && f.Audit.Why == "" {
			f.Audit.Why = a.Differences[0].Text
		}
	}
	for k := range f.Keys {
		f.Keys[k].L1 = make([]cell, Instances)
		for i, m := range d.members {
			f.Keys[k].L1[i] = m.peek(ctx, f.Keys[k].ID)
		}
	}
	for i := range d.scores {
		f.Scores = append(f.Scores, d.scores[i].frame(scoreNames[i]))
	}
	return f
}

func (s *score) frame(name string) scoreFrame {
	return scoreFrame{Name: name, Reads: s.reads.Load(), Stale: s.stale.Load(), Over: s.over.Load(),
		Failed: s.failed.Load(), Loads: s.loads.Load(), Worst: millis(time.Duration(s.worst.Load()))}
}

func (d *Demo) instanceFrame(ctx context.Context, i int, now time.Time) instanceFrame {
	m := d.members[i]
	s := m.Client.Status()
	f := instanceFrame{Name: m.name, URL: m.URL, Paused: m.awake.isShut(), RedisCut: m.redis.IsCut(),
		KafkaCut: m.kafka.IsCut(), Redis: s.Redis, Events: s.Events,
		Proved: millis(s.Bound.Staleness), Channel: s.Bound.Channel, ByRedis: millis(s.Bound.Redis),
		ByEvents: millis(s.Bound.Events), Reasons: []reason{}}
	f.Gate = s.Bound.Staleness > 0 && s.Bound.Staleness <= d.cfg.Bound
	for _, r := range s.Reasons {
		f.Reasons = append(f.Reasons, reason{r.Code, r.Message})
	}
	latency, stale := m.latency.summary(now), m.stale.summary(now)
	f.MedianUS, f.P99US = float64(latency.Median.Nanoseconds())/1000, float64(latency.P99.Nanoseconds())/1000
	f.Stale = millis(stale.Max)
	f.Reads, f.Loads, f.HitRatio = m.rates(ctx, now)
	f.Says, f.Guarantee = says(&f, d.relay.running())
	return f
}

// ratio has the counters of the last two seconds.
type ratio struct {
	mu      sync.Mutex
	samples []counters
}

type counters struct {
	at                  time.Time
	hits, misses, loads uint64
}

// rates are an instance's reads and loads a second, and the part of the reads that L1 answered.
func (m *member) rates(ctx context.Context, now time.Time) (reads, loads, hits float64) {
	var view struct {
		Caches map[string]struct {
			Hits   uint64 `json:"l1_hits"`
			Misses uint64 `json:"l1_misses"`
			Loads  uint64 `json:"loads"`
		} `json:"caches"`
	}
	if m.look(ctx, nil, &view) != nil {
		return 0, 0, -1
	}
	c := view.Caches[product.Namespace]
	m.ratio.mu.Lock()
	defer m.ratio.mu.Unlock()
	all := append(m.ratio.samples, counters{now, c.Hits, c.Misses, c.Loads})
	for len(all) > 1 && now.Sub(all[0].at) > 2*time.Second {
		all = all[1:]
	}
	m.ratio.samples = all
	first, last := all[0], all[len(all)-1]
	took := last.at.Sub(first.at).Seconds()
	if took == 0 {
		return 0, 0, -1
	}
	n := float64(last.hits - first.hits + last.misses - first.misses)
	hits = -1
	if n > 0 {
		hits = float64(last.hits-first.hits) / n
	}
	return n / took, float64(last.loads-first.loads) / took, hits
}

// peek is what an instance's L1 holds of a product.
func (m *member) peek(ctx context.Context, id string) (c cell) {
	var key struct {
		L1 *struct {
			Version product.Version `json:"version"`
			Serves  bool            `json:"serves"`
			Refused string          `json:"refused"`
		} `json:"l1"`
	}
	q := url.Values{"cache": {product.Namespace}, "key": {id}, "tier": {nearcache.TierL1.String()}}
	if m.look(ctx, q, &key) == nil && key.L1 != nil {
		c = cell{key.L1.Version, key.L1.Serves, key.L1.Refused}
	}
	return c
}

// look asks an instance's DebugHandler, as an operator would.
func (m *member) look(ctx context.Context, q url.Values, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	var w reply
	m.debug.ServeHTTP(&w, r)
	if w.status > http.StatusOK {
		return fmt.Errorf("demo: the instance's own view: status %d", w.status)
	}
	return json.Unmarshal(w.body, into)
}

// reply is a response in memory.
type reply struct {
	header http.Header
	status int
	body   []byte
}

// Header implements http.ResponseWriter.
func (r *reply) Header() http.Header {
	if r.header == nil {
		r.header = make(http.Header)
	}
	return r.header
}

// WriteHeader implements http.ResponseWriter.
func (r *reply) WriteHeader(status int) { r.status = status }

// Write implements http.ResponseWriter.
func (r *reply) Write(b []byte) (int, error) {
	r.body = append(r.body, b...)
	return len(b), nil
}

// stores has what the database and Redis hold of the watched products, as it was a moment ago.
type stores struct {
	mu   sync.Mutex
	last []keyFrame
}

func (s *stores) keys() []keyFrame {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]keyFrame{}, s.last...)
}

// watchStores reads the database and Redis ten times a second.
func (d *Demo) watchStores(ctx context.Context) {
	for ctx.Err() == nil {
		all := make([]keyFrame, 0, len(watchedIDs))
		for _, id := range watchedIDs {
			k := keyFrame{ID: id}
			if p, v, err := d.cfg.Store.Find(ctx, id); err == nil {
				k.Name, k.Price, k.Database = p.Name, p.Price, v
			}
			if r, ok, err := d.l2.Get(ctx, product.Namespace, id); err == nil && ok && r.Readable {
				k.Redis = r.Version
			}
			all = append(all, k)
		}
		d.stores.mu.Lock()
		d.stores.last = all
		d.stores.mu.Unlock()
		pause(ctx, 100*time.Millisecond)
	}
}
