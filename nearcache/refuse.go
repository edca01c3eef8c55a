package nearcache

import (
	"context"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

const (
	questionEvery = time.Second // for each key and version
	questionMax   = 64          // in questionEvery, of all keys
	refuseLog     = time.Minute // for each key
	refuseKeys    = 1 << 10     // whose last line in the log is remembered
)

// questions bounds how often the source is asked for a version, and how often that is logged. A Loader that reads a
// replica far behind returns less than the min version for many keys at once.
type questions struct {
	mu     sync.Mutex
	since  int64              // when the present interval began
	asked  map[string]Version // in the interval, by record
	logged map[string]int64   // when a line was logged, by record
}

// mayAsk reports whether the source may be asked about a key's min version now.
func (q *questions) mayAsk(record string, v Version, now int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.asked == nil || now-q.since >= int64(questionEvery) {
		q.since, q.asked = now, make(map[string]Version)
	}
	if last, ok := q.asked[record]; ok && last == v || !ok && len(q.asked) >= questionMax {
		return false
	}
	q.asked[record] = v
	return true
}

// mayLog reports whether a line about a key may be logged now.
func (q *questions) mayLog(record string, now int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	last, ok := q.logged[record]
	if ok && now-last < int64(refuseLog) {
		return false
	}
	if q.logged == nil || !ok && len(q.logged) >= refuseKeys {
		q.logged = make(map[string]int64)
	}
	q.logged[record] = now
	return true
}

// questionVersion is called when the Loader returned version `loaded`, and this client's min version of the key is
// newer. The min version may be none of the source's: an event can carry a clock where the version belongs, or be
// forged. The
// source is asked, and a min version above its answer is forgotten. It reports whether one was.
//
// The question comes after the event, and an event comes after its commit. So a source that answers less has not
// committed that version in its present timeline; see fence.RefuseVersion. An answer below what the Loader returned
// proves nothing: then the source does not count the versions that the Loader returns.
//
// A source without a Versioner cannot be asked. Then the min version ages.
func (c *Client) questionVersion(ctx context.Context, key l2.Key, loaded Version) bool {
	known := c.fence.MinVersion(key)
	if known <= loaded {
		return false
	}
	if c.versions == nil {
		if !c.fence.ForgetOldVersion(key, known) {
			return false
		}
		c.versionRefused(key, known, loaded, "age")
		return true
	}
	if !c.questions.mayAsk(key.Record, known, c.now()) {
		return false
	}
	actual, err := within(ctx, func() (coherence.Version, error) {
		return c.versions.Version(ctx, key.Namespace, key.Name)
	})
	if err != nil || actual < loaded {
		return false
	}
	at, err := within(ctx, func() (coherence.Position, error) { return c.source.Position(ctx) })
	if err != nil || !c.fence.RefuseVersion(key, known, actual, at) {
		return false
	}
	c.versionRefused(key, known, actual, "source")
	return true
}

// versionRefused counts and logs a min version that was forgotten.
func (c *Client) versionRefused(key l2.Key, refused, actual Version, reason string) {
	c.m.versionsRefused.WithLabelValues(reason).Inc()
	if c.questions.mayLog(key.Record, c.now()) {
		c.log.Warn("a version that the source does not have was forgotten: an event carried a wrong or forged version",
			"namespace", key.Namespace, "key", key.Name, "version", refused, "source_version", actual, "reason", reason)
	}
}
