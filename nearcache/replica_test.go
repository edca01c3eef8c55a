package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// replicated is a primary and a replica that follows it when it is told to.
type replicated struct {
	*nearcachetest.Source
	mu      sync.Mutex
	replica nearcache.Version // what it has come to
	fails   error
	wanted  []nearcache.Version
	primary int // calls
}

func (r *replicated) load(ctx context.Context, k string) (nearcache.Entry[string], error) {
	r.mu.Lock()
	r.primary++
	r.mu.Unlock()
	if _, ok := nearcache.WantedVersion(ctx); ok {
		return nearcache.Entry[string]{}, errors.New("the primary is told what is wanted")
	}
	v, err := r.Version(ctx, "t", k)
	return state(v), err
}

func (r *replicated) loadReplica(ctx context.Context, _ string) (nearcache.Entry[string], error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v, ok := nearcache.WantedVersion(ctx); ok {
		r.wanted = append(r.wanted, v)
	}
	if r.fails != nil {
		return nearcache.Entry[string]{}, r.fails
	}
	if r.replica == 0 {
		return nearcache.Entry[string]{}, nearcache.ErrNotFound
	}
	return state(r.replica), nil
}

func state(v nearcache.Version) nearcache.Entry[string] {
	return nearcache.Entry[string]{Value: fmt.Sprint("state ", v), Version: v}
}

// TestReplica_ALaggingAnswerIsReadFromThePrimary: what a replica answers is served if it is new enough, and never
// otherwise.
func TestReplica_ALaggingAnswerIsReadFromThePrimary(t *testing.T) {
	r := &replicated{Source: nearcachetest.NewSource()}
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(), Source: r})
	cache := newCache(t, client, nearcache.Options[string, string]{Load: r.load, Replica: r.loadReplica})
	write := func() {
		t.Helper()
		_, err := cache.Write(t.Context(), "k", func(context.Context) (nearcache.Version, error) {
			return r.Write("t", "k", coherence.OpUpdated), nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	read := func(want nearcache.Version, primary int) {
		t.Helper()
		if got := get(t, cache, "k"); got.Version != want || got.Value != state(want).Value {
			t.Errorf("read %q of version %d, want version %d", got.Value, got.Version, want)
		}
		if r.primary != primary {
			t.Errorf("the primary was asked %d times, want %d", r.primary, primary)
		}
	}
	write()
	r.replica = 1
	read(1, 0) // it has it
	write()
	read(2, 1) // it lags: the row is old
	write()
	r.replica = 0
	read(3, 2) // it lags: it has no row yet
	write()
	r.replica, r.fails = 4, errors.New("it is down")
	read(4, 3)
	write()
	r.replica, r.fails = 5, nil
	read(5, 3)
	if got, want := fmt.Sprint(r.wanted), "[1 2 3 4 5]"; got != want {
		t.Errorf("the replica was told that versions %s are wanted, want %s", got, want)
	}
}

// TestReplica_AtLeastAndFresh: a read that asks for what the replica does not have yet gets it.
func TestReplica_AtLeastAndFresh(t *testing.T) {
	r := &replicated{Source: nearcachetest.NewSource()}
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption(), Source: r})
	cache := newCache(t, client, nearcache.Options[string, string]{Load: r.load, Replica: r.loadReplica})
	r.replica = r.Write("t", "k", coherence.OpUpdated)
	get(t, cache, "k")
	for _, ask := range []func(v nearcache.Version) nearcache.ReadOptions{
		func(v nearcache.Version) nearcache.ReadOptions { return nearcache.ReadOptions{AtLeast: v} },
		func(nearcache.Version) nearcache.ReadOptions { return nearcache.ReadOptions{Fresh: true} },
		func(nearcache.Version) nearcache.ReadOptions {
			return nearcache.ReadOptions{MaxStaleness: time.Nanosecond}
		},
	} {
		v := r.Write("t", "k", coherence.OpUpdated) // nobody invalidates
		got, err := cache.Read(t.Context(), "k", ask(v))
		if err != nil || got.Version != v {
			t.Errorf("Read(%+v) = version %d, %v, want %d", ask(v), got.Version, err, v)
		}
	}
}

func TestReplica_IsRefusedWithoutWhatChecksIt(t *testing.T) {
	r := &replicated{Source: nearcachetest.NewSource()}
	redis := nearcachetest.NewRedis(t).ClientOption()
	for want, c := range map[string]struct {
		cfg nearcache.Config
		opt nearcache.Options[string, string]
	}{
		"Replica needs a Config.Source": {nearcache.Config{Redis: redis}, nearcache.Options[string, string]{Load: r.load,
			Replica: r.loadReplica}},
		"Load is not": {nearcache.Config{Redis: redis, Source: r}, nearcache.Options[string, string]{
			LoadMany: func(context.Context, []string) (map[string]nearcache.Entry[string], error) { return nil, nil },
			Replica:  r.loadReplica}},
	} {
		_, err := nearcache.NewCache(newClient(t, c.cfg), "t", c.opt)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewCache = %v, want an error with %q", err, want)
		}
	}
}
