package fence

import "github.com/nearcache/nearcache-go/internal/explore"

// scope is how much of the world a search goes through.
type scope struct {
	name      string
	limit     int    // of states; 0: 20 million
	guarantee string // look for violations of this one alone, "C2"; "": of all

	// How much there is of everything.
	versions        uint8
	instances       uint8
	loads           uint8 // under way at once in an instance
	partitions      int   // 2: the topic grows
	deleted         uint8 // a bit for each version that is a delete
	failOvers       uint8
	evictions       uint8 // and flushes
	lostConnections uint8
	gaps            uint8 // in the tail, and restarts of the instance

	// What there is.
	sourced     bool // a Source: with it a relay, samples and bounds
	events      bool // the event channel
	unversioned bool // the source has no versions
	intents     bool // writers place intents: there is no Source
	olderSchema bool // records may be of an older schema
	atLeast     bool // reads with AtLeast
	joins       bool // readers join loads, and some reads are Fresh
	bounded     bool // loads read the watermark again
	otherKeys   bool // other keys of the slot are invalidated
	isolation   bool // at a fail-over an instance may stay with the old primary
	brokersLost bool // brokers are lost and found again

	// What takes several steps, or has bounds.
	forgetMinVersions bool // min versions are pushed out
	hitsInSteps       bool // a bounded hit takes two steps
	lateHeartbeats    bool // a heartbeat's reply is looked at late
	samplesInSteps    bool // a sample takes three steps
	durableFirst      bool // a commit is durable before it is visible
	pieces            bool // the relay applies a transaction in two batches

	versionBits, positionBits, incarnationBits uint // what such fields take in a packed state
}

// maxIncarnations bounds the incarnations that are drawn.
func (sc *scope) maxIncarnations() uint8 { return 1 + sc.evictions }

// First is an empty cache before anything happened.
func (s *stepper) First() (explore.State, int) {
	s.widths()
	w := world{
		failOversLeft: s.failOvers,
		evictionsLeft: s.evictions,
		lossesLeft:    s.lostConnections,
		gapsLeft:      s.gaps,
	}
	if s.sourced {
		w.incarnations = 1
		w.primary.Watermark, w.primary.WatermarkIncarnation = 1, 1
		w.other, w.relayWatermark, w.relayIncarnation = w.primary, 1, 1
	}
	for i := range s.instances {
		w.instances[i] = s.newInstance(&w)
	}
	state := s.pack(&w)
	p := packer{scope: s.scope}
	p.world(&w)
	return state, p.Used()
}

func search(sc scope) explore.Result {
	sc.instances = max(sc.instances, 1)
	if sc.partitions == 0 {
		sc.partitions = 1
	}
	if sc.limit == 0 {
		sc.limit = 20_000_000
	}
	s := &stepper{scope: &sc}
	s.fence = newFencer(&sc)
	return explore.Search(s, sc.limit)
}
