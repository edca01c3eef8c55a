//go:build unix

package history

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// truthFile keeps, beside the histories, what does not come from them, so that they can be judged again.
const truthFile = "truth.json"

// Truth is what the database and the controller say of a run.
type Truth struct {
	Commits []Commit
	Windows []Window
	Losses  []Loss
	Bound   time.Duration
	Waiting Waiting
}

// Save writes the truth into the directory of the histories.
func (t Truth) Save(dir string) error {
	b, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, truthFile), b, 0o600); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	return nil
}

// Load reads histories and truth.
func Load(dir string) (*History, error) {
	b, err := os.ReadFile(filepath.Join(dir, truthFile))
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	var t Truth
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, fmt.Errorf("history: %s: %w", truthFile, err)
	}
	h, err := ReadDir(dir)
	if err != nil {
		return nil, err
	}
	h.Commits, h.Windows, h.Losses, h.Bound, h.Waiting = t.Commits, t.Windows, t.Losses, t.Bound, t.Waiting
	return h, nil
}

// Timeline writes what happened to a violation's key around it, a line each, by time in milliseconds before and after
// the read began: the key's writes, and the reads of all processes, those that saw the same as the one before left
// out.
func (h *History) Timeline(w io.Writer, v Violation, around time.Duration) {
	type line struct {
		at   int64
		text string
	}
	var lines []line
	near := func(t int64) bool { return t > v.Read.Invoke-int64(around) && t < v.Read.Invoke+int64(around) }
	ms := func(t int64) float64 { return float64(t-v.Read.Invoke) / 1e6 }
	for i := range h.Writes {
		wr := &h.Writes[i]
		if wr.Key != v.Read.Key || !near(wr.Invoke) {
			continue
		}
		end := "never acknowledged"
		if wr.Return != Forever {
			end = fmt.Sprintf("acknowledged %+.3f", ms(wr.Return))
		}
		lines = append(lines, line{wr.Invoke,
			fmt.Sprintf("write %x of version %d by process %d, %s", wr.Number, wr.Version, wr.Process, end)})
	}
	type seen struct {
		version uint64
		tier    Tier
		flags   Flags
	}
	last := map[uint16]seen{}
	reads := slices.Clone(h.Reads)
	reads = slices.DeleteFunc(reads, func(r Record) bool { return r.Key != v.Read.Key || !near(r.Invoke) })
	slices.SortFunc(reads, func(a, b Record) int { return cmp.Compare(a.Invoke, b.Invoke) })
	for i := range reads {
		r := &reads[i]
		now := seen{r.Version, r.Tier, r.Flags}
		if *r != v.Read && last[r.Process] == now {
			continue
		}
		last[r.Process] = now
		mark := ""
		if *r == v.Read {
			mark = "   <-- " + v.Guarantee.String()
		}
		lines = append(lines, line{r.Invoke,
			fmt.Sprintf("process %d (instance %d): %v read from %v until %+.3f: version %d, flags %b, claims %v, age %v%s",
				r.Process,
				h.Instances[r.Process], r.Op, r.Tier, ms(r.Return), r.Version, r.Flags, r.Staleness, r.Age, mark)})
	}
	slices.SortFunc(lines, func(a, b line) int { return cmp.Compare(a.at, b.at) })
	fmt.Fprintf(w, "%v\n", v)
	for _, win := range h.Windows {
		if near(win.From) || near(win.Healed) || win.From < v.Read.Invoke && win.Recovered > v.Read.Invoke {
			fmt.Fprintf(w, "  %s: from %+.3f, healed %+.3f, recovered %+.3f\n", win.Fault, ms(win.From), ms(win.Healed),
				ms(win.Recovered))
		}
	}
	for _, l := range lines {
		fmt.Fprintf(w, "  %+12.3f %s\n", ms(l.at), l.text)
	}
}
