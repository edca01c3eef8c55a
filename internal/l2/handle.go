package l2

// Handle carries an L2 through the public packages of this module. It has no exported member, and FromHandle cannot be
// imported from outside: other programs can hold a Handle, and do nothing with it.
type Handle struct{ l *L2 }

// Handle returns the L2 in its wrapping.
func (l *L2) Handle() Handle { return Handle{l} }

// FromHandle returns the L2 that a Handle carries, nil for the zero Handle.
func FromHandle(h Handle) *L2 { return h.l }
