package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/tier"
)

const purgeBatch = 500

// apply brings the versions to Redis.
func (p *purger) apply(ctx context.Context, store *tier.L2, versions []coherence.Version) error {
	note, all := p.progress(p.cmd, "applied to Redis"), int64(len(p.target.keys))
	events := make([]coherence.Event, 0, purgeBatch)
	for i, k := range p.target.keys {
		events = append(events, coherence.Event{Namespace: k.Namespace, Key: k.Name, Version: versions[i]})
		if len(events) < purgeBatch && i+1 < len(p.target.keys) {
			continue
		}
		if err := store.Apply(ctx, events...); err != nil {
			p.result.add("redis", false, "not reached; a relay that reaches it applies the versions")
			return fmt.Errorf("%w: %w", errUnreached, err)
		}
		events = events[:0]
		note.at(int64(i+1), all)
	}
	p.result.add("redis", true, "applied; the instances that Redis tracks have been told")
	return nil
}

// bySource is a purge by the source, from which every channel gets it.
func (p *purger) bySource(ctx context.Context) error {
	src, pool, closeIt, err := p.openSource(ctx)
	if err != nil {
		return err
	}
	defer closeIt()
	versions, err := p.count(ctx, src, pool)
	if err != nil {
		return err
	}
	at, err := src.Position(ctx)
	if err != nil {
		return fmt.Errorf("%w: the versions are counted, but their position is not known: %w", errUnreached, err)
	}
	if err = p.toRedis(ctx, versions, at); err != nil {
		return errors.Join(err, p.awaitEvents(ctx, src, pool, at))
	}
	return p.awaitEvents(ctx, src, pool, at)
}

// count counts a version of each key.
func (p *purger) count(ctx context.Context, src *postgres.Source, pool *pgxpool.Pool) ([]coherence.Version, error) {
	versions := make([]coherence.Version, 0, len(p.target.keys))
	note, all := p.progress(p.cmd, "counted in the database"), int64(len(p.target.keys))
	for batch := range slices.Chunk(p.target.keys, purgeBatch) {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			for _, k := range batch {
				v, err := src.Bump(ctx, tx, k.Namespace, k.Name, coherence.OpUpdated)
				if err != nil {
					return err
				}
				versions = append(versions, v)
			}
			return nil
		})
		if err != nil {
			done := len(versions) - len(versions)%purgeBatch
			return nil, fmt.Errorf("%w: %d of %d versions were counted: %w", errUnreached, done, all, err)
		}
		note.at(int64(len(versions)), all)
	}
	if p.target.all == "" {
		p.result.Version = versions[0]
		p.result.add("database", true, "version %s is counted; whatever is older will be dropped", versions[0])
	} else {
		p.result.add("database", true, "%d versions are counted; whatever is older will be dropped", len(versions))
	}
	return versions, nil
}

// toRedis applies the versions, and waits for the relay to bring them as well.
func (p *purger) toRedis(ctx context.Context, versions []coherence.Version, at coherence.Position) error {
	if !p.hasRedis() {
		p.result.add("redis", false, "not looked at: --redis is not given; a relay brings the versions there")
		return nil
	}
	store, err := p.openTier(ctx)
	if err != nil {
		p.result.add("redis", false, "not reached; a relay that reaches it applies the versions")
		return fmt.Errorf("%w: %w", errUnreached, err)
	}
	defer store.Close()
	if err := p.apply(ctx, store, versions); err != nil {
		return err
	}
	err = p.await(ctx, func() (bool, error) { return p.covered(ctx, store, at) })
	if err != nil {
		p.result.add("relay", false, "has not brought the versions to Redis")
		return fmt.Errorf("%w: is a relay running, and is no transaction open (nearcache doctor)? %w", errUnreached, err)
	}
	p.result.add("relay", true, "has brought the versions to Redis")
	return nil
}

// covered says whether the buckets of all keys have reached a position.
func (p *purger) covered(ctx context.Context, store *tier.L2, at coherence.Position) (bool, error) {
	engine := l2.FromHandle(store.Handle())
	all, err := engine.Reached(ctx)
	if err != nil {
		return false, err
	}
	for _, k := range p.target.keys {
		if !all[engine.Keyspace().Key(k.Namespace, k.Name).Bucket].Position.Covers(at) {
			return false, nil
		}
	}
	return true, nil
}

// awaitEvents waits until the relays have published what the source had at a position.
func (p *purger) awaitEvents(ctx context.Context, src *postgres.Source, pool *pgxpool.Pool,
	at coherence.Position) error {
	var behind []string
	err := p.await(ctx, func() (bool, error) {
		all, err := p.cursors(ctx, src, pool)
		if err != nil {
			return false, err
		}
		behind = behind[:0]
		for _, c := range all {
			done, err := published(ctx, src, c.at, at)
			if err != nil {
				return false, err
			}
			if !done {
				behind = append(behind, c.Name)
			}
		}
		return len(behind) == 0, nil
	})
	switch {
	case err != nil:
		p.result.add("events", false, "not reached: the relay %q has not published the versions", behind)
		return fmt.Errorf("%w: the events: is a relay running that publishes? %w", errUnreached, err)
	default:
		all, err := p.cursors(ctx, src, pool)
		if len(all) == 0 {
			p.result.add("events", true, "no relay publishes there")
		} else {
			p.result.add("events", true, "the relay has published the versions")
		}
		return err
	}
}

// published says whether a relay with this cursor has published all that the source had at a position. A relay saves
// its cursor after each batch of changes, and only now and then while the position moves without any: then nothing lies
// between the two.
func published(ctx context.Context, src *postgres.Source, cursor, at coherence.Position) (bool, error) {
	if cursor.Covers(at) || cursor.Timeline != at.Timeline {
		return cursor.Covers(at), nil
	}
	left, upto, err := src.Changes(ctx, cursor, 1)
	if errors.Is(err, coherence.ErrTrimmed) { // the relay will say so, and go on behind the gap
		return false, nil
	}
	return len(left) == 0 && upto.Covers(at), err
}

// cursors are those of the relays that are to be waited for.
func (p *purger) cursors(ctx context.Context, src *postgres.Source, pool *pgxpool.Pool) ([]relayCursor, error) {
	all, err := p.relayCursors(ctx, src, pool)
	if p.relay == "" || err != nil {
		return all, err
	}
	for _, c := range all {
		if c.Name == p.relay {
			return []relayCursor{c}, nil
		}
	}
	return []relayCursor{{Name: p.relay}}, nil // it has not published yet
}
