package e2e

import (
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// leads reports whether a relay is the one that works.
func (p *program) leads() bool {
	r, err := do(p.t.Context(), "GET", p.url+"/status", "")
	return err == nil && strings.Contains(r.body, `"leads":true`)
}

// TestPgBouncer_TransactionMode: every program reaches Postgres through a pooler that gives each transaction another
// session. One relay leads, another takes over when it is killed, and changes that nobody tells of are carried by both.
func TestPgBouncer_TransactionMode(t *testing.T) {
	w := newWorld(t)
	url := w.env["DATABASE_URL"]
	w.env["DATABASE_URL"] = servicestest.StartPgBouncer(t, url, "transaction", "default_pool_size = 5").
		Through(t, url, "default_query_exec_mode=exec")
	a, b := w.start("product-server"), w.start("product-server")
	one, two := w.start("outbox-relay"), w.start("outbox-relay")
	a.mustPut("p", "written")
	testkit.Eventually(t, "a relay leads", func() bool { return one.leads() || two.leads() })
	change := func(name string) {
		t.Helper()
		b.fromL1("p")
		if _, err := w.database().Exec(`update products set name = '` + name + `' where id = 'p'`); err != nil {
			t.Fatal(err)
		}
	}
	arrives := func(name string) {
		t.Helper()
		testkit.Eventually(t, "the change by SQL arrives: "+name, func() bool {
			return strings.Contains(b.get("p").body, name)
		})
	}
	change("by-hand")
	arrives("by-hand")
	if one.leads() && two.leads() {
		t.Error("two relays lead")
	}
	leader, other := one, two
	if two.leads() {
		leader, other = two, one
	}
	leader.kill()
	change("while-nobody-leads")
	testkit.Eventually(t, "the other relay leads", other.leads)
	arrives("while-nobody-leads")
	change("after-the-take-over")
	arrives("after-the-take-over")
	for _, p := range []*program{a, b, other} {
		testkit.Eventually(t, "it is ready", p.ready)
		p.interrupt()
	}
}
