package fence

// Doubt says that L2 lacks changes of a bucket and that nobody will tell it. Until Trust no value of L2's is believed there
// (FromL2 answers Behind), and tracking vouches for nothing that was loaded before: Redis pushes only what it is told.
// The event channel goes on vouching, since it brings the same changes by a way of its own.
func (f *Fence) Doubt(bucket int) { f.doubt(bucket, true) }

// Trust ends a doubt, once every record that the bucket then had has become a miss. It begins a session, so that the next
// load reads the bucket's new incarnation first:
//
//	load: takes its snapshot, and with it the old incarnation       the bucket is started anew, and trusted
//	load: GETs a record of the old incarnation, and believes it
//
// A load that began in doubt stays in doubt.
func (f *Fence) Trust(bucket int) { f.doubt(bucket, false) }

func (f *Fence) doubt(bucket int, doubted bool) {
	b := &f.buckets[bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	b.doubted = doubted
	b.newSession()
}
