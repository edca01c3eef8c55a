//go:build unix

package history

import (
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// Linear is what porcupine says about Fresh reads and writes.
type Linear struct {
	Keys       int // looked at
	Operations int
	Illegal    []uint32 // keys whose operations have no order that explains them
	Undecided  int      // keys for which time ran out
}

// The sample: porcupine's search is exponential where many operations overlap.
const (
	linearKeys    = 64
	linearOps     = 4000 // of one key
	linearTimeout = 20 * time.Second
)

// linearModel is a register that counts its writes: the version that a commit got says which write it was.
var linearModel = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		if write := input.(uint64); write > 0 {
			return write == state.(uint64)+1 || state.(uint64) == 0, write
		}
		return output.(uint64) == state.(uint64), state
	},
	Equal: func(a, b any) bool { return a == b },
}

// linearizable looks at the keys with the most Fresh reads that are not over the limit.
func (h *History) linearizable() (l Linear) {
	ops := h.freshOperations()
	keys := make([]uint32, 0, len(ops))
	for k := range ops {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b uint32) int {
		if d := len(ops[b]) - len(ops[a]); d != 0 {
			return d
		}
		return int(a) - int(b)
	})
	end := time.Now().Add(linearTimeout)
	for _, k := range keys {
		left := time.Until(end)
		if l.Keys == linearKeys || left <= 0 {
			break
		}
		if len(ops[k]) > linearOps {
			continue
		}
		l.Keys++
		l.Operations += len(ops[k])
		switch porcupine.CheckOperationsTimeout(linearModel, ops[k], left) {
		case porcupine.Illegal:
			l.Illegal = append(l.Illegal, k)
		case porcupine.Unknown:
			l.Undecided++
		}
	}
	return l
}

// freshOperations are the committed writes and the Fresh reads of each key that has any, without what was lost. A write
// whose outcome its client did not learn returned at the end of time, if it committed, and did not happen otherwise.
func (h *History) freshOperations() map[uint32][]porcupine.Operation {
	out, lost := make(map[uint32][]porcupine.Operation), h.losses()
	for i := range h.Reads {
		r := &h.Reads[i]
		if _, gone := lost.kept(r, int64(h.Skew)); r.Op == Fresh && r.sawVersion() && !gone {
			out[r.Key] = append(out[r.Key],
				porcupine.Operation{ClientId: int(r.Process), Input: uint64(0), Output: r.Version, Call: r.Invoke,
					Return: r.Return})
		}
	}
	writes := make(map[uint64]*Write, len(h.Writes))
	for i := range h.Writes {
		writes[h.Writes[i].Number] = &h.Writes[i]
	}
	for _, c := range h.Commits {
		if _, fresh := out[c.Key]; !fresh || c.Uncounted {
			continue
		}
		op := porcupine.Operation{Input: c.Version, Output: uint64(0), Call: math.MinInt64 / 2, Return: math.MinInt64/2 + 1}
		if w := writes[c.Write]; w != nil {
			op.ClientId, op.Call, op.Return = int(w.Process), w.Invoke, w.Return
		}
		out[c.Key] = append(out[c.Key], op)
	}
	return out
}
