package operator_test

import (
	"context"
	"testing"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/product/app/endpoint"
)

// testContext ends with the test, and before that when stop is called.
func testContext(t *testing.T) (ctx context.Context, stop func()) {
	t.Helper()
	ctx, stop = context.WithCancel(context.Background())
	t.Cleanup(stop)
	return ctx, stop
}

// nobody is an Applier that nobody reads from.
type nobody struct{}

func (nobody) Apply(context.Context, ...coherence.Event) error { return nil }

func optionOf(t *testing.T, env map[string]string) rueidis.ClientOption {
	t.Helper()
	opt, err := endpoint.Redis(env["REDIS_URL"])
	if err != nil {
		t.Fatal(err)
	}
	return opt
}
