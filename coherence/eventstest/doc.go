// Package eventstest is the conformance suite of coherence.EventSource. The author of an event channel runs it:
//
//	func TestEvents(t *testing.T) {
//		eventstest.Run(t, func(t *testing.T) eventstest.Harness { ... })
//	}
//
// Each check gets a Harness of its own, over an empty channel. A check of something that the Harness cannot do, or
// that the EventSource does not have, is skipped and says so.
//
// What is checked:
//
//   - Order: partitions are announced before their sessions. Each event that was published after a session is
//     delivered, in the order of its partition, as it was published. Several followers do not hold each other up.
//   - Faults: a follower that is cut off says so, and why. After that it misses nothing, or begins a session. It
//     begins one where events were removed before it read them, where the channel was made again, and where the
//     relay's numbers show that an event is missing.
//   - Proofs: a barrier is delivered after every event that it covers took effect. Whoever may write events can write
//     neither a barrier nor a number that counts. A position covers every commit that was acknowledged before the
//     question.
//   - Messages that cannot be decoded are counted and passed over. Run ends with its context, also during a delivery,
//     and calls nothing after that.
package eventstest
