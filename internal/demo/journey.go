package demo

import (
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/internal/product"
)

// stage is a place that a write comes to.
type stage struct {
	// Instance is the number of the instance, from 1; 0: a service that all share.
	Instance int `json:"instance,omitempty"`
	// By names the service, or how the instance learned of the write: "redis" (a push), "kafka" (an event), or "read" (the
	// first read of that instance that returned the new version).
	By string `json:"by"`
}

var (
	stageDatabase = stage{By: "database"}
	stageOutbox   = stage{By: "outbox"}
	stageKafka    = stage{By: "kafka"}
	stageRedis    = stage{By: "redis"}
)

// arrival is a stage and when the write came to it.
type arrival struct {
	stage
	Micros int64 `json:"us"` // since the write began
}

// journey is the way of one write.
type journey struct {
	Number   int             `json:"n"`
	ID       string          `json:"id"`
	Name     string          `json:"name"`
	Price    product.Price   `json:"price"`
	From     int             `json:"from"` // the instance that wrote, from 1
	Version  product.Version `json:"version"`
	Arrivals []arrival       `json:"arrivals"`
	Done     bool            `json:"done"`
	Error    string          `json:"error,omitempty"`

	began time.Time
}

// journeys has the latest write that was made by the page's button. It is safe for concurrent use.
type journeys struct {
	mu   sync.Mutex
	n    int
	last *journey
}

func (j *journeys) begin(p product.Product, from int) *journey {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.n++
	j.last = &journey{Number: j.n, ID: p.ID, Name: p.Name, Price: p.Price, From: from, began: time.Now()}
	return j.last
}

// at notes that a version of a product has come to a stage. The first time counts. Version 0 is whatever version the
// journey has, if it is committed.
func (j *journeys) at(id string, v product.Version, s stage, when time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	w := j.last
	switch {
	case w == nil || w.ID != id && id != "":
		return
	case w.Version == 0 && s == stageDatabase:
		w.Version = v
	case w.Version == 0, v != 0 && v != w.Version:
		return
	}
	for _, a := range w.Arrivals {
		if a.stage == s {
			return
		}
	}
	w.Arrivals = append(w.Arrivals, arrival{s, when.Sub(w.began).Microseconds()})
}

func (j *journeys) end(w *journey, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	w.Done = true
	if err != nil {
		w.Error = err.Error()
	}
}

// latest is a copy of the latest journey, nil if there is none.
func (j *journeys) latest() *journey {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.last == nil {
		return nil
	}
	w := *j.last
	w.Arrivals = append([]arrival(nil), w.Arrivals...)
	return &w
}

// time is when a journey came to a stage, since it began.
func (w *journey) time(s stage) (time.Duration, bool) {
	for _, a := range w.Arrivals {
		if a.stage == s {
			return time.Duration(a.Micros) * time.Microsecond, true
		}
	}
	return 0, false
}
