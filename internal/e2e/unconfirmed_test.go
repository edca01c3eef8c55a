package e2e

import (
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// TestCommitNotAnswered: Postgres hangs in a commit and is then closed. Nobody knows whether the write happened. Every
// server goes on answering, with a label, whoever asked for that; when Postgres is back the row decides.
func TestCommitNotAnswered(t *testing.T) {
	w := newWorld(t)
	pg := servicestest.StartPostgres(t)
	w.env["DATABASE_URL"] = pg.URL
	a := w.start("product-server", "RELAY=true", "REQUEST_TIMEOUT_MS=1000")
	b := w.start("product-server", "REQUEST_TIMEOUT_MS=1000")
	a.mustPut("p", "one")
	a.fromL1("p")
	b.fromL1("p")
	for _, sql := range []string{"alter system set synchronous_standby_names = 'nobody'", "select pg_reload_conf()"} {
		if _, err := w.database().Exec(sql); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "a commit is not answered", func() bool {
		got := a.put("p", "two")
		return got.status == 504 && strings.Contains(got.body, "unknown")
	})
	pg.Kill()
	for name, s := range map[string]*program{"the writer's server": a, "another": b} {
		testkit.Eventually(t, name+" answers with a label", func() bool {
			got := s.get("p", "Nearcache-Serve-Stale", "600")
			return got.status == 200 && strings.Contains(got.header.Get("Cache-Status"), "-stale-unconfirmed")
		})
		for range 20 {
			got := s.get("p", "Nearcache-Serve-Stale", "600")
			if got.status != 200 || !strings.Contains(got.header.Get("Cache-Status"), "-stale") {
				t.Errorf("%s: %d %q %s", name, got.status, got.header.Get("Cache-Status"), got.body)
			}
		}
		if got := s.get("p"); got.status == 200 {
			t.Errorf("%s: a reader that asked for nothing got %q %s", name, got.header.Get("Cache-Status"), got.body)
		}
	}
	pg.Restart()
	for _, sql := range []string{"alter system reset synchronous_standby_names", "select pg_reload_conf()"} {
		testkit.Eventually(t, "Postgres is configured again", func() bool {
			_, err := w.database().Exec(sql)
			return err == nil
		})
	}
	for name, s := range map[string]*program{"the writer's server": a, "another": b} {
		testkit.Eventually(t, name+" reads the row again", func() bool {
			got := s.get("p", "Nearcache-Serve-Stale", "600")
			return got.status == 200 && !strings.Contains(got.header.Get("Cache-Status"), "stale") &&
				strings.Contains(got.body, "two")
		})
		s.fromL1("p")
	}
}

// TestWorkerInsideAServer: its reasons are in the server's /status, and leave the server ready.
func TestWorkerInsideAServer(t *testing.T) {
	w := newWorld(t)
	s := w.start("product-server", "WORKER=true", "KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1")
	testkit.Eventually(t, "the worker says why it does nothing", func() bool {
		_, is := s.reasons()["worker_topic"]
		return is
	})
	testkit.Eventually(t, "the server is ready", s.ready)
}
