package nearcache_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
)

// A near cache over TLS, as a user with the rights that the README asks for. A configuration of TLS that cannot work
// says so, and does not speak of proxies.
func TestRedis_OverTLS(t *testing.T) {
	cert := servicestest.NewCertificate(t)
	redis, addr := servicestest.StartRedisTLS(t, cert)
	redis.Do(append([]string{"ACL", "SETUSER", "app", "reset", "on", ">pw", "~nc:*"},
		strings.Fields(l2.Rights(l2.Use{Alone: true}))...)...)
	option := func(addr string, cfg *tls.Config) rueidis.ClientOption {
		return rueidis.ClientOption{InitAddress: []string{addr}, Username: "app", Password: "pw", TLSConfig: cfg}
	}
	src := newSource()
	src.put("a", "one")
	for range 2 { // instances
		c := open(t, option(addr, cert.Client()), src)
		resident(t, c, "a")
	}
	redis.Do("FLUSHALL")
	stranger := servicestest.NewCertificate(t).Client()
	anonymous := cert.Client()
	anonymous.Certificates = nil
	for name, wrong := range map[string]struct {
		option rueidis.ClientOption
		advice string
	}{
		"another authority":        {option(addr, stranger), "TLSConfig"},
		"no certificate":           {option(addr, anonymous), "TLSConfig"},
		"no TLS where there is":    {option(addr, nil), "TLSConfig"},
		"TLS where there is none":  {option(redis.Addr, cert.Client()), "TLSConfig"},
		"another name of the host": {option(strings.Replace(addr, "127.0.0.1", "localhost", 1), cert.Client()), "TLSConfig"},
	} {
		client, err := nearcache.New(nearcache.Config{Redis: wrong.option})
		if err != nil {
			if !strings.Contains(err.Error(), wrong.advice) {
				t.Errorf("%s: New: %v, want an error with %q", name, err, wrong.advice)
			}
			continue
		}
		t.Cleanup(func() { client.Close() })
		var reasons []nearcache.Reason
		testkit.Eventually(t, name+": there is a reason", func() bool {
			reasons = client.Status().Reasons
			return len(reasons) > 0
		})
		if !strings.Contains(reasons[0].Message, wrong.advice) {
			t.Errorf("%s: %s: %s, want %q", name, reasons[0].Code, reasons[0].Message, wrong.advice)
		}
	}
}
