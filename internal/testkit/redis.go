package testkit

import (
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// Redis is a Redis that belongs to one test, which may flush it.
type Redis struct {
	Option rueidis.ClientOption
	Do     func(args ...string) string // sends a command as another client, and returns the reply
}

// OnBothRedis runs a test on the fake Redis, and on a real one if it is installed. On the real one the test's user has
// the rights that the documents name, and no more.
func OnBothRedis(t *testing.T, test func(t *testing.T, r Redis)) {
	t.Helper()
	OnBothRedisAs(t, l2.Use{Alone: true}, test)
}

// OnBothRedisAs is OnBothRedis with the rights for a use.
func OnBothRedisAs(t *testing.T, u l2.Use, test func(t *testing.T, r Redis)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		e := nearcachetest.NewRedis(t)
		test(t, Redis{e.ClientOption(), func(args ...string) string { return e.Do(args[0], args[1:]...) }})
	})
	t.Run("real", func(t *testing.T) {
		p := servicestest.StartRedis(t)
		test(t, Redis{Least(u, p), p.Do})
	})
}

// Least makes a user on the servers who has the rights that the documents name for a use, and no more. It returns how
// to connect to the first server as that user.
func Least(u l2.Use, servers ...*servicestest.RedisProcess) rueidis.ClientOption {
	const name, password = "least", "least-secret"
	user := append([]string{"ACL", "SETUSER", name, "reset", "on", ">" + password, "~" + l2.DefaultPrefix + ":*"},
		strings.Fields(l2.Rights(u))...)
	for _, s := range servers {
		args := user
		if strings.Contains(s.Do("INFO", "server"), "\nredis_version:6.0.") { // later ones let everybody say HELLO
			args = append(user[:len(user):len(user)], "+hello")
		}
		s.Do(args...)
	}
	return rueidis.ClientOption{InitAddress: []string{servers[0].Addr}, Username: name, Password: password}
}
