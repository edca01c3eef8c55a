package suite

import (
	"math"
	"os"
	"strings"
	"testing"
)

func TestRates_OfRedisCountEveryCommandButTheSample(t *testing.T) {
	r := rates{}
	for line := range strings.SplitSeq("# Stats\r\ntotal_net_input_bytes:100\r\ntotal_net_output_bytes:50\r\n"+
		"connected_clients:7\r\ncmdstat_info:calls=3,usec=9\r\ncmdstat_getex:calls=640,usec=1\r\n"+
		"cmdstat_client|tracking:calls=2,usec=1\r\n", "\r\n") {
		r.addRedis(line)
	}
	if r[redisCommands] != 642 || r[redisIn] != 100 || r[redisOut] != 50 || r[redisConnections] != 7 {
		t.Errorf("got %v", r)
	}
	if got := r.busiestCommands(64); got != "GETEX 10" {
		t.Errorf("got the commands %q of an instance, want GETEX 10", got)
	}
}

func TestRates_PerSecondKeepsGauges(t *testing.T) {
	got := rates{redisCommands: 100, redisConnections: 4}.perSecond(
		rates{redisCommands: 300, redisConnections: 5, reads: 10}, 2)
	if got[redisCommands] != 100 || got[redisConnections] != 5 || got[reads] != 5 {
		t.Errorf("got %v", got)
	}
}

func TestScaleWindow_AverageIsOfAllRounds(t *testing.T) {
	var w *scaleWindow
	for i, v := range []float64{1, 2, 6} {
		end := ""
		if i == 1 {
			end = "the second round ended"
		}
		w = w.average(&scaleWindow{rates: rates{reads: v}, end: end})
	}
	if w.rates[reads] != 3 || w.rounds != 3 || w.end != "the second round ended" {
		t.Errorf("got %+v, want 3 in 3 rounds, and the reason", w)
	}
}

// TestScaleCosts computes costs of curves that can be computed in the head: the relay alone uses 100 commands/s, an
// instance 10 idle and 20 while it reads.
func TestScaleCosts(t *testing.T) {
	window := func(r rates, end string) *scaleWindow { return &scaleWindow{rates: r, end: end} }
	curve := scalePoint{kafka: true}
	r := scaleCurves{
		curve: {stateIdle: window(rates{redisCommands: 100, cpuRelay: 0.01}, ""),
			stateWrites: window(rates{redisCommands: 500, cpuRelay: 0.05, written: 200}, "")},
		curve.of(4): {stateIdle: window(rates{redisCommands: 144, cpuInstances: 0.04}, ""),
			stateReading: window(rates{redisCommands: 180, cpuInstances: 0.08, reads: 80, l1Hits: 80}, ""),
			stateWrites:  window(rates{redisCommands: 980, cpuInstances: 0.28, written: 200}, "")},
		curve.of(64): {stateIdle: window(rates{redisCommands: 740, cpuInstances: 0.32}, ""),
			stateReading: window(rates{redisCommands: 1380, cpuInstances: 0.5, reads: 1280, l1Hits: 1280}, ""),
			stateChanged: window(rates{redisCommands: 3380, reads: 1280, l1Hits: 780, pushes: 1000}, "")},
		curve.of(256): {stateIdle: window(rates{redisCommands: 9999}, "the cores are saturated")},
	}
	got := r.costs()
	for name, want := range map[string]float64{
		"idle relay: " + redisCommands:              100,
		"a change: " + redisCommands:                2,
		"a change: " + cpuRelay:                     2e-4,
		"an idle instance: " + redisCommands:        10,   // of 64: the curve ends at 256
		"an idle instance: " + cpuInstances:         0.01, // of 4, which have a process each
		"a reading instance: " + redisCommands:      20,
		"a change for an instance: " + cpuInstances: (0.07 - 0.02) / 200,
		"a fetch: " + redisCommands:                 4,
		"a fetch: " + pushes:                        2,
	} {
		if v, ok := got["both channels, "+name]; !ok || math.Abs(v-want) > 1e-12 {
			t.Errorf("%s: got %v (%t), want %v", name, v, ok, want)
		}
	}
	if v, ok := got["Redis alone, idle relay: "+redisCommands]; ok {
		t.Errorf("got %v for a relay that was not measured", v)
	}
}

func TestProcessClock_CountsTheTimeOfAProcess(t *testing.T) {
	before, err := processClock(os.Getpid())
	if err != nil {
		t.Skip(err)
	}
	sum := 0.0
	for range 1_000_000 {
		sum += math.Sqrt(sum + 1)
	}
	after, err := treeClock(os.Getpid())
	if err != nil || after <= before || sum == 0 {
		t.Errorf("got %v and then %v (%v), want more", before, after, err)
	}
	if _, err := processClock(1 << 23); err == nil {
		t.Error("a process that does not exist has a clock")
	}
}
