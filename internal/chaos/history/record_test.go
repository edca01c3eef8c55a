//go:build unix

package history_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nearcache/nearcache-go/internal/chaos/history"
)

func TestLog_KeepsEveryField(t *testing.T) {
	dir := t.TempDir()
	l, err := history.Create(filepath.Join(dir, "3.hist"), history.Header{Process: 3, Instance: 1})
	if err != nil {
		t.Fatal(err)
	}
	read := history.Record{Invoke: 1 << 60, Return: 1<<60 + 1, Version: 1 << 63, Hash: 5, Bound: 6, Param: 7,
		Staleness: -8, Age: 9, Key: 1 << 31,
		Process: 3, Op: history.ServeStale, Tier: history.L2, Flags: history.Absent | history.Unknown}
	l.Append(&read)
	l.AppendNow(&history.Record{Op: history.Begin, Key: 1, Hash: 70, Invoke: 10})
	l.AppendNow(&history.Record{Op: history.Begin, Key: 2, Hash: 71, Invoke: 11})
	l.AppendNow(&history.Record{Op: history.End, Key: 1, Hash: 70, Invoke: 10, Return: 20, Version: 4})
	l.Append(&history.Record{Op: history.Invalidated, Key: 1, Hash: 70, Return: 25})
	l.Append(&history.Record{Op: history.Gate, Invoke: 30, Staleness: 12})
	l.Append(&history.Record{Op: history.Ask, Invoke: 41, Return: 44, Flags: history.Failed})
	l.Append(&history.Record{Op: history.Ask, Invoke: 40, Return: 42})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	h, err := history.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if h.Skew <= 0 || h.Skew > time.Millisecond {
		t.Errorf("skew %v", h.Skew)
	}
	h.Skew = 0
	want := &history.History{Reads: []history.Record{read},
		Looks: map[uint16][]history.Look{3: {{At: 30, Staleness: 12}}}, Instances: map[uint16]uint16{3: 1},
		Answers: map[uint16][]history.Answer{3: {{Process: 3, Invoke: 40, Return: 42},
			{Process: 3, Invoke: 41, Return: 44, Failed: true}}},
		Writes: []history.Write{{Key: 1, Process: 3, Number: 70, Invoke: 10, Return: 20, Invalidated: 25, Version: 4},
			{Key: 2, Process: 3, Number: 71, Invoke: 11, Return: history.Forever, Invalidated: history.Forever}}}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestReadDir_TakesAFileThatWasCutOff(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "1.hist")
	l, err := history.Create(path, history.Header{Process: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l.Append(&history.Record{Op: history.Plain})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole[:len(whole)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := history.ReadDir(dir)
	if err != nil || len(h.Reads) != 2 {
		t.Errorf("%d reads, %v; want the 2 that are whole", len(h.Reads), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "2.hist"), []byte("something else entirely"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := history.ReadDir(dir); err == nil {
		t.Error("a file that is no history is taken for one")
	}
}

func TestClock_IsOneForAll(t *testing.T) {
	a, b := history.NewClock(), history.NewClock()
	x, y, z := a.Now(), b.Now(), a.Now()
	slack := int64(a.Error + b.Error)
	if x > y+slack || y > z+slack {
		t.Errorf("%d, %d, %d are out of order by more than %d", x, y, z, slack)
	}
}

func TestTimeline_TellsWhatHappened(t *testing.T) {
	s := newScript().writes(9, 1000, 1010).reads(1, 1011, 1012, 2).reads(2, 1011, 1012, 1).reads(2, 1020, 1021,
		1).reads(1, 1013, 1014, 1)
	s.h.Windows = []history.Window{{Fault: "cable", From: at(1005), Healed: at(1009), Recovered: at(1300)}}
	dir := t.TempDir()
	if err := (history.Truth{Commits: s.h.Commits, Windows: s.h.Windows, Bound: s.h.Bound}).Save(dir); err != nil {
		t.Fatal(err)
	}
	h, err := history.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.h.Commits, h.Commits); diff != "" || h.Windows[0] != s.h.Windows[0] || h.Bound != s.h.Bound {
		t.Errorf("the truth comes back as %+v", h)
	}
	r, err := history.Judge(&s.h)
	if err != nil || len(r.Violations) != 1 {
		t.Fatalf("%v, %v; want one violation", r, err)
	}
	var b strings.Builder
	s.h.Timeline(&b, r.Violations[0], ms(100))
	for _, want := range []string{"cable: from -8.000", "write 2 of version 2 by process 9, acknowledged -3.000",
		"<-- C3"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if n := strings.Count(b.String(), "process 2 (instance 2)"); n != 1 {
		t.Errorf("process 2 is told of %d times, and it saw the same twice:\n%s", n, b.String())
	}
}
