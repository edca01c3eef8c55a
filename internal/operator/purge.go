package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/tier"
)

// step is one place that a purge has to reach.
type step struct {
	Where   string `json:"where"`
	Reached bool   `json:"reached"`
	Text    string `json:"text"`
}

// purgeResult is what purge prints.
type purgeResult struct {
	Target  string            `json:"target"`
	DryRun  bool              `json:"dry_run"`
	Keys    int               `json:"keys"` // whose versions are counted, tags apart
	Version coherence.Version `json:"version,omitempty"`
	Steps   []step            `json:"steps"`
}

func (r *purgeResult) add(where string, reached bool, format string, args ...any) {
	r.Steps = append(r.Steps, step{where, reached, fmt.Sprintf(format, args...)})
}

func (r *purgeResult) print(w io.Writer) {
	fmt.Fprintf(w, "purge\t%s\n", r.Target)
	for _, s := range r.Steps {
		fmt.Fprintf(w, "%s\t%s\n", s.Where, s.Text)
	}
	if r.DryRun {
		fmt.Fprintln(w, "nothing was done: --yes does it")
	}
}

// target is what is purged.
type target struct {
	name string
	keys []cacheKey // that are known at once
	all  string     // a namespace whose keys have to be looked for
}

// purger purges one target.
type purger struct {
	*tool
	cmd    *cobra.Command
	target target
	relay  string
	result purgeResult
}

const purgeReach = `With a database, purge counts a new version of each key there, applies it to Redis, and waits
until the relay has brought it to Redis and has published it. So an instance that trusts the events drops the key,
even if Redis has forgotten that the instance read it.

Without a database it applies to Redis alone: whatever there is goes. That reaches the instances that Redis
tracks. It fails if a relay feeds this Redis, since then instances may serve what the events vouch for.`

const purgeLong = purgeReach + `

Without --yes it prints what it would do, and does nothing.`

func (t *tool) purgeCommand() *cobra.Command {
	return group("purge", "Make every instance drop a key, a tag or a namespace", purgeLong,
		t.purge("key KEY", "Make every instance drop what it holds of a key", 1, func(args []string) (target, error) {
			k, err := t.parseKey(args[0])
			return target{name: "the key " + k.String(), keys: []cacheKey{k}}, err
		}),
		t.purge("tag NAMESPACE TAG", "Make every instance drop the values that have a tag", 2,
			func(args []string) (target, error) {
				if err := coherence.CheckName(args[0]); err != nil {
					return target{}, usage("the namespace %.60q %w", args[0], err)
				}
				if args[1] == "" {
					return target{}, usage("the tag is empty; purge namespace is for all of them")
				}
				k := cacheKey{nearcache.TagNamespace, nearcache.TagKey(args[0], args[1])}
				return target{name: fmt.Sprintf("the tag %q of %s", args[1], args[0]), keys: []cacheKey{k}}, nil
			}),
		t.purge("namespace NAMESPACE", "Make every instance drop every key of a namespace", 1,
			func(args []string) (target, error) {
				if err := coherence.CheckName(args[0]); err != nil {
					return target{}, usage("the namespace %.60q %w", args[0], err)
				}
				return target{name: "the namespace " + args[0], all: args[0],
					keys: []cacheKey{{nearcache.TagNamespace, nearcache.TagKey(args[0], "")}}}, nil
			}))
}

// invalidateCommand is purge key without a plan.
func (t *tool) invalidateCommand() *cobra.Command {
	p := &purger{tool: t}
	cmd := &cobra.Command{Use: "invalidate NAMESPACE NAME",
		Short: "Make every instance drop what it holds of a key, at once",
		Long: "Invalidate is purge key without a plan: it does it at once, and says what it could not reach.\n\n" +
			purgeReach,
		Args: exactly(2)}
	cmd.Flags().StringVar(&p.relay, "relay", "",
		"name of the relay whose events are waited for (default every relay that has a cursor)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		k, err := t.parseKey(args[0] + ":" + args[1])
		if err == nil && k.Namespace != args[0] {
			err = usage("the namespace %.60q contains a colon", args[0])
		}
		if err != nil {
			return err
		}
		p.target = target{name: "the key " + k.String(), keys: []cacheKey{k}}
		return p.start(cmd, true)
	}
	return cmd
}

func (t *tool) purge(use, short string, n int, parse func(args []string) (target, error)) *cobra.Command {
	var yes bool
	p := &purger{tool: t}
	cmd := &cobra.Command{Use: use, Short: short, Long: short + ".\n\n" + purgeLong, Args: exactly(n)}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it, instead of printing what would be done")
	cmd.Flags().StringVar(&p.relay, "relay", "",
		"name of the relay whose events are waited for (default every relay that has a cursor)")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if p.target, err = parse(args); err != nil {
			return err
		}
		return p.start(cmd, yes)
	}
	return cmd
}

// start purges, or prints the plan.
func (p *purger) start(cmd *cobra.Command, yes bool) error {
	p.cmd, p.result = cmd, purgeResult{Target: p.target.name, DryRun: !yes, Steps: []step{}}
	ctx, cancel := p.limit(cmd)
	if p.target.all != "" {
		ctx, cancel = p.limitIfAsked(cmd)
	}
	defer cancel()
	if !p.hasDatabase() && !p.hasRedis() {
		return usage("--redis or REDIS_URL is needed, and --database or DATABASE_URL if there is a source")
	}
	err := p.run(ctx, yes)
	if len(p.result.Steps) == 0 {
		return err
	}
	return errors.Join(p.show(cmd, &p.result, p.result.print), err)
}

func (p *purger) run(ctx context.Context, yes bool) error {
	if p.target.all != "" {
		if err := p.find(ctx); err != nil {
			return err
		}
	}
	p.result.Keys = len(p.target.keys)
	switch {
	case !yes:
		return p.plan(ctx)
	case p.hasDatabase():
		return p.bySource(ctx)
	}
	return p.byRedis(ctx)
}

// find adds the keys of a namespace that Redis holds records of, and those that the database has counted.
func (p *purger) find(ctx context.Context) error {
	seen := map[string]bool{}
	foreign := 0
	if p.hasRedis() {
		engine, closeIt, err := p.openEngine(ctx)
		if err != nil {
			return err
		}
		defer closeIt()
		var names []string
		if names, foreign, err = namesIn(ctx, engine, p.target.all); err != nil {
			return err
		}
		for _, name := range names {
			seen[name] = true
		}
	}
	inRedis := len(seen)
	if p.hasDatabase() {
		src, pool, closeIt, err := p.openSource(ctx)
		if err != nil {
			return err
		}
		defer closeIt()
		if _, err := src.Position(ctx); err != nil {
			return err
		}
		// A long key is kept under its hash, of which no key can be made.
		rows, err := pool.Query(ctx, p.in(`select key from @@.versions where namespace = $1 and not deleted
			and not starts_with(key, 'sha256:')`), p.target.all)
		if err != nil {
			return fmt.Errorf("the keys of %s in the database: %w", p.target.all, err)
		}
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("the keys of %s in the database: %w", p.target.all, err)
		}
		for _, name := range names {
			seen[name] = true
		}
	}
	for name := range seen {
		p.target.keys = append(p.target.keys, cacheKey{p.target.all, name})
	}
	// One order for all who count several keys: transactions that count them in two orders may deadlock.
	slices.SortFunc(p.target.keys[1:], func(a, b cacheKey) int { return compareText(a.Name, b.Name) })
	p.result.add("keys", true, "%d are known: %d in Redis, the others in the database; an instance may hold one that "+
		"neither knows, until its TTL (nearcache relay reset drops everything)", len(seen), inRedis)
	if foreign > 0 {
		p.result.add("keys", false, "%d keys in Redis look like records of it and belong to another number of buckets: "+
			"they are left alone (is --buckets right?)", foreign)
	}
	return nil
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// plan says what would be done.
func (p *purger) plan(ctx context.Context) error {
	if p.target.all != "" {
		p.result.add("cost", true, "every one of them is loaded from the database again when it is read")
	}
	if !p.hasDatabase() {
		store, err := p.openTier(ctx)
		if err != nil {
			return err
		}
		defer store.Close()
		fed, err := fedByRelay(ctx, store)
		if err != nil {
			return err
		}
		p.result.add("redis", true, "the records would be dropped, and the instances told that Redis tracks")
		if fed {
			p.result.add("events", false, "would not be reached: a relay feeds this Redis; give --database")
		}
		return nil
	}
	src, pool, closeIt, err := p.openSource(ctx)
	if err != nil {
		return err
	}
	defer closeIt()
	if p.target.all == "" {
		v, err := src.Version(ctx, p.target.keys[0].Namespace, p.target.keys[0].Name)
		if err != nil {
			return err
		}
		p.result.Version = v
		p.result.add("database", true, "version %s would be followed by %d", v, v+1)
	} else {
		p.result.add("database", true, "%d versions would be counted, the namespace's tag among them", p.result.Keys)
	}
	if !p.hasRedis() {
		p.result.add("redis", false, "would not be looked at: --redis is not given; a relay brings the versions there")
	} else {
		p.result.add("redis", true, "the versions would be applied, and the relay waited for")
	}
	relays, err := p.cursors(ctx, src, pool)
	if err != nil {
		return err
	}
	if len(relays) == 0 {
		p.result.add("events", true, "no relay has published anything")
	} else {
		p.result.add("events", true, "would be waited for: %d relays publish", len(relays))
	}
	return nil
}

// byRedis is a purge without a source.
func (p *purger) byRedis(ctx context.Context) error {
	store, err := p.openTier(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := p.apply(ctx, store, make([]coherence.Version, len(p.target.keys))); err != nil {
		return err
	}
	fed, err := fedByRelay(ctx, store)
	if err != nil {
		return fmt.Errorf("%w: whether a relay feeds this Redis is not known: %w", errUnreached, err)
	}
	if fed {
		p.result.add("database", false, "not reached: none is given")
		p.result.add("events", false, "not reached: instances may serve on what it vouches for")
		return fmt.Errorf("%w: a relay feeds this Redis, so the versions must be counted in the source: "+
			"give --database or DATABASE_URL", errUnreached)
	}
	return nil
}

func fedByRelay(ctx context.Context, store *tier.L2) (bool, error) {
	all, err := store.Watermarks(ctx)
	for _, w := range all {
		if !w.Position.IsZero() {
			return true, err
		}
	}
	return false, err
}
