package fence

import "github.com/nearcache/nearcache-go/internal/l2"

// Unconfirmed is a write of this process whose outcome is not known. It ends loads and entries of the key, as an
// invalidation does: what they have may be old. But if nothing else has ended the entry of the stamp from, it makes
// to the same stamp as of this moment, and reports true. So a copy of the entry, which nobody is served but in place
// of an error, still says whether its key was invalidated since.
func (f *Fence) Unconfirmed(k l2.Key, from, to *Stamp) bool {
	before, current := f.generations.catchUp(from.generation.Load(), from.hash())
	after := f.generations.bump(k.Hash)
	if !current || !f.generations.onlyOthersBumped(before, after-1, from.hash()) {
		return false
	}
	to.hashLow, to.hashHigh, to.bucket = from.hashLow, from.hashHigh, from.bucket
	to.setTimeline(from.timeline &^ stampMark)
	to.began, to.asOf = from.began, from.asOf
	to.redisSession, to.eventSession = from.redisSession, from.eventSession
	to.generation.Store(after)
	return true
}
