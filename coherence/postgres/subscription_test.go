package postgres_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// subscribe replicates all tables of one database of a server into another, and returns what makes a subscriber wait.
func subscribe(t *testing.T, publisher, subscriber *pgxpool.Pool, publisherURL string) {
	t.Helper()
	if !strings.Contains("logical", text(t, publisher, `show wal_level`)) {
		t.Skip("the server does not publish: wal_level is not logical")
	}
	u, err := url.Parse(publisherURL)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	exec1(t, publisher, `create publication everything for all tables`)
	// Within one server the subscriber would wait for itself if it created the slot.
	exec1(t, publisher, `select pg_create_logical_replication_slot($1, 'pgoutput')`, name)
	exec1(t, subscriber, fmt.Sprintf(`create subscription here connection 'host=%s port=%s user=%s dbname=%s'
		publication everything with (create_slot = false, slot_name = %s)`,
		u.Hostname(), u.Port(), u.User.Username(), name, name))
	t.Cleanup(func() {
		ctx := context.Background()
		for _, q := range []string{`alter subscription here disable`, `alter subscription here set (slot_name = none)`,
			`drop subscription here`} {
			if _, err := subscriber.Exec(ctx, q); err != nil {
				t.Errorf("%s: %v", q, err)
			}
		}
		testkit.Eventually(t, "the slot is dropped", func() bool {
			_, err := publisher.Exec(ctx, `select pg_drop_replication_slot($1)`, name)
			return err == nil
		})
	})
}

func text(t *testing.T, pool *pgxpool.Pool, sql string) (s string) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), sql).Scan(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTrigger_SeesASubscriptionsChanges: the first copy is a statement like COPY, in the replica role. What comes later
// is applied row by row, and a truncate as one.
func TestTrigger_SeesASubscriptionsChanges(t *testing.T) {
	src, pool, _ := open(t)
	theirs := servicestest.Postgres(t)
	publisher := newPool(t, theirs)
	const tables = `create table products (id int primary key, name text);
		create table parts (id int primary key, name text) partition by range (id);
		create table low partition of parts for values from (0) to (10)`
	exec1(t, pool, tables)
	exec1(t, publisher, tables)
	install(t, src, on("products", "id"))
	parts := on("parts", "id")
	parts.Namespace = "parts"
	install(t, src, parts)
	exec1(t, publisher, `insert into products values (1, 'a'), (2, 'a'); insert into parts values (1, 'a')`)
	subscribe(t, publisher, pool, theirs)
	// wait returns when the subscriber has a row that was written last.
	id := 100
	wait := func() {
		t.Helper()
		id++
		exec1(t, publisher, `insert into products values ($1, 'mark')`, id)
		testkit.Eventually(t, "the subscriber has what was published", func() bool {
			return count(t, pool, `select count(*) from products where id = $1`, id) == 1 &&
				count(t, pool, `select count(*) from parts`) == count(t, publisher, `select count(*) from parts`)
		})
	}
	wait()
	exec1(t, publisher, `update products set name = 'b' where id < 3; update parts set name = 'b'`)
	exec1(t, publisher, `delete from products where id = 1`)
	wait()
	exec1(t, publisher, `truncate products`)
	exec1(t, publisher, `insert into products values (3, 'c')`)
	wait()
	got := make(map[string][]string)
	changes(t, src, coherence.Position{})
	events, _, err := src.Changes(t.Context(), coherence.Position{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		key := e.Namespace + " " + e.Key
		got[key] = append(got[key], fmt.Sprint(e.Version, " ", e.Op))
	}
	for key, want := range map[string]string{
		"n 1": "1 created, 2 updated, 3 deleted", "n 2": "1 created, 2 updated, 3 deleted", "n 3": "1 created",
		"n 101": "1 created, 2 deleted", "parts 1": "1 created, 2 updated",
	} {
		if g := strings.Join(got[key], ", "); g != want {
			t.Errorf("key %s: counted %q, want %q", key, g, want)
		}
	}
	wantFindings(t, src)
}
