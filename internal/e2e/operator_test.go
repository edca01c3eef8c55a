package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/testkit"
)

// TestInvalidate_AfterRedisRestarted: Redis has forgotten who has read the key, and Kafka vouches for what the instance
// holds in memory. Redis alone cannot make it drop the key; the source can.
func TestInvalidate_AfterRedisRestarted(t *testing.T) {
	w := newWorld(t)
	s := w.start("product-server")
	w.start("outbox-relay")
	s.mustPut("p", "one")
	s.fromL1("p")
	w.redis.Kill()
	w.redis.Restart()
	testkit.Eventually(t, "Kafka vouches for L1 meanwhile", func() bool {
		return strings.Contains(s.get("p").header.Get("Cache-Status"), "L1")
	})
	w.unseen(`update products set name = 'unseen' where id = 'p'`)
	env := append(os.Environ(), "DATABASE_URL="+w.env["DATABASE_URL"], "REDIS_URL="+w.env["REDIS_URL"])
	code, out, errOut := once(t, env, "nearcache", "invalidate", "product", "p", "--relay", w.topic)
	if code != 0 || !strings.Contains(out, "relay     has brought") ||
		!strings.Contains(out, "events    the relay has published") {
		t.Fatalf("%d\n%s%s", code, out, errOut)
	}
	testkit.Eventually(t, "the instance reads anew", func() bool { return strings.Contains(s.get("p").body, "unseen") })

	// Without the source it says what it does not reach.
	env = append(os.Environ(), "DATABASE_URL=", "REDIS_URL="+w.env["REDIS_URL"])
	code, out, errOut = once(t, env, "nearcache", "invalidate", "product", "p")
	if code != 1 || !strings.Contains(out, "events    not reached") || !strings.Contains(errOut, "--database") {
		t.Errorf("%d\n%s%s", code, out, errOut)
	}
}

// TestInstall_ForAnybodysTable is the command as an operator calls it.
func TestInstall_ForAnybodysTable(t *testing.T) {
	w := newWorld(t)
	db := w.database()
	if _, err := db.Exec(`create table items (sku text primary key, stock int)`); err != nil {
		t.Fatal(err)
	}
	args := []string{"install", "--database", w.env["DATABASE_URL"],
		"--table", "items", "--namespace", "item", "--key", "sku"}
	code, sql, errOut := once(t, os.Environ(), "nearcache", append(args, "--print-sql")...)
	if code != 0 || !strings.Contains(sql, "items") || !strings.Contains(sql, "begin;") {
		t.Fatalf("%d\n%s%s", code, sql, errOut)
	}
	if code, out, errOut := once(t, os.Environ(), "nearcache", args...); code != 0 {
		t.Fatalf("%d\n%s%s", code, out, errOut)
	}
	if _, err := db.Exec(`insert into items values ('a', 1); update items set stock = 2`); err != nil {
		t.Fatal(err)
	}
	var version int
	err := db.QueryRow(`select version from nearcache.versions where namespace = 'item' and key = 'a'`).Scan(&version)
	if err != nil || version != 2 {
		t.Errorf("version %d, %v", version, err)
	}
}
