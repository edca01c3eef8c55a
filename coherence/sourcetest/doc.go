// Package sourcetest is the conformance suite of coherence.Source. The author of a driver runs it:
//
//	func TestSource(t *testing.T) {
//		sourcetest.Run(t, func(t *testing.T) sourcetest.Harness { ... })
//	}
//
// Each check gets a Harness of its own, over an empty source. A check of an ability that the source does not have, or
// of something that the Harness cannot do, is skipped and says so.
//
// What is checked: positions never go back, and cover every commit that was acknowledged before they were read; Changes
// returns each committed change once, in the order of positions, whatever the limit and whoever writes meanwhile; a
// settled position never passes an open transaction; a rollback leaves nothing; trimmed changes and other timelines
// are ErrTrimmed; cursors do not go back; one relay of a name leads at a time, and its loss is noticed; a waker wakes;
// versions grow with every change and are not used again after a delete and a trim; all of it survives a restart.
package sourcetest
