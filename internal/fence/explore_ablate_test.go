//go:build ablate

package fence

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/nearcache/nearcache-go/internal/ablate"
)

// ablations are the rules that the explorer must miss: without each, the guarantee breaks in the scope, and with it, it
// holds there.
var ablations = []struct {
	rule      ablate.Rule
	guarantee string
	scope     scope
}{
	{ablate.FillNeedsLease, "C2", scope{versions: 1, loads: 1, sourced: true}},
	{ablate.ApplyDropsLease, "C2", scope{versions: 1, loads: 1, sourced: true}},
	{ablate.SetDropsLease, "C2", scope{versions: 1, loads: 1, olderSchema: true}},
	{ablate.SetOverValue, "C5", scope{versions: 2, loads: 1, deleted: 4}},
	{ablate.SetSameIncarnation, "C1", scope{versions: 2, loads: 1, sourced: true, evictions: 1}},
	{ablate.WriteIntent, "C2", scope{versions: 1, loads: 1, unversioned: true, intents: true}},
	{ablate.RestoreUndoubted, "C2", scope{versions: 2, loads: 1, intents: true}},
	{ablate.WriteBumpsAfter, "C2", scope{versions: 1, loads: 1, unversioned: true}},
	{ablate.NewIncarnation, "C1", scope{versions: 2, loads: 1, sourced: true, evictions: 1}},
	{ablate.FillSameIncarnation, "C1", scope{versions: 1, loads: 1, sourced: true, evictions: 1}},
	{ablate.ReadSameIncarnation, "C1", scope{versions: 1, loads: 1, sourced: true, evictions: 1}},
	{ablate.ServerHistory, "C2", scope{versions: 1, loads: 1, unversioned: true, histories: true, failOvers: 1}},
	{ablate.HistoryInSession, "C2", scope{versions: 1, loads: 1, unversioned: true, histories: true, failOvers: 1}},
	{ablate.IncarnationSession, "C1", scope{versions: 1, loads: 1, sourced: true, evictions: 1}},
	{ablate.BatchFrom, "C1", scope{versions: 1, loads: 1, sourced: true, failOvers: 1}},
	{ablate.BatchPart, "C1", scope{versions: 1, loads: 1, sourced: true, pieces: true, failOvers: 1}},
	{ablate.BatchInOneStep, "C1", scope{versions: 1, loads: 1, sourced: true}},
	{ablate.RoundBegunFirst, "C1", scope{versions: 1, loads: 1, sourced: true, rounds: 2}},
	{ablate.RoundOnce, "C1", scope{versions: 1, loads: 1, sourced: true, rounds: 2, relays: 2}},
	{ablate.RoundToken, "C1", scope{versions: 1, loads: 1, sourced: true, rounds: 2, relays: 2, failOvers: 1}},
	{ablate.RoundDigest, "C1", scope{versions: 1, sourced: true, rounds: 2, relays: 2, evictions: 1, warm: true}},
	{ablate.RoundAfterNext, "C1", scope{versions: 1, loads: 1, sourced: true, rounds: 2}},
	{ablate.RoundSession, "C1", scope{versions: 1, loads: 1, sourced: true, rounds: 2, failOvers: 1, isolation: true}},
	{ablate.RoundHead, "C1", scope{versions: 1, loads: 1, sourced: true, rounds: 2, openTransactions: true}},
	{ablate.RoundIncarnations, "C1", scope{versions: 1, loads: 1, sourced: true, rounds: 1, evictions: 1}},
	{ablate.RoundServer, "C1", scope{versions: 1, loads: 1, sourced: true, rounds: 1, clustered: true, failOvers: 1}},
	{ablate.RoundFollows, "C1", scope{versions: 1, loads: 1, sourced: true, rounds: 1, clustered: true, failOvers: 1,
		goesBack: true}},
	{ablate.RoundBuckets, "C1", scope{versions: 1, loads: 1, sourced: true, rounds: 2, clustered: true, failOvers: 1}},
	{ablate.SnapshotGuard, "C1", scope{versions: 1, loads: 1, sourced: true, durableFirst: true}},
	{ablate.Generation, "C2", scope{versions: 1, loads: 1, sourced: true, events: true, forgetMinVersions: true}},
	{ablate.RecentBumps, "C2", scope{versions: 1, loads: 1, sourced: true, events: true, forgetMinVersions: true}},
	{ablate.MinVersion, "C3", scope{versions: 1, loads: 1, sourced: true, lostConnections: 1}},
	{ablate.ServeBumps, "C3", scope{versions: 1, loads: 2, sourced: true}},
	{
		ablate.RequiredWatermark,
		"C3",
		scope{versions: 1, loads: 1, sourced: true, forgetMinVersions: true, lostConnections: 1},
	},
	{
		ablate.RequiredWatermarkSample,
		"C3",
		scope{versions: 1, loads: 1, sourced: true, forgetMinVersions: true, lostConnections: 1},
	},
	{ablate.WatermarkFirst, "C1", scope{versions: 1, loads: 1, sourced: true, failOvers: 1}},
	{ablate.RedisSession, "C1", scope{versions: 1, loads: 1, sourced: true, lostConnections: 1}},
	{ablate.RedisSessionWatermark, "C1", scope{versions: 1, loads: 1, sourced: true, failOvers: 1}},
	{ablate.DialIsSession, "C1", scope{versions: 1, loads: 1, sourced: true, lostConnections: 1}},
	{ablate.NilIsSession, "C6", scope{versions: 1, loads: 1, evictions: 1}},
	{ablate.EventSession, "C1", scope{versions: 1, loads: 1, sourced: true, events: true, gaps: 1}},
	{ablate.SessionBase, "C1", scope{versions: 1, loads: 1, sourced: true, events: true, gaps: 1}},
	{ablate.GapIsSession, "C1", scope{versions: 1, loads: 1, sourced: true, events: true, gaps: 1}},
	{ablate.TimelineSession, "C1", scope{versions: 2, loads: 1, sourced: true, promotions: 1, events: true}},
	{ablate.TimelineKnown, "C1", scope{versions: 2, loads: 1, sourced: true, promotions: 1, events: true}},
	{ablate.WatermarkWithRecord, "C1", scope{versions: 1, loads: 1, sourced: true, untracked: true, failOvers: 1}},
	{ablate.UntrackedUnvouched, "C6", scope{versions: 1, loads: 1, sourced: true, untracked: true, events: true}},
	{ablate.AdmitFromTracking, "C6", scope{versions: 1, loads: 1, sourced: true}},
	{ablate.ClockBeforeSample, "C1", scope{versions: 1, loads: 1, sourced: true, samplesInSteps: true}},
	{ablate.ClockBeforeLoad, "C1", scope{versions: 1, loads: 1, sourced: true}},
	{ablate.AsOfBeforeCheck, "C1", scope{versions: 1, loads: 2, sourced: true, bounded: true, hitsInSteps: true}},
	{ablate.BarrierPartitions, "C1", scope{versions: 1, loads: 1, sourced: true, events: true, partitions: 2}},
	{ablate.FlightStillStands, "C3", scope{versions: 1, loads: 2, sourced: true, joins: true}},
	{ablate.FreshNeverJoins, "C1", scope{versions: 1, loads: 1, sourced: true, joins: true}},
}

// elsewhere are the rules that it cannot miss, and which test does.
var elsewhere = map[ablate.Rule]string{
	ablate.ClockOnRead:   "nearcache: TestAblation_ClockOnRead",          // there is no time here
	ablate.LeaseEndWakes: "nearcache: TestAblation_LeaseEndWakes",        // there are no waits here
	ablate.OutboxMark:    "coherence/mysql: TestChanges_WithoutItsRules", // it is of one source
	ablate.MarkSecond:    "coherence/kafka: TestAblations_Position",
	ablate.MarkEpoch:     "coherence/kafka: TestAblations_Position",
	ablate.MarkRecord:    "coherence/kafka: TestAblations_Position",
	ablate.MarkWhole:     "coherence/kafka: TestAblations_Position",
	ablate.AskBefore:     "coherence/nats: TestAblations_Position",
	ablate.AskNext:       "coherence/nats: TestAblations_Position",
	ablate.AskTerm:       "coherence/nats: TestAblations_Position",

	ablate.NumberAhead:    "coherence/internal/tailing: TestAblations_Numbers",
	ablate.NumberTimeline: "coherence/internal/tailing: TestAblations_Numbers",
	ablate.NumberGarbled:  "coherence/internal/tailing: TestAblations_Numbers",

	ablate.CopyLeaseFirst:  "internal/copier: TestAblations_Copy",
	ablate.CopyProof:       "internal/copier: TestAblations_Copy",
	ablate.CopyIncarnation: "internal/copier: TestAblations_Copy",
	ablate.CopyVersion:     "internal/copier: TestAblations_Copy",
}

func TestAblations(t *testing.T) {
	for _, a := range ablations {
		t.Run(string(a.rule), func(t *testing.T) {
			if err := ablate.Take(a.rule); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ablate.Take("") }()
			a.scope.guarantee, a.scope.limit = a.guarantee, 4_000_000
			r := search(a.scope)
			if r.Violation == "" {
				t.Fatalf("without it %s holds, in %d states; want it broken", a.guarantee, r.States)
			}
			t.Logf("without it, after %d steps and %d states: %s", len(r.Trace), r.States, violation(&r))
		})
	}
}

// TestAblations_NameEveryRule: a rule without a test that misses it is untested or not needed.
func TestAblations_NameEveryRule(t *testing.T) {
	named := make(map[ablate.Rule]bool)
	for _, a := range ablations {
		named[a.rule] = true
	}
	for rule := range elsewhere {
		if named[rule] {
			t.Errorf("%s is named twice", rule)
		}
		named[rule] = true
	}
	f, err := parser.ParseFile(token.NewFileSet(), "../ablate/rules.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	rules := 0
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Error(err)
		}
		rules++
		if !named[ablate.Rule(value)] {
			t.Errorf("no test is named that misses the rule %q", value)
		}
		return false
	})
	if rules != len(named) {
		t.Errorf("%d rules, %d named", rules, len(named))
	}
}
