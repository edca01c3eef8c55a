package fence

import "github.com/nearcache/nearcache-go/internal/explore"

// scope is how much of the world a search goes through.
type scope struct {
	name           string
	n              uint8 // versions
	insts, loads   uint8
	fo, ev, cn, gp uint8 // fail-overs, evictions and flushes, lost connections, gaps and restarts
	deleted        uint8 // a bit for each version that is a delete
	sourced        bool  // there is a Source: a relay, samples, bounds
	kafka          bool
	parts          int    // partitions, 2: the topic grows
	unversioned    bool   // the source has no versions
	intents        bool   // writers mark the key (there is no Source)
	prune          bool   // min versions are pushed out of their ring
	slots          bool   // other keys of the slot are invalidated
	joins          bool   // readers join loads, and there are Fresh ones
	schema         bool   // records may be of an older schema
	atLeast        bool   // reads with AtLeast
	bounded        bool   // loads read the watermark anew
	slowHit        bool   // bounded hits take two steps
	slowBeat       bool   // a heartbeat's reply comes late
	slowSample     bool   // a sample takes three steps
	lost           bool   // brokers are lost and found again
	isolate        bool   // at a fail-over an instance may stay with the old primary
	early          bool   // commits are durable before they are visible
	only           string // look for violations of this guarantee alone
	limit          int
	v, v1, e       uint // widths of fields: versions, versions+1, incarnations
}

// maxIncarnations bounds the incarnations that are drawn.
func (sc *scope) maxIncarnations() uint8 { return 1 + sc.ev }

// First is an empty cache before anything happened.
func (s *stepper) First() (explore.State, int) {
	s.widths()
	w := world{fails: s.fo, evicts: s.ev, drops: s.cn, gaps: s.gp}
	if s.sourced {
		w.incarnations = 1
		w.l2.Watermark, w.l2.WatermarkIncarnation = 1, 1
		w.other, w.relay, w.relayIncarnation = w.l2, 1, 1
	}
	for i := range s.insts {
		w.ins[i] = s.newInstance(&w)
	}
	state := s.pack(&w)
	p := packer{scope: s.scope}
	p.world(&w)
	return state, p.Used()
}

func explored(sc scope) explore.Result {
	sc.insts = max(sc.insts, 1)
	if sc.parts == 0 {
		sc.parts = 1
	}
	if sc.limit == 0 {
		sc.limit = 20_000_000
	}
	s := &stepper{scope: &sc}
	s.f = newFencer(&sc)
	return explore.Search(s, sc.limit)
}
