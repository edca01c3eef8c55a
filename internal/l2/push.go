package l2

import "bytes"

// invalidatePush is how the payload of each push of tracking begins. An array of keys follows, or nothing at all.
const invalidatePush = "invalidate\r\n"

// afterPush is how much of what follows tells the two apart.
const afterPush = 2

// pushFinder looks for pushes without keys in what a connection reads, wherever one read ends and the next begins. The
// text may stand in a value too: that costs a session, and nothing is wrong for it.
type pushFinder struct {
	joined [2 * (len(invalidatePush) + afterPush - 1)]byte // the end of what was read before, and what came next
	kept   int
}

// flushed reports whether there is a push without keys in what is read next.
func (f *pushFinder) flushed(p []byte) bool {
	const most = len(invalidatePush) + afterPush - 1
	if len(p) == 0 {
		return false
	}
	n := f.kept + copy(f.joined[f.kept:f.kept+most], p)
	found := hasFlush(f.joined[:n]) || hasFlush(p)
	switch {
	case len(p) >= most:
		f.kept = copy(f.joined[:], p[len(p)-most:])
	case n > most:
		f.kept = copy(f.joined[:], f.joined[n-most:n])
	default:
		f.kept = n
	}
	return found
}

// hasFlush takes the null of RESP3, and the null bulk string and the null array of RESP2.
func hasFlush(p []byte) bool {
	for {
		i := bytes.Index(p, []byte(invalidatePush))
		if i < 0 {
			return false
		}
		p = p[i+len(invalidatePush):]
		if len(p) >= afterPush && (p[0] == '_' && p[1] == '\r' || (p[0] == '$' || p[0] == '*') && p[1] == '-') {
			return true
		}
	}
}
