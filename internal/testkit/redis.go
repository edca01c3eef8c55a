package testkit

import (
	"testing"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// Redis is a Redis that belongs to one test, which may flush it.
type Redis struct {
	Option rueidis.ClientOption
	Do     func(args ...string) string // sends a command as another client, and returns the reply
}

// OnBothRedis runs a test on the fake Redis, and on a real one if it is installed.
func OnBothRedis(t *testing.T, test func(t *testing.T, r Redis)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		e := nearcachetest.NewRedis(t)
		test(t, Redis{e.ClientOption(), func(args ...string) string { return e.Do(args[0], args[1:]...) }})
	})
	t.Run("real", func(t *testing.T) {
		p := servicestest.StartRedis(t)
		test(t, Redis{rueidis.ClientOption{InitAddress: []string{p.Addr}}, p.Do})
	})
}
