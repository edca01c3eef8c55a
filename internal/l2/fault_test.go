package l2_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

func codes(store *l2.L2) []string {
	var out []string
	for _, f := range store.Faults() {
		out = append(out, f.Code)
	}
	slices.Sort(out)
	return out
}

func TestOpen_RefusesWhatWaitingDoesNotMend(t *testing.T) {
	for _, c := range []struct{ name, command, message, says string }{
		{"password", "HELLO", "WRONGPASS invalid username-password pair or user is disabled.", "password"},
		{"no password", "CLIENT", "NOAUTH Authentication required.", "password"},
		{"no RESP3", "HELLO", "NOPROTO unsupported protocol version", "RESP3"},
		{"no HELLO", "HELLO", "ERR unknown command 'HELLO', with args beginning with: '3'", "RESP3"},
		{"no tracking right", "CLIENT", "NOPERM User app has no permissions to run the 'client|tracking' command", "right"},
		{"no tracking command", "CLIENT", "ERR unknown subcommand 'TRACKING'. Try CLIENT HELP.", "TRACKING"},
		{"Redis 6.0", "GETEX", "ERR unknown command `GETEX`, with args beginning with: `nc:{0}`,", "6.2"},
		{"no scripts", "EVALSHA", "ERR unknown command 'EVALSHA', with args beginning with: 'a'", "EVAL"},
		{"no right on the Sentinels", "GETEX",
			"NOPERM User app has no permissions to run the 'sentinel|sentinels' command", "of ClientOption.Sentinel"},
		{"no right on the Sentinels of Redis 6.2", "GETEX",
			"NOPERM this user has no permissions to run the 'sentinel' command or its subcommand", "+sentinel|sentinels"},
		{"no right to run scripts", "EVALSHA", "NOPERM User app has no permissions to run the 'evalsha' command", "+evalsha"},
		{"no right within a script", "SET", "NOPERM User app has no permissions to run the 'set' command", "+set"},
	} {
		t.Run(c.name, func(t *testing.T) {
			redis := nearcachetest.NewRedis(t)
			redis.FailCommand(c.command, c.message)
			store, err := l2.Open(l2.Config{Redis: redis.ClientOption(), Tracker: &ear{}})
			if err == nil {
				store.Close()
				t.Fatalf("Open succeeded; faults %v", codes(store))
			}
			if !errors.Is(err, coherence.ErrMisconfigured) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want ErrMisconfigured that says %q", err, c.says)
			}
		})
	}
}

func TestOpen_WaitsForWhatPasses(t *testing.T) {
	for _, c := range []struct{ message, code string }{
		{"LOADING Redis is loading the dataset in memory", "redis_loading"},
		{"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "redis_master_down"},
		{"ERR something new", "redis_error"},
	} {
		t.Run(c.code, func(t *testing.T) {
			redis := nearcachetest.NewRedis(t)
			redis.FailCommand("GETEX", c.message)
			store, err := l2.Open(l2.Config{Redis: redis.ClientOption(), Tracker: &ear{}})
			if err != nil {
				t.Fatalf("Open: %v", err)
			}
			defer store.Close()
			if got := codes(store); !slices.Equal(got, []string{c.code}) {
				t.Errorf("faults are %v, want %s", got, c.code)
			}
			redis.FailCommand("GETEX", "")
			if _, err := store.Heartbeat(context.Background(), l2.AllBuckets(l2.DefaultBuckets)); err != nil {
				t.Fatal(err)
			}
			if got := codes(store); len(got) != 0 {
				t.Errorf("faults are %v after Redis has answered, want none", got)
			}
		})
	}
}

func TestOpen_RotatedPasswordMayComeRight(t *testing.T) {
	redis := nearcachetest.NewRedis(t)
	redis.FailCommand("HELLO", "WRONGPASS invalid username-password pair or user is disabled.")
	o := redis.ClientOption()
	o.AuthCredentialsFn = func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
		return rueidis.AuthCredentials{Username: "app", Password: "secret"}, nil
	}
	store, err := l2.Open(l2.Config{Redis: o, Tracker: &ear{}})
	if err != nil {
		t.Fatalf("Open: %v, want the client to go on connecting", err)
	}
	store.Close()
}

// A Redis that refuses writes is not up, although it answers every read.
func TestUp_NotWithoutWrites(t *testing.T) {
	for _, c := range []struct{ message, code string }{
		{"OOM command not allowed when used memory > 'maxmemory'.", "redis_out_of_memory"},
		{"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.", "redis_misconf"},
		{"READONLY You can't write against a read only replica.", "redis_read_only"},
		{"NOREPLICAS Not enough good replicas to write.", "redis_no_replicas"},
	} {
		t.Run(c.code, func(t *testing.T) {
			redis := nearcachetest.NewRedis(t)
			store, err := l2.Open(l2.Config{Redis: redis.ClientOption(), Tracker: &ear{}})
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			if !store.Up() {
				t.Fatalf("not up; faults %v", codes(store))
			}
			redis.FailCommand("SET", c.message)
			k := store.Keyspace().Key("t", "1")
			lease := func() error {
				_, err := store.Acquire(context.Background(), k, l2.NewLeaseID(), time.Second, l2.AcquireOptions{})
				return err
			}
			if err := lease(); err == nil {
				t.Fatal("a lease was granted by a Redis that refuses SET")
			}
			if _, _, err := store.Get(context.Background(), k, l2.ReadOptions{Watermark: true}); err != nil {
				t.Fatalf("a read failed: %v", err)
			}
			if got := codes(store); store.Up() || !slices.Equal(got, []string{c.code}) {
				t.Errorf("up %v with faults %v, want down with %s", store.Up(), got, c.code)
			}
			redis.FailCommand("SET", "")
			if err := lease(); err != nil {
				t.Fatal(err)
			}
			if !store.Up() {
				t.Errorf("not up after a write has succeeded; faults %v", codes(store))
			}
		})
	}
}

// The errors of real servers, by users that lack one right each.
func TestOpen_RealRedisNamesTheMissingRight(t *testing.T) {
	redis := servicestest.StartRedis(t)
	admin, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{redis.Addr}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	rights := []string{"+get", "+getex", "+set", "+del", "+exists", "+pttl", "+pexpire", "+eval",
		"+evalsha", "+client|tracking"}
	open := func(without string) error {
		if err := admin.Do(t.Context(), admin.B().ScriptFlush().Build()).Error(); err != nil {
			t.Fatal(err)
		}
		args := []string{"SETUSER", "app", "reset", "on", ">pw", "~nc:*"}
		for _, r := range rights {
			if r != without {
				args = append(args, r)
			}
		}
		if err := admin.Do(t.Context(), admin.B().Arbitrary("ACL").Args(args...).Build()).Error(); err != nil {
			t.Fatal(err)
		}
		store, err := l2.Open(l2.Config{Tracker: &ear{},
			Redis: rueidis.ClientOption{InitAddress: []string{redis.Addr}, Username: "app", Password: "pw"}})
		if err == nil {
			store.Close()
		}
		return err
	}
	if err := open(""); err != nil {
		t.Fatalf("with every right: %v", err)
	}
	for _, right := range rights {
		if err := open(right); !errors.Is(err, coherence.ErrMisconfigured) || !strings.Contains(err.Error(), "right") {
			t.Errorf("without %s: got %v, want an error that names the rights", right, err)
		}
	}
	_, err = l2.Open(l2.Config{Redis: rueidis.ClientOption{InitAddress: []string{redis.Addr},
		Username: "app", Password: "guess-me"}})
	if !errors.Is(err, coherence.ErrMisconfigured) || strings.Contains(err.Error(), "guess-me") {
		t.Errorf("wrong password: got %v, want ErrMisconfigured without the password in it", err)
	}
}

// TestHeartbeat_SaysAFaultOnce: the error ends up in a log line, and one fault concerns every bucket.
func TestHeartbeat_SaysAFaultOnce(t *testing.T) {
	redis := nearcachetest.NewRedis(t)
	store, err := l2.Open(l2.Config{Redis: redis.ClientOption()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	redis.FailCommand("GETEX", "LOADING Redis is loading the dataset in memory")
	_, err = store.Heartbeat(t.Context(), l2.AllBuckets(l2.DefaultBuckets))
	if err == nil || strings.Count(err.Error(), "LOADING") != 1 || !strings.Contains(err.Error(), "64 of 64 buckets") {
		t.Errorf("got %v, want the fault once, and how many buckets it concerns", err)
	}
}
