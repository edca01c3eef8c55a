package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
)

// Redis takes a token for a short time, and ends the connections that were made with it, as managed services do with
// tokens of IAM. The client asks for a token at each dial.
func TestTokens_OfRedisExpire(t *testing.T) {
	p := servicestest.StartRedis(t)
	opt := testkit.Least(l2.Use{Alone: true}, p)
	user := opt.Username
	var token, asked atomic.Int64
	expire := func() {
		n := token.Add(1)
		p.Do("ACL", "SETUSER", user, "resetpass", ">"+fmt.Sprint("token ", n))
		p.Do("CLIENT", "KILL", "USER", user)
	}
	expire()
	opt.Username, opt.Password = "", ""
	opt.AuthCredentialsFn = func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
		asked.Add(1)
		return rueidis.AuthCredentials{Username: user, Password: fmt.Sprint("token ", token.Load())}, nil
	}
	src := newSource()
	src.put("a", "value 0")
	client := newClient(t, nearcache.Config{Redis: opt})
	c := newCache(t, client, nearcache.Options[string, string]{Load: src.load})
	resident(t, c, "a")
	for i := range 5 {
		before := asked.Load()
		expire()
		v := fmt.Sprint("value ", i+1)
		_, err := c.Write(t.Context(), "a", func(context.Context) (nearcache.Version, error) { return src.put("a", v), nil })
		if err != nil && !errors.Is(err, nearcache.ErrNotInvalidated) {
			t.Fatal(err)
		}
		if r := get(t, c, "a"); r.Value != v {
			t.Errorf("token %d: the writer reads %q, want %q", token.Load(), r.Value, v)
		}
		resident(t, c, "a")
		if asked.Load() == before {
			t.Error("the client went on without another token")
		}
	}
	testkit.Eventually(t, "no invalidation is left", func() bool { return client.Status().Pending == 0 })
}
