package fence

// Quarantine says that L2 lacks changes of a bucket and that nobody will apply them. Until Release no value of L2 is
// believed there (FromL2 answers Behind), and tracking vouches for nothing that was loaded before: Redis pushes only
// changes that were applied to it. The event channel goes on vouching, for it brings the same changes by a way of its
// own.
func (f *Fence) Quarantine(bucket int) {
	b := &f.buckets[bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	b.quarantined = true
	b.newSession()
}

// Release ends a quarantine, once every record that the bucket then had has become a miss. It begins a session, so that
// the next load reads the bucket's new incarnation first:
//
//	load: takes its snapshot, with the old incarnation      the bucket begins a new incarnation, and is released
//	load: GETs a record of the old incarnation, and believes it
//
// A load that began in quarantine stays in quarantine.
func (f *Fence) Release(bucket int) {
	b := &f.buckets[bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	b.quarantined = false
	b.newSession()
}
