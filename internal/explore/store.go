package explore

import "math/bits"

// chunk is how many states are allocated at a time.
const chunk = 1 << 16

// store holds packed states in the order found, each once, with the number of the state it was found from.
type store struct {
	words  int
	data   [][]uint64
	parent [][]uint32
	table  []uint64 // open addressing: half a hash, and the state's number + 1
	n      int
}

func (t *store) at(i int) (s State) {
	copy(s[:t.words], t.data[i/chunk][i%chunk*t.words:])
	return s
}

func (t *store) from(i int) int { return int(t.parent[i/chunk][i%chunk]) }

// add reports nothing of a state that is there already.
func (t *store) add(s *State, parent int) {
	if t.n*4 >= len(t.table)*3 {
		t.grow()
	}
	h, mask := t.hash(s), uint64(len(t.table)-1)
	k := h & mask
	for ; t.table[k] != 0; k = (k + 1) & mask {
		if x := t.table[k]; x>>32 == h && t.is(int(uint32(x))-1, s) {
			return
		}
	}
	if t.n%chunk == 0 {
		t.data = append(t.data, make([]uint64, chunk*t.words))
		t.parent = append(t.parent, make([]uint32, chunk))
	}
	copy(t.data[t.n/chunk][t.n%chunk*t.words:], s[:t.words])
	t.parent[t.n/chunk][t.n%chunk] = uint32(parent)
	t.n++
	t.table[k] = h<<32 | uint64(t.n)
}

func (t *store) is(i int, s *State) bool {
	for k, x := range t.data[i/chunk][i%chunk*t.words:][:t.words] {
		if s[k&(Words-1)] != x {
			return false
		}
	}
	return true
}

func (t *store) grow() {
	old := t.table
	t.table = make([]uint64, max(1<<12, 2*len(old)))
	mask := uint64(len(t.table) - 1)
	for _, x := range old {
		if x == 0 {
			continue
		}
		k := x >> 32 & mask
		for t.table[k] != 0 {
			k = (k + 1) & mask
		}
		t.table[k] = x
	}
}

// hash is 32 bits of a multiply-fold over the words.
func (t *store) hash(s *State) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, x := range s[:t.words] {
		hi, lo := bits.Mul64(h^x, 0xd6e8feb86659fd93)
		h = hi ^ lo ^ 0xa0761d6478bd642f
	}
	return (h ^ h>>29) >> 32
}

// bytes is about what the store takes.
func (t *store) bytes() int { return len(t.data)*chunk*(8*t.words+4) + 8*len(t.table) }
