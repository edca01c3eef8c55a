package fence

import (
	"github.com/nearcache/nearcache-go/internal/explore"
	"github.com/nearcache/nearcache-go/internal/l2"
)

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
	rounds          uint8 // of the relay's; 0: instances ask the source for its position
	relays          uint8 // that take part in the rounds
	promotions      uint8 // of the source, which lose commits or none
	elsewhere       uint8 // a bit for each version that is a change of another bucket, and none of this key

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
	untracked   bool // Redis pushes nothing, and a proxy may ask any server

	// What takes several steps, or has bounds.
	forgetMinVersions bool // min versions are pushed out
	hitsInSteps       bool // a bounded hit takes two steps
	lateHeartbeats    bool // a heartbeat's reply is looked at late
	samplesInSteps    bool // a sample takes three steps
	durableFirst      bool // a commit is durable before it is visible
	pieces            bool // the relay applies a transaction in two batches
	clustered         bool // the rounds that end samples are on another server than the bucket, which stands
	goesBack          bool // at a fail-over the instance's connection stands
	noticesLosses     bool // a session may end when its connection is lost, and not only before the next one is used
	histories         bool // there is no relay: a bucket's incarnation is one of its server's history
	warm              bool // the first instance begins with the key in L1
	openTransactions  bool // what is settled may be behind what is acknowledged

	versionBits, positionBits, incarnationBits, roundBits, tokenBits uint // what such fields take in a packed state
}

// maxIncarnations bounds the incarnations that are drawn.
func (sc *scope) maxIncarnations() uint8 {
	if sc.histories {
		return 1 + sc.evictions + sc.failOvers
	}
	return 1 + sc.evictions + sc.promotions
}

// bucket is the key's. In a Cluster the other one is on the server whose rounds end samples.
func (sc *scope) bucket() int {
	if sc.clustered {
		return l2.RoundBucket + 1
	}
	return l2.RoundBucket
}

// maxTokens bounds the tokens of rounds that are drawn: after a fault, some are begun once more.
func (sc *scope) maxTokens() uint8 { return sc.rounds + sc.failOvers + sc.evictions }

// First is an empty cache before anything happened.
func (s *stepper) First() (explore.State, int) {
	s.widths()
	w := world{
		failOversLeft: s.failOvers,
		evictionsLeft: s.evictions,
		lossesLeft:    s.lostConnections,
		gapsLeft:      s.gaps,
		promotions:    s.promotions,
	}
	if s.histories {
		w.primary.history = 1
		w.other = w.primary
	}
	if s.sourced {
		w.incarnations = 1
		w.primary.Watermark, w.primary.WatermarkIncarnation = 1, 1
		if s.rounds > 0 {
			w.primary.Round = explore.Round{Number: 1, Upto: 1, Incarnation: 1}
			w.root = w.primary.Round
		}
		w.other, w.relayWatermark, w.relayIncarnation = w.primary, 1, 1
	}
	for i := range s.instances {
		w.instances[i] = s.newInstance(&w)
	}
	if s.warm {
		s.warmed(&w)
	}
	state := s.pack(&w)
	p := packer{scope: s.scope}
	p.world(&w)
	return state, p.Used()
}

// warmed is what comes of a load by the first instance: Redis has the absence of the key, and L1 too. It spares the
// steps of the load where no further one is needed: TestExplore_WarmedIsReached.
func (sc *scope) warmed(w *world) {
	on, n := &w.primary, &w.instances[0]
	on.Record, on.RecordIncarnation = 1, on.Incarnation()
	n.connected, n.tracked = 1, 1
	n.watermarkRead, n.watermarkKnown, n.watermark, n.incarnation = 1, 1, on.Watermark, on.Incarnation()
	n.entry, n.entryRedisSession = 1, sessionCurrent
}

// valueAt is the version of the key when a version had been committed.
func (s *stepper) valueAt(v uint8) uint8 {
	if s.to.promoted > 0 && v == s.to.promoted {
		v = s.to.kept
	}
	for s.elsewhere>>v&1 == 1 {
		v--
	}
	return v
}

// older reports whether a version of the key is older than what the source had at a moment.
func (s *stepper) older(v uint8, moment int64) bool {
	switch {
	case moment == 0:
		return false
	case s.to.promoted > 0:
		return s.gone(v, uint8(moment-1))
	}
	return v < s.valueAt(uint8(moment-1))
}

func search(sc scope) explore.Result {
	sc.instances = max(sc.instances, 1)
	if sc.rounds > 0 {
		sc.relays = max(sc.relays, 1)
	}
	if sc.partitions == 0 {
		sc.partitions = 1
	}
	if sc.limit == 0 {
		sc.limit = 20_000_000
	}
	return explore.Search(newStepper(&sc), sc.limit)
}

func newStepper(sc *scope) *stepper { return &stepper{scope: sc, fence: newFencer(sc)} }
