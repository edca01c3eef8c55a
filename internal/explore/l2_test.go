package explore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/explore"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// TestL2_IsTheScripts runs the same random steps on the twin and, by way of tier's L2, on a Redis, and compares all
// that is there after each.
func TestL2_IsTheScripts(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		r := nearcachetest.NewRedis(t)
		run(t, r.ClientOption(), func(args ...string) string { return r.Do(args[0], args[1:]...) }, 150)
	})
	t.Run("real", func(t *testing.T) {
		addr := servicestest.Redis(t)
		opt := rueidis.ClientOption{InitAddress: []string{addr}}
		run(t, opt, func(args ...string) string { return servicestest.RedisDo(t, addr, args...) }, 40)
	})
}

// TestL2_WithoutARule holds the twin to the scripts while a rule is taken out of both, so that what the explorer then
// finds is what the scripts would do.
func TestL2_WithoutARule(t *testing.T) {
	if !ablate.Enabled {
		t.Skip("this binary was built without -tags ablate")
	}
	for _, rule := range []ablate.Rule{
		ablate.FillNeedsLease, ablate.FillSameIncarnation, ablate.ApplyDropsLease, ablate.SetDropsLease, ablate.SetOverValue,
		ablate.SetSameIncarnation, ablate.RestoreUndoubted, ablate.BatchFrom, ablate.BatchPart, ablate.RoundOnce,
		ablate.RoundBuckets,
	} {
		t.Run(string(rule), func(t *testing.T) {
			if err := ablate.Take(rule); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ablate.Take("") }()
			r := nearcachetest.NewRedis(t)
			run(t, r.ClientOption(), func(args ...string) string { return r.Do(args[0], args[1:]...) }, 20)
		})
	}
}

// pair is the twin and the Redis that it is held to.
type pair struct {
	t    *testing.T
	rnd  *rand.Rand
	twin explore.L2
	l2   *l2.L2
	key  l2.Key
	do   func(args ...string) string
	raw  rueidis.Client

	leases       []held // granted, whether or not they stand
	tokens       [4]l2.LeaseID
	rounds       []explore.Round  // as they were begun
	roundTokens  []uint64         // by their numbers in the twin, from 1
	incarnations []l2.Incarnation // by their numbers in the twin, from 1
	log          []string
}

// held is a lease that was granted: both sides' idea of it.
type held struct {
	lease       l2.Lease
	mine        bool  // the twin's holder: it stands
	incarnation uint8 // the twin's
}

type deaf struct{}

func (deaf) KeysChanged([]uint64)        {}
func (deaf) SessionChanged(l2.BucketSet) {}

func run(t *testing.T, opt rueidis.ClientOption, do func(...string) string, rounds int) {
	raw, err := rueidis.NewClient(
		rueidis.ClientOption{InitAddress: opt.InitAddress, DialCtxFn: opt.DialCtxFn, DisableCache: true},
	)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	store, err := l2.Open(l2.Config{Redis: opt, Tracker: deaf{}, Prefix: servicestest.Unique("twin")})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	for seed := range rounds {
		p := &pair{t: t, rnd: rand.New(rand.NewPCG(uint64(seed), 0)), l2: store, do: do, raw: raw}
		p.key = store.Keyspace().Key("n", fmt.Sprint(seed))
		for i := range p.tokens {
			p.tokens[i] = l2.NewLeaseID()
		}
		p.del(p.l2.Keyspace().Watermark(p.key.Bucket), p.l2.Keyspace().Round(l2.RoundBucket))
		for range 60 {
			p.step()
			p.compare()
			if t.Failed() {
				t.Fatalf("seed %d:\n  %s", seed, strings.Join(p.log, "\n  "))
			}
		}
	}
}

func (p *pair) did(format string, args ...any) { p.log = append(p.log, fmt.Sprintf(format, args...)) }

// ok takes the error of a method of L2.
func (p *pair) ok(err error) {
	if err != nil {
		p.t.Error(err)
	}
}

func (p *pair) record(v uint8) l2.Record {
	return l2.Record{Version: coherence.Version(v), Payload: []byte("payload")}
}

// position is that of the twin's number; its incarnation is always the same.
func position(n uint8) coherence.Position { return coherence.Position{Timeline: 7, N: uint64(n)} }

// inside is position, with a part of the transaction after it.
func inside(n, part uint8) coherence.Position {
	at := position(n)
	at.Part = uint64(part)
	return at
}

func (p *pair) watermark(mark, part, incarnation uint8) (w l2.Watermark) {
	if mark == 0 {
		return w
	}
	return l2.Watermark{Incarnation: p.incarnations[incarnation-1], Position: inside(mark-1, part)}
}

// step takes one step on both sides and compares what they answer.
func (p *pair) step() {
	ctx, v := context.Background(), uint8(p.rnd.IntN(4))
	switch p.rnd.IntN(18) {
	case 0, 1:
		p.acquire(ctx)
	case 2, 3:
		p.fill(ctx, v)
	case 4:
		p.did("apply %d", v)
		p.twin.Apply(v, v == 0)
		p.ok(p.l2.Apply(ctx, p.key, coherence.Version(v)))
	case 5, 6:
		p.did("set %d", v)
		p.twin.Set(v, v == 0)
		rec := p.record(v)
		err := p.l2.SetMany(ctx, []l2.SetRequest{{Key: p.key, Version: rec.Version, Record: &rec, TTL: time.Minute}})[0]
		p.ok(err)
	case 7, 8:
		p.batch(ctx, v)
	case 9:
		p.reset(ctx, v)
	case 10:
		w := uint8(p.rnd.IntN(len(p.tokens)))
		p.did("writer %d places its intent", w)
		_, want := p.twin.PlaceIntent(w)
		got, err := p.l2.PlaceIntent(ctx, p.key, p.tokens[w], time.Minute)
		p.ok(err)
		if got != want {
			p.t.Errorf("it has set a value aside: %v; the twin says %v", got, want)
		}
	case 11:
		w := uint8(p.rnd.IntN(len(p.tokens)))
		o := p.rnd.IntN(4)
		p.did("writer %d resolves its intent with outcome %d, having written %d", w, o, v)
		p.twin.ResolveIntent(w, explore.Outcome(o), v, v == 0)
		p.ok(p.l2.ResolveIntent(ctx, p.key, p.tokens[w], l2.Outcome(o), coherence.Version(v)))
	case 13:
		p.did("a write of version %d, and one of unknown outcome", v)
		if v != 0 {
			p.twin.Apply(v, false)
		}
		p.twin.Doubt()
		change := l2.Change{Key: p.key, Version: coherence.Version(v), Unconfirmed: true}
		p.ok(p.l2.ApplyMany(ctx, []l2.Change{change}))
	case 14:
		p.beginRound(ctx)
	case 15, 16:
		p.publishRound(ctx, v)
	case 12:
		if h := p.holder(); h != nil {
			p.did("a lease is released")
			p.twin.Release(h.mine)
			p.ok(p.l2.Release(ctx, p.key, h.lease.ID))
		}
	default:
		p.lose()
	}
	if p.twin.Lease == 0 {
		for i := range p.leases {
			p.leases[i].mine = false
		}
	}
}

// holder is somebody whose acquire was granted at some time.
func (p *pair) holder() *held {
	if len(p.leases) == 0 {
		return nil
	}
	return &p.leases[p.rnd.IntN(len(p.leases))]
}

func (p *pair) acquire(ctx context.Context) {
	ask := l2.AcquireOptions{}
	unusable := p.rnd.IntN(3) == 0
	if raw := p.get(p.key.Record); unusable && len(raw) >= l2.HeaderSize {
		ask.Unusable = []byte(raw[:l2.HeaderSize])
	} else {
		unusable = false
	}
	want := p.twin.Acquire(unusable)
	lease, err := p.l2.Acquire(ctx, p.key, l2.NewLeaseID(), time.Minute, ask)
	p.ok(err)
	got, ok := map[l2.LeaseStatus]explore.Answer{
		l2.Granted: explore.Granted, l2.Present: explore.Present, l2.Busy: explore.Busy, l2.Writing: explore.Writing,
	}[lease.Status]
	p.did("acquire: %v", lease.Status)
	if !ok || got != want {
		p.t.Errorf("acquire: %v; the twin says %d", lease.Status, want)
	}
	if want == explore.Granted {
		p.leases = append(p.leases, held{lease: lease, mine: true, incarnation: p.twin.Incarnation()})
	}
}

func (p *pair) fill(ctx context.Context, v uint8) {
	h := p.holder()
	if h == nil {
		return
	}
	want := p.twin.Fill(h.mine, h.incarnation, v)
	res, err := p.l2.Fill(ctx, p.key, h.lease.ID, h.lease.Incarnation, p.record(v), time.Minute)
	p.ok(err)
	p.did("fill %d: %v", v, res)
	if (res == l2.Filled) != want {
		p.t.Errorf("fill: %v; the twin says %v", res, want)
	}
}

func (p *pair) batch(ctx context.Context, v uint8) {
	if len(p.incarnations) == 0 || v == 0 { // a relay's changes have versions
		return
	}
	incarnation := uint8(1 + p.rnd.IntN(len(p.incarnations)))
	from := explore.Mark{Incarnation: incarnation, Position: uint8(p.rnd.IntN(4)), Part: uint8(p.rnd.IntN(3))}
	to := from
	if p.rnd.IntN(2) == 0 {
		to.Position++
	}
	to.Part = uint8(p.rnd.IntN(3))
	_, want := p.twin.Batch(from, to, v)
	changes := []l2.Change{{Key: p.key, Version: coherence.Version(v)}}
	_, applied, err := p.l2.ApplyBatch(ctx, p.key.Bucket, changes, p.watermark(from.Position+1, from.Part, incarnation),
		inside(to.Position, to.Part))
	p.ok(err)
	p.did("batch from %+v to %+v, version %d: %v", from, to, v, applied)
	if applied != want {
		p.t.Errorf("batch: applied %v; the twin says %v", applied, want)
	}
}

func (p *pair) reset(ctx context.Context, to uint8) {
	seen, part, incarnation := p.twin.Watermark, p.twin.Part, p.twin.WatermarkIncarnation
	if p.rnd.IntN(3) == 0 && len(p.incarnations) > 0 { // what another relay saw earlier
		seen, part = uint8(1+p.rnd.IntN(4)), uint8(p.rnd.IntN(3))
		incarnation = uint8(1 + p.rnd.IntN(len(p.incarnations)))
	}
	before := p.twin
	now, err := p.l2.ResetWatermark(ctx, p.key.Bucket, p.watermark(seen, part, incarnation), position(to))
	p.ok(err)
	p.incarnations = append(p.incarnations, now.Incarnation)
	p.twin.Reset(seen, part, incarnation, to, uint8(len(p.incarnations)))
	if p.twin == before { // it was not what stands
		p.incarnations = p.incarnations[:len(p.incarnations)-1]
	}
	p.did("reset to %d, seen %d+%d of incarnation %d", to, seen, part, incarnation)
}

// round is the twin's round as Redis has it. Its incarnations are a number that means nothing.
func (p *pair) round(r explore.Round) (out l2.Round) {
	if r.Number == 0 {
		return out
	}
	out = l2.Round{Number: uint64(r.Number), Incarnations: uint64(r.Incarnation),
		Buckets: l2.AllBuckets(l2.DefaultBuckets),
		Head:    position(r.Head), Upto: position(r.Upto)}
	if r.Token > 0 {
		out.Token = p.roundTokens[r.Token-1]
	}
	return out
}

func (p *pair) beginRound(ctx context.Context) {
	r, _, err := p.l2.BeginRound(ctx, p.rnd.IntN(2) == 0)
	p.ok(err)
	p.did("a round is begun over %+v", r)
	if p.twin.Round.Number > 0 && p.twin.Round.Token == 0 {
		p.roundTokens = append(p.roundTokens, r.Token)
	}
	seen := p.twin.BeginRound(uint8(len(p.roundTokens)))
	if r != p.round(seen) {
		p.t.Errorf("begin: %+v; the twin says %+v", r, seen)
	}
	p.rounds = append(p.rounds, seen)
}

func (p *pair) publishRound(ctx context.Context, v uint8) {
	var seen explore.Round
	if len(p.rounds) > 0 && p.rnd.IntN(8) > 0 {
		seen = p.rounds[len(p.rounds)-1-p.rnd.IntN(min(2, len(p.rounds)))]
	}
	next := explore.Round{Number: seen.Number + 1, Head: v, Upto: v, Incarnation: uint8(p.rnd.IntN(3))}
	needed := map[int]l2.Watermark{}
	var mark, incarnation uint8
	if len(p.incarnations) > 0 && p.rnd.IntN(2) == 0 {
		mark, incarnation = uint8(1+p.rnd.IntN(4)), uint8(1+p.rnd.IntN(len(p.incarnations)))
		needed[p.key.Bucket] = p.watermark(mark, 0, incarnation)
	}
	want := p.twin.PublishRound(seen, next, mark, incarnation)
	got, err := p.l2.PublishRounds(ctx, []l2.Publication{{Leader: l2.RoundBucket, Seen: p.round(seen),
		Next: p.round(next), Needed: needed}})
	p.ok(err)
	p.did("round %+v is published over %+v: %v", next, seen, got[0])
	if got[0] != want {
		p.t.Errorf("publish: %v; the twin says %v", got[0], want)
	}
}

// lose is what Redis does by itself.
func (p *pair) lose() {
	switch p.rnd.IntN(5) {
	case 4:
		p.did("the round is evicted")
		p.twin.EvictRound()
		p.del(p.l2.Keyspace().Round(l2.RoundBucket))
	case 0:
		p.did("the record is evicted")
		p.twin.EvictRecord()
		p.del(p.key.Record)
	case 1:
		p.did("the lease expires")
		p.twin.EvictLease()
		p.del(p.key.Lease)
	case 2:
		p.did("the watermark is evicted")
		p.twin.EvictWatermark()
		p.del(p.l2.Keyspace().Watermark(p.key.Bucket))
	default:
		p.did("all of it is flushed")
		p.twin.Flush()
		p.del(p.key.Record, p.key.Lease, p.l2.Keyspace().Watermark(p.key.Bucket), p.l2.Keyspace().Round(l2.RoundBucket))
	}
}

func (p *pair) del(keys ...string) { p.do(append([]string{"DEL"}, keys...)...) }

// get is what is at a Redis key, "" for nothing.
func (p *pair) get(key string) string {
	s, err := p.raw.Do(context.Background(), p.raw.B().Get().Key(key).Build()).ToString()
	if err != nil && !rueidis.IsRedisNil(err) {
		p.t.Error(err)
	}
	return s
}

// compare reads everything there is of the key and its bucket.
func (p *pair) compare() {
	var got explore.L2
	w := p.get(p.l2.Keyspace().Watermark(p.key.Bucket))
	if w != "" {
		got.WatermarkIncarnation = p.incarnationOf(w[:8])
		got.Watermark, got.Part = w[23]+1, w[31]
	}
	if raw := p.get(p.key.Record); raw != "" {
		rec, err := l2.DecodeRecord([]byte(raw))
		if err != nil {
			p.t.Error(err)
		}
		got.Record = uint8(rec.Version) + 1
		if p.known(rec.Incarnation.Unconfirmed()) {
			got.Unconfirmed, rec.Incarnation = 1, rec.Incarnation.Unconfirmed()
		}
		got.RecordIncarnation = p.incarnationOf(string(rec.Incarnation[:]))
	}
	switch l := p.get(p.key.Lease); {
	case l == "":
	case l[0] == 'R':
		got.Lease = 1
		for _, h := range p.leases {
			if h.mine != (string(h.lease.ID[:]) == l[1:]) {
				p.t.Error("the lease that stands is another's")
			}
		}
	default:
		for i := 1; i < len(l); i += 16 {
			if l[i:i+16] == string(make([]byte, 16)) {
				got.Doubted = 1
			}
			for w := range p.tokens {
				if string(p.tokens[w][:]) == l[i:i+16] {
					got.Intents |= 1 << w
				}
			}
		}
	}
	r, err := p.l2.LastRounds(context.Background(), l2.SetOf(l2.RoundBucket))
	if err != nil || r[l2.RoundBucket] != p.round(p.twin.Round) {
		p.t.Errorf("Redis has %+v and error %v, the twin %+v", r[l2.RoundBucket], err, p.twin.Round)
	}
	got.Round = p.twin.Round
	if got != p.twin {
		p.t.Errorf("Redis has %+v, the twin %+v", got, p.twin)
	}
}

func (p *pair) known(e l2.Incarnation) bool {
	return e == l2.Incarnation{} || slices.Contains(p.incarnations, e)
}

func (p *pair) incarnationOf(s string) uint8 {
	for i, e := range p.incarnations {
		if string(e[:]) == s {
			return uint8(i) + 1
		}
	}
	if s != string(make([]byte, 8)) {
		p.t.Errorf("an incarnation that nobody has drawn: %x", s)
	}
	return 0
}
