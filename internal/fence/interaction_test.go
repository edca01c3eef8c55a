package fence_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/explore"
	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

var rewrite = flag.Bool("rewrite", false, "TestInteraction: write what the scripts print into testdata")

// TestInteraction plays the scripts in testdata. Each is an interleaving of the package documentation: a command a
// line, and below "----" what it prints, up to an empty line. The fences are real; Redis is internal/explore's twin of
// the scripts.
func TestInteraction(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(string(b))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(b); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// play is the script with what its commands print now.
func play(script string) string {
	s := &stage{
		key:       l2.NewKeyspace("").Key("product", "42"),
		replica:   explore.L2{Watermark: 1, WatermarkIncarnation: 1},
		drawn:     1,
		processes: map[string]*process{},
	}
	s.redis = s.replica
	var out strings.Builder
	skip := false
	for _, line := range strings.Split(strings.TrimRight(script, "\n"), "\n") {
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			skip = false
			fmt.Fprintln(&out, line)
		case line == "----":
			skip = true
		case !skip:
			fmt.Fprintf(&out, "%s\n----\n%s\n", line, s.do(strings.Fields(line)))
		}
	}
	return out.String()
}

// stage is what the processes share: a source, whose commits are versions of one key, a Redis with a replica, and a
// relay.
type stage struct {
	key            l2.Key
	clock          int64
	committed      uint8
	redis, replica explore.L2
	holder         *process // of the lease that stands
	drawn          uint8    // incarnations so far
	processes      map[string]*process
}

// process is an instance with one load under way at most.
type process struct {
	*fence.Fence
	stage       *stage
	tracked     bool
	pushed      bool
	snapshot    fence.Snapshot
	read        l2.Watermark // by the load
	record      uint8        // version+1 that the load has; 0: none
	incarnation uint8        // of the record, as it was read
	leased      uint8        // the incarnation of its lease
	entry       *fence.Stamp // of L1
	value       uint8        // of L1
}

func (s *stage) do(words []string) string {
	s.clock++
	who, what := words[0], strings.Join(words[1:], " ")
	switch who {
	case "source":
		s.committed++
		return fmt.Sprintf("version %d", s.committed)
	case "relay":
		return s.relay(what)
	case "redis":
		return s.fault(what)
	}
	p := s.processes[who]
	if p == nil {
		p = &process{stage: s, Fence: fence.New(fence.Config{Now: func() int64 { return s.clock }, Complete: true})}
		s.processes[who] = p
	}
	return p.do(what)
}

// relay applies what the source has committed, or begins a new incarnation where there is no watermark.
func (s *stage) relay(what string) string {
	if s.redis.Watermark == 0 {
		s.drawn++
		s.redis.Reset(0, 0, 0, s.committed, s.drawn)
		return fmt.Sprintf("the bucket begins incarnation %d at position %d", s.drawn, s.committed)
	}
	from := s.redis.Watermark - 1
	for v := from + 1; v <= s.committed; v++ {
		at := explore.Mark{Incarnation: s.redis.WatermarkIncarnation, Position: v - 1}
		to := at
		to.Position = v
		changed, _ := s.redis.Batch(at, to, v)
		s.changed(changed)
	}
	return fmt.Sprintf("L2 moves from position %d to %d; %s", from, s.redis.Watermark-1, s.inL2())
}

func (s *stage) fault(what string) string {
	switch what {
	case "replicates":
		s.replica = s.redis
	case "fails over":
		s.redis, s.holder = s.replica, nil
		for _, p := range s.processes {
			p.tracked, p.pushed = false, false
		}
	case "evicts the watermark":
		s.redis.EvictWatermark()
	default:
		return "unknown command"
	}
	return s.inL2()
}

// changed pushes a change of the record to whoever tracks it, and forgets a lease that is gone.
func (s *stage) changed(changed bool) {
	for _, p := range s.processes {
		if changed && p.tracked {
			p.tracked, p.pushed = false, true
		}
	}
	if s.redis.Lease == 0 {
		s.holder = nil
	}
}

func (s *stage) inL2() string {
	if s.redis.Record == 0 {
		return "L2 has no record"
	}
	return fmt.Sprintf("L2 has version %d", s.redis.Record-1)
}

func (s *stage) watermark() (w l2.Watermark) {
	if s.redis.Watermark > 0 {
		w = l2.Watermark{
			Incarnation: l2.Incarnation{s.redis.WatermarkIncarnation},
			Position:    at(uint64(s.redis.Watermark - 1)),
		}
	}
	return w
}

func (p *process) do(what string) string {
	s := p.stage
	switch what {
	case "dials":
		p.RedisSession()
		p.pushed = false
		return "a new session"
	case "heartbeat":
		h := p.BeginHeartbeat()
		p.Watermark(&h, s.key.Bucket, s.watermark())
		return describe(s.watermark())
	case "samples":
		p.EndSample(p.BeginSample(), at(uint64(s.committed)))
		return fmt.Sprintf("position %d at step %d", s.committed, s.clock)
	case "takes the push":
		if !p.pushed {
			return "nothing was pushed"
		}
		p.pushed = false
		p.Changed(s.key.Hash)
		return "the generation is bumped"
	case "follows the events":
		p.EventPartitions(1)
		p.EventSession(0)
		return "a new session"
	case "takes the event":
		p.Event(s.key, coherence.Version(s.committed), at(uint64(s.committed)))
		return fmt.Sprintf("min version %d", p.MinVersion(s.key))
	case "writes":
		s.committed++
		p.Written(s.key, coherence.Version(s.committed))
		s.changed(s.redis.Apply(s.committed, false))
		return fmt.Sprintf("version %d; %s", s.committed, s.inL2())
	case "reads L1":
		return p.hit()
	}
	return p.load(what)
}

func describe(w l2.Watermark) string {
	if w.IsZero() {
		return "no watermark"
	}
	return fmt.Sprintf("watermark %d, incarnation %d", w.Position.N, w.Incarnation[0])
}

// load is a step of a read that L1 has not served.
func (p *process) load(what string) string {
	s := p.stage
	switch what {
	case "begins":
		p.snapshot = p.Begin(s.key)
		return fmt.Sprintf("watermark known: %v", p.snapshot.WatermarkKnown)
	case "reads L2":
		p.read, p.record, p.incarnation, p.tracked = s.watermark(), s.redis.Record, s.redis.RecordIncarnation, true
		return s.inL2()
	case "judges L2":
		return p.judgeL2()
	case "acquires":
		status := s.redis.Acquire(false)
		if status != explore.Granted {
			return "no lease"
		}
		s.holder, p.leased = p, s.redis.Incarnation()
		return "granted"
	case "loads":
		p.snapshot = p.Begin(s.key)
		p.record = s.committed + 1
		return fmt.Sprintf("version %d", s.committed)
	case "fills":
		return p.fill()
	}
	return "unknown command"
}

func (p *process) judgeL2() string {
	if !p.snapshot.WatermarkKnown {
		p.Learn(&p.snapshot, p.read)
	}
	switch {
	case p.record == 0:
		return "a miss"
	case l2.Incarnation{p.incarnation} != p.snapshot.Incarnation():
		return "a miss: the record is of another incarnation"
	}
	var stamp fence.Stamp
	outcome, admit := p.FromL2(&p.snapshot, coherence.Version(p.record-1), &stamp)
	return p.end(outcome, admit, &stamp)
}

// fill offers the loaded value to L2, and judges it for this process.
func (p *process) fill() string {
	s := p.stage
	changed := s.redis.Fill(s.holder == p, p.leased, p.record-1)
	s.changed(changed)
	result := "L2 refuses it"
	if changed {
		result = "L2 takes it"
	}
	var stamp fence.Stamp
	outcome, admit := p.FromSource(&p.snapshot, coherence.Version(p.record-1), &stamp)
	return result + "; " + p.end(outcome, admit && !changed, &stamp) // a load that fills does not admit
}

func (p *process) end(outcome fence.Outcome, admit bool, stamp *fence.Stamp) string {
	if outcome != fence.Serve {
		return fmt.Sprintf("version %d is not served: %v", p.record-1, outcome)
	}
	served := fmt.Sprintf("version %d is served", p.record-1)
	if moment := stamp.LoadedAsOf(); moment > 0 {
		served += fmt.Sprintf(" as of step %d", moment)
	}
	if !admit {
		return served + ", and L1 does not take it"
	}
	p.entry, p.value = stamp, p.record-1
	return served + ", and L1 takes it"
}

func (p *process) hit() string {
	if p.entry == nil {
		return "L1 has no entry"
	}
	asOf := p.entry.AsOf(p.Fence)
	verdict := [...]string{"current", "invalidated", "collided", "unvouched"}[p.entry.Check(p.Fence)]
	if verdict == "current" && asOf > 0 {
		verdict += fmt.Sprintf(", as of step %d", asOf)
	}
	return fmt.Sprintf("version %d is %s", p.value, verdict)
}
