package project

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

// made are costs of which the loads can be computed in the head.
func made() *Costs {
	c := &Costs{figures: map[string]float64{}}
	set := func(curve, unit string, figures map[string]float64) {
		for figure, v := range figures {
			c.figures[curve+", "+unit+": "+figure] = v
		}
	}
	for _, curve := range []string{bothChannels, redisAlone} {
		set(curve, readingInstance, map[string]float64{redisCPU: 1e-4, redisCommands: 20, redisClients: 2, redisOut: 1000,
			postgresCPU: 0, kafkaDelivered: 500, kafkaCPU: 2e-3, instanceCPU: 4e-3})
		set(curve, idleInstance, map[string]float64{postgresConns: 1, sourceQueries: 0})
		set(curve, change, map[string]float64{redisCPU: 1e-5, redisCommands: 3, redisOut: 10, postgresCPU: 1e-4,
			relayCPU: 2e-5, kafkaCPU: 1e-5, kafkaPublished: 200})
		set(curve, busyInstance, map[string]float64{redisCPU: 1e-3, redisCommands: 640, redisOut: 5000, instanceCPU: 2e-3})
		set(curve, fetch, map[string]float64{redisCPU: 1e-4, redisCommands: 5, redisOut: 300, instanceCPU: 2e-4})
		set(curve, idleRelay, map[string]float64{relayCPU: 0.01})
		set(curve, told, map[string]float64{kafkaDelivered: 300, kafkaCPU: 5e-5, instanceCPU: 1e-4})
		set(curve, toldInBulk, map[string]float64{kafkaDelivered: 200, kafkaCPU: 1e-6, instanceCPU: 5e-6})
	}
	set(inCluster, readingInstance, map[string]float64{redisCPU: 1.2e-3, redisCommands: 90, redisClients: 12,
		redisOut: 6000, instanceCPU: 9e-3})
	return c
}

func TestLoads_AreUnitCostsTimesTheFleet(t *testing.T) {
	for _, test := range []struct {
		name string
		f    Fleet
		want map[string]float64
	}{
		{"nothing written", Fleet{Instances: 1000, Masters: 1, Kafka: true}, map[string]float64{
			"a Redis master: processor":                     0.1,
			"a Redis master: commands":                      20_000,
			"a Redis master: connections":                   2_000,
			"Postgres: connections of Sources":              1_000,
			"all Kafka brokers: network out":                500_000,
			"all Kafka brokers: processor, at most":         2,
			"an instance: processor for coherence, at most": 0.004,
			"the relay: processor":                          0.01,
		}},
		// 100 changes/s are told one by one, and 1% of them are fetched by each of 100 instances: 100 fetches/s.
		{"few changes", Fleet{Instances: 100, Writes: 100, Held: 0.01, Masters: 1, Kafka: true}, map[string]float64{
			"a Redis master: processor":                     0.01 + 0.001 + 0.01,
			"a Redis master: commands":                      2_000 + 300 + 500,
			"all Kafka brokers: network out":                100 * (500 + 100*300),
			"Postgres: queries of Loaders, at most":         100,
			"an instance: processor for coherence, at most": 0.004 + 100*0.01*2e-4 + 100*1e-4,
			"the relay: processor":                          0.01 + 100*2e-5,
		}},
		// Every bucket changes in every beat. The masters of a cluster share 1.2 ms/s for each instance.
		{"many changes, 10 masters", Fleet{Instances: 1000, Writes: 10_000, Held: 0.001, Masters: 10},
			map[string]float64{
				"a Redis master: processor":                     1000*(1.2e-4+1e-4) + 1000*1e-5 + 1000*1e-4,
				"a Redis master: connections":                   2_000,
				"an instance: processor for coherence, at most": 0.004 + 10*2e-4 + 9*0.001 + 0.002,
				"Postgres: queries of Loaders, at most":         10_000,
			}},
	} {
		loads, err := made().Loads(test.f)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		got := map[string]float64{}
		for i, l := range loads {
			got[l.Resource] = l.Amount
			if i > 0 && l.Share() > loads[i-1].Share() {
				t.Errorf("%s: %s is fuller than %s, and comes after it", test.name, l.Resource, loads[i-1].Resource)
			}
		}
		for resource, want := range test.want {
			if v, ok := got[resource]; !ok || math.Abs(v-want) > 1e-9*want {
				t.Errorf("%s: %s: got %v, want %v", test.name, resource, v, want)
			}
		}
	}
}

func TestLoads_NeedEveryCost(t *testing.T) {
	c := made()
	delete(c.figures, "Redis alone, a fetch: "+redisCPU)
	_, err := c.Loads(Fleet{Instances: 1, Masters: 1})
	if err == nil || !strings.Contains(err.Error(), "Redis alone, a fetch: "+redisCPU) {
		t.Errorf("got %v, want an error that names the cost", err)
	}
}

func TestReplace_KeepsTheRestOfThePage(t *testing.T) {
	s := measure.Section{ID: "scale", Date: "2026-01-02", Figures: map[string]float64{}}
	for name, v := range made().figures {
		s.Figures["after: "+name] = v
		s.Figures["before: "+name] = 2 * v
	}
	page, err := Replace("above\n"+begin+"old\n"+end+"below\n", s)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(page, "above\n"+begin) || !strings.HasSuffix(page, end+"below\n") ||
		strings.Contains(page, "old\n") || !strings.Contains(page, "| 0.10 cores | 1.00 cores | 10% | 0.20 cores, 20% |") {
		t.Errorf("got %s", page)
	}
	if _, err := Replace("no marks", s); err == nil {
		t.Error("a page without marks is no error")
	}
}

func TestPage_IsOfTheResults(t *testing.T) {
	s, err := Section(filepath.Join("..", "results"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "internals", "scale.md"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := Replace(string(b), s)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != want {
		t.Error("docs/internals/scale.md is not of benchmarks/results/scale.json: run `go run ./cmd/bench project`")
	}
}

func TestAmount(t *testing.T) {
	for want, got := range map[string]string{
		"0.020 cores": amount(0.02, "cores"), "1.00 cores": amount(1, "cores"), "6,753 cores": amount(6753, "cores"),
		"1.25 GB/s": amount(1.25e9, "B/s"), "20.1 MB/s": amount(20.1e6, "B/s"), "1,234,567/s": amount(1234567, "/s"),
		"14/s": amount(14.2, "/s"), "under 0.1%": percent(0.0004), "10%": percent(0.1), "2.4%": percent(0.024),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
