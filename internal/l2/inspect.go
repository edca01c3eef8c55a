package l2

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// LeaseHolder says what holds a key's lease.
type LeaseHolder uint8

// The holders.
const (
	HeldByNone    LeaseHolder = iota // nothing
	HeldByReader                     // a load that may fill
	HeldByWriters                    // write intents, which no load may fill against
	HeldByOthers                     // bytes of another program, or a lease that never ends: the next load replaces it
)

var holderNames = [...]string{"none", "reader", "writers", "foreign"}

// String is the holder's name.
func (h LeaseHolder) String() string { return holderNames[h] }

// LeaseState is what stands in a lease's place.
type LeaseState struct {
	Holder  LeaseHolder
	Known   coherence.Version // that the reader knew of when it asked
	Writers int
	Doubted bool // a write of unknown outcome came by while the writers stood here
	Left    time.Duration
}

// Lease reads a key's lease and changes nothing.
func (l *L2) Lease(ctx context.Context, k Key) (s LeaseState, err error) {
	c := l.clients.Load()
	if c == nil {
		return s, ErrUnavailable
	}
	res := c.commands.DoMulti(ctx, c.commands.B().Get().Key(k.Lease).Build(),
		c.commands.B().Pttl().Key(k.Lease).Build())
	raw, err := res[0].ToString()
	if wrongType(err) {
		return LeaseState{Holder: HeldByOthers}, nil
	}
	if err := l.failed(l.Node(k.Bucket), opOthers, err); err != nil {
		return s, err
	}
	left, err := res[1].AsInt64()
	if err := l.failed(l.Node(k.Bucket), opOthers, err); err != nil {
		return s, err
	}
	return leaseState(raw, left), nil
}

// leaseState is a lease from its bytes and from what PTTL says: -2 for an absent key, -1 for one that never ends.
func leaseState(raw string, left int64) (s LeaseState) {
	const id = len(LeaseID{})
	switch {
	case left == -2:
		return s
	case left < 0 || raw == "":
		s.Holder = HeldByOthers
	case raw[0] == 'R' && len(raw) == 1+id:
		s.Holder = HeldByReader
		s.Known = coherence.Version(binary.BigEndian.Uint64([]byte(raw[1+knownOffset:])))
	case raw[0] == 'W' && len(raw) > 1 && (len(raw)-1)%id == 0:
		s.Holder, s.Writers = HeldByWriters, (len(raw)-1)/id
		if LeaseID([]byte(raw[1:1+id])) == (LeaseID{}) {
			s.Writers, s.Doubted = s.Writers-1, true
		}
	default:
		s.Holder = HeldByOthers
	}
	s.Left = max(0, time.Duration(left)*time.Millisecond)
	return s
}
