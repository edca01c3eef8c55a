package app_test

import (
	"context"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// registrar notes the names and labels of what is registered, whether or not it has been counted yet.
type registrar struct {
	*prometheus.Registry
	mu     sync.Mutex
	labels map[string]string
}

// A Desc tells its parts only as text.
var desc = regexp.MustCompile(`fqName: "([^"]*)".*constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)

var constantLabel = regexp.MustCompile(`([a-z]+)="[^"]*"`)

func (r *registrar) Register(c prometheus.Collector) error {
	ch := make(chan *prometheus.Desc)
	go func() { c.Describe(ch); close(ch) }()
	r.mu.Lock()
	defer r.mu.Unlock()
	for d := range ch {
		m := desc.FindStringSubmatch(d.String())
		names := constantLabel.ReplaceAllString(m[2], "$1") + "," + m[3]
		r.labels[m[1]] = strings.ReplaceAll(strings.Trim(names, ","), ",", ", ")
	}
	return r.Registry.Register(c)
}

// source stands still.
type source struct{}

func (source) Position(context.Context) (coherence.Position, error) {
	return coherence.Position{Timeline: 1, N: 1}, nil
}

func (source) Abilities() coherence.Abilities { return coherence.Abilities{} }

func (source) Changes(context.Context, coherence.Position, int) ([]coherence.Event, coherence.Position, error) {
	return nil, coherence.Position{Timeline: 1, N: 1}, nil
}

// registered are all metrics of the client, a cache, a relay and a worker, with their labels.
func registered(t *testing.T) map[string]string {
	t.Helper()
	reg := &registrar{Registry: prometheus.NewRegistry(), labels: map[string]string{}}
	client, err := nearcache.New(nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(), Source: source{},
		Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := nearcache.NewCache(client, "n", nearcache.Options[string, string]{MaxStaleness: time.Second,
		Load: func(context.Context, string) (nearcache.Entry[string], error) {
			return nearcache.Entry[string]{Version: 1}, nil
		}}); err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := (relay.Relay{Source: source{}, L2: client.L2(), Registerer: reg}).Run(ended); err != nil {
		t.Fatal(err)
	}
	worker := kafka.Worker{Broker: kafka.Broker{Brokers: nearcachetest.NewKafka(t, 1).Brokers()}, Topic: "t", GroupID: "g",
		L2:         client.L2(),
		Registerer: reg}
	if err := worker.Run(ended); err != nil {
		t.Fatal(err)
	}
	for name := range reg.labels {
		if !strings.HasPrefix(name, "nearcache_") {
			t.Errorf("the metric %s does not begin with nearcache_", name)
		}
	}
	return reg.labels
}

func TestMetrics_AreThoseOfTheirDocument(t *testing.T) {
	labels := registered(t)
	doc, err := os.ReadFile("../../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	row := regexp.MustCompile("(?m)^\\| `(nearcache_[a-z0-9_]+)` \\| ([a-z, ]*)\\|")
	for _, m := range row.FindAllStringSubmatch(string(doc), -1) {
		documented[m[1]] = strings.TrimSpace(m[2])
	}
	if diff := cmp.Diff(labels, documented); diff != "" {
		t.Errorf("registered (-) and documented (+):\n%s", diff)
	}
	for _, name := range regexp.MustCompile(`nearcache_[a-z0-9_]+`).FindAllString(string(doc), -1) {
		if _, ok := labels[name]; !ok {
			t.Errorf("the document speaks of %s, which is not registered", name)
		}
	}
}
