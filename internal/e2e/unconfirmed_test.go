package e2e

import (
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// TestCommitNotAnswered: Postgres hangs in a commit and is killed. Nobody knows whether the write happened. Every
// server goes on answering, with a label, whoever asked for that; when Postgres is back the row decides.
//
// It is killed while the commit hangs. A commit that is given up becomes visible; the relay could then tell everybody
// that the old value was replaced, and that one must not be served.
func TestCommitNotAnswered(t *testing.T) {
	w := newWorld(t)
	pg := servicestest.StartPostgres(t)
	w.env["DATABASE_URL"] = pg.URL
	a := w.start("product-server", "RELAY=true", "REQUEST_TIMEOUT_MS=30000")
	b := w.start("product-server")
	a.mustPut("p", "one")
	a.fromL1("p")
	b.fromL1("p")
	for _, sql := range []string{"alter system set synchronous_standby_names = 'nobody'", "select pg_reload_conf()"} {
		if _, err := w.database().Exec(sql); err != nil {
			t.Fatal(err)
		}
	}
	answer := make(chan reply, 1)
	testkit.Eventually(t, "a commit hangs", func() bool {
		go func() { answer <- a.put("p", "two") }()
		return w.commitHangs(answer)
	})
	pg.Kill()
	if got := <-answer; got.status < 500 || !strings.Contains(got.body, "unknown") {
		t.Errorf("the write got %d %s, want an answer that says that its outcome is unknown", got.status, got.body)
	}
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

// commitHangs waits until a commit waits for its standby, or until the write was answered: then Postgres did not have
// its new configuration yet.
func (w *world) commitHangs(answer <-chan reply) (hangs bool) {
	w.t.Helper()
	db, answered := w.database(), false
	testkit.Eventually(w.t, "the write commits", func() bool {
		select {
		case <-answer:
			answered = true
			return true
		default:
		}
		var n int
		// Other sessions' commits wait too: only a writer of products holds a lock of that table.
		err := db.QueryRow(`select count(*) from pg_stat_activity a join pg_locks l on l.pid = a.pid
			where a.wait_event = 'SyncRep' and l.relation = 'products'::regclass`).Scan(&n)
		return err == nil && n > 0
	})
	return !answered
}
