package fence

import "github.com/nearcache/nearcache-go/internal/explore"

// scope is how much of the world a search goes through.
type scope struct {
	name                                        string
	versions                                    uint8 // versions
	instances, loads                            uint8
	failOvers, evictions, lostConnections, gaps uint8 // fail-overs, evictions and flushes, lost connections, gaps and restarts
	deleted                                     uint8 // a bit for each version that is a delete
	sourced                                     bool  // there is a Source: a relay, samples, bounds
	events                                      bool
	partitions                                  int    // partitions, 2: the topic grows
	unversioned                                 bool   // the source has no versions
	intents                                     bool   // writers mark the key (there is no Source)
	forgetMinVersions                           bool   // min versions are pushed out of their ring
	otherKeys                                   bool   // other keys of the slot are invalidated
	joins                                       bool   // readers join loads, and there are Fresh ones
	olderSchema                                 bool   // records may be of an older schema
	atLeast                                     bool   // reads with AtLeast
	bounded                                     bool   // loads read the watermark anew
	hitsInSteps                                 bool   // bounded hits take two steps
	lateHeartbeats                              bool   // a heartbeat's reply comes late
	samplesInSteps                              bool   // a sample takes three steps
	brokersLost                                 bool   // brokers are lost and found again
	isolation                                   bool   // at a fail-over an instance may stay with the old primary
	durableFirst                                bool   // commits are durable before they are visible
	guarantee                                   string // look for violations of this guarantee alone
	limit                                       int
	versionBits, positionBits, incarnationBits  uint // widths of fields: versions, versions+1, incarnations
}

// maxIncarnations bounds the incarnations that are drawn.
func (sc *scope) maxIncarnations() uint8 { return 1 + sc.evictions }

// First is an empty cache before anything happened.
func (s *stepper) First() (explore.State, int) {
	s.widths()
	w := world{failOversLeft: s.failOvers, evictionsLeft: s.evictions, lossesLeft: s.lostConnections, gapsLeft: s.gaps}
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
