package fence

// Channels is the state of the channels that invalidate L1, for status and metrics.
type Channels struct {
	RedisSessions  uint64 // sessions of tracking so far, summed over the buckets
	Watermarks     int    // buckets whose watermark has been read in the present session
	EventSession   uint64 // the event channel's session, 0 while it vouches for nothing
	EventSessions  uint64 // sessions of the event channel so far
	Partitions     int    // of the event channel
	Followed       int    // partitions that are followed now
	AwaitingSample int    // buckets whose L2 is not believed until the next sample
}

// Channels reports the state of the channels.
func (f *Fence) Channels() (ch Channels) {
	for i := range f.buckets {
		b := &f.buckets[i]
		b.mu.Lock()
		ch.RedisSessions += b.session.Load() - 1
		if b.watermarkKnown {
			ch.Watermarks++
		}
		if b.awaitingSample != 0 {
			ch.AwaitingSample++
		}
		b.mu.Unlock()
	}
	c := &f.events
	c.mu.Lock()
	defer c.mu.Unlock()
	ch.EventSession, ch.EventSessions, ch.Partitions = c.live.Load(), c.session, len(c.parts)
	for i := range c.parts {
		if c.parts[i].followed {
			ch.Followed++
		}
	}
	return ch
}
