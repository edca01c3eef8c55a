package l2_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

func openBuckets(r *nearcachetest.Redis, n int) (*l2.L2, error) {
	return l2.Open(l2.Config{Redis: r.ClientOption(), Buckets: n, Tracker: &ear{}})
}

// A program with another number of buckets than the prefix is refused: by Open, and by its claim if nothing was stored
// when it began.
func TestBuckets_OthersAreRefused(t *testing.T) {
	redis := nearcachetest.NewRedis(t)
	first, err := openBuckets(redis, 256)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	other, err := openBuckets(redis, 64)
	if err != nil {
		t.Fatalf("nothing is stored yet, and a program is refused: %v", err)
	}
	defer other.Close()
	for range 2 {
		if err := first.ClaimBuckets(ctx()); err != nil {
			t.Fatal(err)
		}
	}
	var refused *l2.BucketsError
	if err := other.ClaimBuckets(ctx()); !errors.As(err, &refused) || refused.Stored != "256" ||
		refused.Configured != 64 {
		t.Errorf("got the error %v, want one that names 256 and 64", err)
	}
	late, err := openBuckets(redis, 1024)
	if !errors.As(err, &refused) || refused.Configured != 1024 || !strings.Contains(err.Error(), "Config.Buckets") {
		t.Errorf("got the error %v, want one that names the number and the option", err)
	}
	if late != nil {
		late.Close()
	}
	redis.Do("DEL", first.Keyspace().Layout())
	redis.Do("RPUSH", first.Keyspace().Layout(), "a list")
	if err := first.ClaimBuckets(ctx()); !errors.As(err, &refused) {
		t.Errorf("a list is taken for a number of buckets: %v", err)
	}
}

// While Redis is away a program of another number can begin. It connects to nothing, also when Redis is back, and says
// why.
func TestBuckets_OthersAreRefusedWhenRedisIsBack(t *testing.T) {
	redis := nearcachetest.NewRedis(t)
	first, err := openBuckets(redis, 256)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if err := first.ClaimBuckets(ctx()); err != nil {
		t.Fatal(err)
	}
	redis.Stop()
	other, err := openBuckets(redis, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := redis.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the fault is named", func() bool {
		return slices.ContainsFunc(other.Faults(), func(f *l2.Fault) bool { return f.Code == "redis_buckets" })
	})
	k := other.Keyspace().Key("n", "a")
	if _, _, err := other.Get(ctx(), k, l2.ReadOptions{}); !errors.Is(err, l2.ErrUnavailable) {
		t.Errorf("got the error %v of a read, want ErrUnavailable", err)
	}
}
