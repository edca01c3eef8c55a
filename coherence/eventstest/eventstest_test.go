package eventstest_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/eventstest"
)

// memory is the suite's Harness over a channel in memory.
func memory(f faulty, barriers bool) eventstest.Harness {
	c := newChannel(3)
	c.faulty, c.drops = f, !barriers
	return eventstest.Harness{
		Events:        func() coherence.EventSource { return &tail{c: c} },
		Publisher:     c,
		NoBarriers:    !barriers,
		Write:         c.write,
		Line:          c.line,
		Lose:          c.remove,
		Recreate:      c.recreate,
		Misconfigured: func() coherence.EventSource { return &tail{c: c, bad: true} },
	}
}

func TestRun_PassesAChannelInMemory(t *testing.T) {
	for _, barriers := range []bool{true, false} {
		t.Run(fmt.Sprint("barriers ", barriers), func(t *testing.T) {
			eventstest.Run(t, func(*testing.T) eventstest.Harness { return memory(faulty{}, barriers) })
		})
	}
}

// recorded notes what a check says. Its context ends with the check.
type recorded struct {
	ctx     context.Context
	mu      sync.Mutex
	faults  []string
	skipped bool
}

func (r *recorded) Helper()                  {}
func (r *recorded) Context() context.Context { return r.ctx }
func (r *recorded) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}
func (r *recorded) Fatalf(format string, args ...any) { r.Errorf(format, args...); runtime.Goexit() }
func (r *recorded) Skipf(string, ...any)              { r.skipped = true; runtime.Goexit() }

// run runs a check by itself.
func run(t *testing.T, c eventstest.Check, h eventstest.Harness) *recorded {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := &recorded{ctx: ctx}
	done := make(chan struct{})
	go func() { defer close(done); c.Run(r, h) }()
	<-done
	return r
}

// plantedFaults are channels that are broken, and the check that notices it.
var plantedFaults = map[string]struct {
	noticedBy string
	faulty    faulty
	joined    bool
}{
	"announces no partitions":         {"Partitions_AreAnnouncedFirst", faulty{unannounced: true}, false},
	"loses an event":                  {"Events_ComeInOrderAndWhole", faulty{lose: true}, false},
	"swaps events":                    {"Events_ComeInOrderAndWhole", faulty{swap: true}, false},
	"begins after its session":        {"Events_AreNotMissedAfterASession", faulty{late: true}, false},
	"does not wait for the sink":      {"Events_WaitForTheSink", faulty{unwaiting: true}, false},
	"goes on behind refusals":         {"Events_ThatTheSinkRefusesCountAsMissed", faulty{unrefused: true}, false},
	"one delivery for all":            {"Followers_DoNotHoldEachOtherUp", faulty{oneForAll: true}, false},
	"counts nothing malformed":        {"Malformed_IsCountedAndPassedOver", faulty{silentMalformed: true}, false},
	"the newest barrier comes first":  {"Barriers_ComeAfterWhatTheyCover", faulty{overtaking: true}, false},
	"barriers do not wait for events": {"Barriers_WaitForASlowSink", faulty{early: true}, false},
	"drops the relay's numbers":       {"Barriers_ShowAMissingNumber", faulty{unnumbered: true}, false},
	"takes anybody's barriers":        {"Barriers_AreNotForged", faulty{forgeable: true}, false},
	"keeps barriers":                  {"Barriers_AreDroppedWhereTheyProveNothing", faulty{keepBarriers: true}, true},
	"believes anybody's numbers":      {"Numbers_OfOthersMeanNothing", faulty{foreignNumbers: true}, false},
	"answers with the next head":      {"Positions_CoverWhatWasAcknowledged", faulty{anyRound: true}, false},
	"answers with the last head":      {"Positions_WaitForTheRelay", faulty{anyHead: true}, false},
	"does not say that it is cut off": {"Interruption_IsToldWithItsReason", faulty{silentLoss: true}, false},
	"says no reason":                  {"Interruption_IsToldWithItsReason", faulty{mute: true}, false},
	"goes on at the end":              {"Interruption_LosesNothing", faulty{skipping: true, unnumbered: true}, false},
	"steps over what was removed":     {"Interruption_WithALossIsNoticed", faulty{over: true, unnumbered: true}, false},
	"takes another for the same":      {"Recreation_IsNoticed", faulty{same: true, unnumbered: true}, false},
	"goes on in another":              {"Recreation_WhileCutOffIsNoticed", faulty{same: true, unnumbered: true}, false},
	"does not say what is wrong":      {"Misconfiguration_IsNamed", faulty{unnamed: true}, false},
	"runs on":                         {"Run_EndsWithItsContext", faulty{deaf: true}, false},
	"does not end in a delivery":      {"Run_EndsDuringADelivery", faulty{deafInTheSink: true}, false},
	"runs once":                       {"Run_MayBeCalledAgain", faulty{once: true}, false},
}

func TestRun_NoticesEachFault(t *testing.T) {
	eventstest.SetPatience(t, 150*time.Millisecond)
	checks := map[string]eventstest.Check{}
	noticed := map[string]bool{}
	for _, c := range eventstest.Checks() {
		checks[c.Name] = c
	}
	for name, fault := range plantedFaults {
		t.Run(name, func(t *testing.T) {
			c, ok := checks[fault.noticedBy]
			if !ok {
				t.Fatalf("there is no check %q", fault.noticedBy)
			}
			noticed[c.Name] = true
			r := run(t, c, memory(fault.faulty, !fault.joined))
			if r.skipped || len(r.faults) == 0 {
				t.Errorf("%s passed (skipped: %v)", c.Name, r.skipped)
			}
			for _, f := range r.faults {
				t.Log(f)
			}
		})
	}
	for name := range checks {
		if !noticed[name] {
			t.Errorf("no broken channel shows that %s notices anything", name)
		}
	}
}
