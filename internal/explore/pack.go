package explore

// Words is how many words a packed state has at most.
const Words = 8

// State is a packed state.
type State [Words]uint64

// Packer writes fields of a few bits into a State, or reads them back in the same order: one visitor does both.
type Packer struct {
	State  State
	Unpack bool
	pos    uint
}

// Bits packs or unpacks fields of n bits each; with n = 0 they are left as they are. A value that does not fit is a
// mistake of the model's and panics.
func Bits[T ~uint8](p *Packer, n uint, fields ...*T) {
	if n == 0 {
		return
	}
	pos := p.pos
	for _, f := range fields {
		i, o := pos>>6%Words, pos&63
		if p.Unpack {
			x := p.State[i] >> o
			if o+n > 64 {
				x |= p.State[(i+1)%Words] << (64 - o)
			}
			*f = T(x) & (1<<n - 1)
		} else {
			x := uint64(*f)
			if x>>n != 0 {
				panic("explore: a field is too small for its value")
			}
			p.State[i] |= x << o
			if o+n > 64 {
				p.State[(i+1)%Words] |= x >> (64 - o)
			}
		}
		pos += n
	}
	if p.pos = pos; pos > 64*Words {
		panic("explore: a state of too many words")
	}
}

// Used is how many words have been written or read so far.
func (p *Packer) Used() int { return int(p.pos+63) / 64 }
