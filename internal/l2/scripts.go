package l2

import (
	"context"
	"crypto/sha1"
	_ "embed" // the scripts
	"encoding/hex"
	"errors"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/ablate"
)

// script is a Lua script with its prelude.
type script struct {
	src, sha string
	op       int // of its health at each node
	// mustArrive says that it brings a change, which nothing replaces.
	mustArrive bool
}

func newScript(body string) *script {
	src := prelude + body
	if ablate.Enabled {
		src = ablated(src)
	}
	sum := sha1.Sum([]byte(src))
	return &script{src: src, sha: hex.EncodeToString(sum[:])}
}

// scripts are the only writers of L2. Each states at its top what it promises.
type scripts struct {
	acquire, fill, renew, release, apply, set, placeIntent, resolveIntent, doubt, batch, reset, check, claim,
	beginRound, publishRound, adopt, read, beat *script
}

func (s *scripts) all() []*script {
	return []*script{s.acquire, s.fill, s.renew, s.release, s.apply, s.set, s.placeIntent, s.resolveIntent,
		s.doubt, s.batch, s.reset, s.check, s.claim, s.beginRound, s.publishRound, s.adopt,
		s.read, s.beat}
}

func newScripts() *scripts {
	s := &scripts{
		acquire: newScript(acquireLua), fill: newScript(fillLua), renew: newScript(renewLua), release: newScript(releaseLua),
		apply: newScript(applyLua), set: newScript(setLua), placeIntent: newScript(placeIntentLua),
		resolveIntent: newScript(resolveIntentLua), doubt: newScript(doubtLua),
		batch: newScript(batchLua), reset: newScript(resetLua),
		check: newScript(checkLua), claim: newScript(claimLua),
		beginRound: newScript(beginRoundLua), publishRound: newScript(publishRoundLua),
		adopt: newScript(adoptLua),
		read:  newScript(readLua), beat: newScript(beatLua),
	}
	for i, each := range s.all() {
		each.op = opScripts + i
	}
	for _, each := range []*script{s.apply, s.set, s.placeIntent, s.resolveIntent, s.doubt, s.batch, s.reset} {
		each.mustArrive = true
	}
	return s
}

var (
	//go:embed lua/prelude.lua
	prelude string
	//go:embed lua/acquire.lua
	acquireLua string
	//go:embed lua/fill.lua
	fillLua string
	//go:embed lua/renew.lua
	renewLua string
	//go:embed lua/release.lua
	releaseLua string
	//go:embed lua/apply.lua
	applyLua string
	//go:embed lua/set.lua
	setLua string
	//go:embed lua/place_intent.lua
	placeIntentLua string
	//go:embed lua/resolve_intent.lua
	resolveIntentLua string
	//go:embed lua/doubt.lua
	doubtLua string
	//go:embed lua/batch.lua
	batchLua string
	//go:embed lua/reset.lua
	resetLua string
	//go:embed lua/check.lua
	checkLua string
	//go:embed lua/claim.lua
	claimLua string
	//go:embed lua/begin_round.lua
	beginRoundLua string
	//go:embed lua/publish_round.lua
	publishRoundLua string
	//go:embed lua/adopt.lua
	adoptLua string
	//go:embed lua/read.lua
	readLua string
	//go:embed lua/beat.lua
	beatLua string
)

// call is one run of a script.
type call struct {
	s    *script
	keys []string
	args []string
}

// smallCall is a call whose keys and arguments need no memory of their own.
type smallCall struct {
	s          *script
	keys, args int
	strings    [7]string // keys, then arguments
}

func (c *smallCall) call() call {
	return call{c.s, c.strings[:c.keys:c.keys], c.strings[c.keys : c.keys+c.args]}
}

func (c call) evalsha(w rueidis.Client) rueidis.Completed {
	return w.B().Evalsha().Sha1(c.s.sha).Numkeys(int64(len(c.keys))).Key(c.keys...).Arg(c.args...).Build()
}

func (c call) eval(w rueidis.Client) rueidis.Completed {
	return w.B().Eval().Script(c.s.src).Numkeys(int64(len(c.keys))).Key(c.keys...).Arg(c.args...).Build()
}

// run runs one script in one round trip, or in two on a server that does not know it yet.
func run(ctx context.Context, w rueidis.Client, c call) rueidis.RedisResult {
	res := w.Do(ctx, c.evalsha(w))
	if unknown(res.Error()) {
		res = w.Do(ctx, c.eval(w))
	}
	for wait := leastMigrationWait; c.s.mustArrive && Migrating(res.Error()) && pause(ctx, wait); wait *= 2 {
		res = w.Do(ctx, c.eval(w)) // the node that gets the slot may not know the script
	}
	return res
}

// runAll pipelines scripts, and those that the server does not know yet once more.
func runAll(ctx context.Context, w rueidis.Client, calls []call) []rueidis.RedisResult {
	cmds := make([]rueidis.Completed, len(calls))
	for i, c := range calls {
		cmds[i] = c.evalsha(w)
	}
	res := w.DoMulti(ctx, cmds...)
	var again []rueidis.Completed
	var at []int
	for i := range res {
		if unknown(res[i].Error()) {
			again, at = append(again, calls[i].eval(w)), append(at, i)
		}
	}
	if len(again) > 0 {
		for i, r := range w.DoMulti(ctx, again...) {
			res[at[i]] = r
		}
	}
	for wait := leastMigrationWait; ; wait *= 2 {
		again, at = again[:0], at[:0]
		for i := range res {
			if calls[i].s.mustArrive && Migrating(res[i].Error()) {
				again, at = append(again, calls[i].eval(w)), append(at, i)
			}
		}
		if len(again) == 0 || !pause(ctx, wait) {
			return res
		}
		for i, r := range w.DoMulti(ctx, again...) {
			res[at[i]] = r
		}
	}
}

// While a slot moves to another node, its keys are on two: a script then finds some of its own on neither, and is to
// come again. What brings a change does so, for so long. A lease and a fill do not: their readers have the source.
const (
	leastMigrationWait = 5 * time.Millisecond
	mostMigrationWait  = 640 * time.Millisecond // the last one; all together are twice as long
)

// Migrating reports whether an error says that the slot of a script's keys is on its way to another node. It says
// nothing about other buckets.
func Migrating(err error) bool {
	if err == nil { // errors.As would make the compiler put answer on the heap for each command
		return false
	}
	var answer *rueidis.RedisError
	return errors.As(err, &answer) && saysWord(answer.Error(), "TRYAGAIN")
}

// pause reports whether ctx has not ended meanwhile, and the wait is not too long.
func pause(ctx context.Context, wait time.Duration) bool {
	if wait > mostMigrationWait {
		return false
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func unknown(err error) bool {
	e, ok := rueidis.IsRedisErr(err)
	return ok && e.IsNoScript()
}
