package fence

// DoubtPushes ends what tracking proves of entries, until BelievePushes. A watermark proves that what it covers was
// pushed before it was read. That does not hold on a server whose pushes may come after the reply that shows the
// change:
//
//	relay: applies version 2 of the key, and then the watermark 7
//	instance: reads the watermark 7; the push of the key is still on its way; serves version 1, proved by 7
//
// Tracking still invalidates, and vouches for entries without a bound. Events prove as before.
func (f *Fence) DoubtPushes() {
	f.pushesDoubted.Store(true)
	for i := range f.buckets {
		b := &f.buckets[i]
		b.mu.Lock()
		b.asOf.Store(nil)
		b.mu.Unlock()
	}
}

// BelievePushes lets tracking prove bounds again, from the watermarks that are known.
func (f *Fence) BelievePushes() {
	if f.pushesDoubted.CompareAndSwap(true, false) {
		f.advanceAll()
	}
}
