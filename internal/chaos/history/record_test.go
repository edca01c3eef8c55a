//go:build unix

package history_test

import (
	"os"
	"path/filepath"
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
	read := history.Record{Invoke: 1 << 60, Return: 1<<60 + 1, Version: 1 << 63, Hash: 5, Bound: 6, Param: 7, Staleness: -8, Age: 9, Key: 1 << 31,
		Process: 3, Op: history.ServeStale, Tier: history.L2, Flags: history.Absent | history.Unknown}
	l.Append(&read)
	l.AppendNow(&history.Record{Op: history.Begin, Key: 1, Hash: 70, Invoke: 10})
	l.AppendNow(&history.Record{Op: history.Begin, Key: 2, Hash: 71, Invoke: 11})
	l.AppendNow(&history.Record{Op: history.End, Key: 1, Hash: 70, Invoke: 10, Return: 20, Version: 4})
	l.Append(&history.Record{Op: history.Told, Key: 1, Hash: 70, Return: 25})
	l.Append(&history.Record{Op: history.Gate, Invoke: 30, Staleness: 12})
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
	want := &history.History{Reads: []history.Record{read}, Looks: map[uint16][]history.Look{3: {{At: 30, Staleness: 12}}}, Instances: map[uint16]uint16{3: 1},
		Writes: []history.Write{{Key: 1, Process: 3, Number: 70, Invoke: 10, Return: 20, Told: 25, Version: 4},
			{Key: 2, Process: 3, Number: 71, Invoke: 11, Return: history.Forever, Told: history.Forever}}}
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
