//go:build unix

package history

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sort"
	"time"
)

// Commit is a state that the database has committed, as its trigger wrote it down.
type Commit struct {
	Key     uint32
	Version uint64
	Hash    uint64 // of the value; 0 for a deletion
	Deleted bool
	Write   uint64 // the number of the write that made it, 0 for one from before the run
	// Uncounted says that the commit counted no version, because nothing of nearcache ran in its transaction. Version
	// is the one that stood at the time.
	Uncounted bool
}

// Forever is the time of what did not happen.
const Forever = math.MaxInt64

// Write is a write as its process saw it.
type Write struct {
	Key         uint32
	Process     uint16
	Number      uint64
	Invoke      int64
	Return      int64  // when its transaction was acknowledged; Forever: it was not, or its outcome is not known
	Invalidated int64  // when its process had invalidated what it could; Forever: it had not
	Version     uint64 // as returned to the writer, 0 if it was not
	Failed      bool   // it said that it certainly changed nothing
}

// Window is a stretch of time in which a fault was at work.
type Window struct {
	Fault     string
	From      int64 // the fault was injected
	Healed    int64
	Recovered int64 // every instance proved the bound again
	// Patience is how long recovery may take where the fault left much to do. Zero: as long as after any other.
	Patience time.Duration
	// Congested says that the fault slows connections that carry much. The questions of Ask have connections of their
	// own, so their answers do not show it: such a fault explains waiting by itself.
	Congested bool
}

// Look is one look at what a process can prove: everything known before At-Staleness is in what it serves.
type Look struct {
	At        int64
	Staleness time.Duration // negative: nothing is proved
}

// History is what happened in a run.
type History struct {
	Reads   []Record
	Writes  []Write
	Commits []Commit
	Looks   map[uint16][]Look // by process, in order of time
	Windows []Window          // in order of time, without overlap
	Losses  []Loss
	// Instances is, by process, the instance that it ran.
	Instances map[uint16]uint16
	// Answers are, by process, its questions to Redis and to the source that serve to know whether they answer.
	Answers map[uint16][]Answer
	// Waiting says how long reads may take.
	Waiting Waiting
	// Skew is how far apart two processes' clocks may be.
	Skew time.Duration
	// Bound is the Δ of the run.
	Bound time.Duration
}

// ReadDir reads the files *.hist of a directory.
func ReadDir(dir string) (*History, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.hist"))
	if err != nil {
		return nil, err
	}
	h := &History{Looks: map[uint16][]Look{}, Answers: map[uint16][]Answer{}, Instances: map[uint16]uint16{}}
	size := int64(0)
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, fmt.Errorf("history: %w", err)
		}
		size += info.Size()
	}
	h.Reads = make([]Record, 0, size/recordSize) // there are millions: growing would take several times the memory
	for _, p := range paths {
		head, err := h.addFile(p)
		if err != nil {
			return nil, err
		}
		if _, twice := h.Instances[head.Process]; twice {
			return nil, fmt.Errorf("history: %s: a second file of process %d", p, head.Process)
		}
		h.Instances[head.Process] = head.Instance
		h.Skew = max(h.Skew, 2*head.ClockError)
	}
	return h, nil
}

func (h *History) addFile(path string) (Header, error) {
	begun := map[uint64]int{} // a write's number to its place in Writes
	head, err := ReadFile(path, func(r Record) {
		switch r.Op {
		case Begin:
			begun[r.Hash] = len(h.Writes)
			h.Writes = append(h.Writes, Write{Key: r.Key, Process: r.Process, Number: r.Hash, Invoke: r.Invoke, Return: Forever,
				Invalidated: Forever})
		case End:
			i, ok := begun[r.Hash]
			if !ok {
				return
			}
			if w := &h.Writes[i]; r.Flags&Failed != 0 {
				w.Failed = true
			} else if r.Flags&Unknown == 0 {
				w.Return, w.Version = r.Return, r.Version
			}
		case Invalidated:
			if i, ok := begun[r.Hash]; ok {
				h.Writes[i].Invalidated = r.Return
			}
		case Gate:
			h.Looks[r.Process] = append(h.Looks[r.Process], Look{At: r.Invoke, Staleness: r.Staleness})
		case Ask:
			h.Answers[r.Process] = append(h.Answers[r.Process],
				Answer{Process: r.Process, Invoke: r.Invoke, Return: r.Return, Failed: r.Flags&Failed != 0})
		default:
			h.Reads = append(h.Reads, r)
		}
	})
	if err != nil {
		return head, err
	}
	looks := h.Looks[head.Process]
	answers := h.Answers[head.Process]
	sort.SliceStable(answers, func(i, j int) bool { return answers[i].Invoke < answers[j].Invoke })
	sort.SliceStable(looks, func(i, j int) bool { return looks[i].At < looks[j].At })
	return head, nil
}
