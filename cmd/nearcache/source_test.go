package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
	"github.com/nearcache/nearcache-go/tier"
)

// anybodys is a database with a table that knows nothing of a cache.
func anybodys(t *testing.T) (url string, pool *pgxpool.Pool, src *postgres.Source) {
	t.Helper()
	url = servicestest.Postgres(t)
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := pool.Exec(t.Context(),
		`create table shelves (room text not null, no int not null, label text, views int, primary key (room, no));
		insert into shelves values ('a', 1, 'old', 0)`); err != nil {
		t.Fatal(err)
	}
	if src, err = postgres.New(pool, postgres.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	return url, pool, src
}

// changes are the keys that the outbox has events of.
func changes(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `select namespace || ' ' || key || ' ' || op from nearcache.outbox order by id`)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestInstall_OnAnybodysTable: by the command, and by the statements that its dry run prints.
func TestInstall_OnAnybodysTable(t *testing.T) {
	args := []string{"install", "--table", "shelves", "--namespace", "shelf", "--key", "room,no", "--columns", "label"}
	for name, install := range map[string]func(*testing.T, string, *pgxpool.Pool){
		"command": func(t *testing.T, url string, _ *pgxpool.Pool) {
			for range 2 { // it may be run again
				if code, out, errOut := call(t, map[string]string{"DATABASE_URL": url}, args...); code != 0 ||
					!strings.Contains(out, "installed") {
					t.Fatalf("%d\n%s%s", code, out, errOut)
				}
			}
		},
		"dry run": func(t *testing.T, url string, pool *pgxpool.Pool) {
			code, sql, errOut := call(t, nil, append(args, "--print-sql")...)
			if code != 0 {
				t.Fatalf("got the exit code %d and %s, want 0", code, errOut)
			}
			if _, there, _ := call(t, map[string]string{"DATABASE_URL": url}, append(args, "--print-sql")...); there != sql {
				t.Error("the statements depend on the database")
			}
			var n int
			if err := pool.QueryRow(t.Context(),
				`select count(*) from pg_trigger where not tgisinternal`).Scan(&n); err != nil || n != 0 {
				t.Fatalf("the dry run has installed %d triggers: %v", n, err)
			}
			if _, err := pool.Exec(t.Context(), sql); err != nil {
				t.Fatalf("%v\n%s", err, sql)
			}
			if code, _, errOut := call(t, map[string]string{"DATABASE_URL": url}, args...); code != 0 {
				t.Errorf("the command on what the statements have made: %d %s", code, errOut)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, pool, _ := anybodys(t)
			install(t, url, pool)
			if _, err := pool.Exec(t.Context(),
				`insert into shelves values ('b', 2, 'new', 0); update shelves set label = 'changed' where room = 'a';
				update shelves set views = views + 1; delete from shelves where room = 'b'`); err != nil {
				t.Fatal(err)
			}
			got := changes(t, pool)
			if len(got) != 3 || !strings.Contains(got[0], "created") || !strings.Contains(got[1], "updated") ||
				!strings.Contains(got[2], "deleted") ||
				!strings.HasPrefix(got[0], "shelf ") {
				t.Errorf("got the changes %q, want created, updated and deleted of shelf", got)
			}
		})
	}
}

func TestInstall_SaysWhatIsWrong(t *testing.T) {
	url, _, _ := anybodys(t)
	env := map[string]string{"DATABASE_URL": url}
	for _, bad := range []string{"--table nosuch --key id", "--table shelves --key nosuch", "--table shelves --key label",
		"--table shelves --key room"} {
		code, out, errOut := call(t, env, append([]string{"install", "--namespace", "n"}, strings.Fields(bad)...)...)
		if code != 1 || out != "" || len(errOut) < 20 {
			t.Errorf("%s: %d\n%s%s", bad, code, out, errOut)
		}
		t.Logf("%s: %s", bad, errOut)
	}
}

// TestInvalidate_ThroughTheSource: what the database counts is brought to Redis by the relay, and what is not reached
// is said.
func TestInvalidate_ThroughTheSource(t *testing.T) {
	url, pool, src := anybodys(t)
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	redis := nearcachetest.NewRedis(t)
	env := map[string]string{"DATABASE_URL": url, "REDIS_URL": redis.Addr()}
	code, out, errOut := call(t, env, "--timeout", "2s", "invalidate", "shelf", "a:1")
	if code != 1 || !strings.Contains(out, "database  version") || !strings.Contains(out, "relay     not reached") ||
		!strings.Contains(errOut, "relay running") {
		t.Errorf("without a relay: %d\n%s%s", code, out, errOut)
	}
	ctx, stop := context.WithCancel(t.Context())
	l2, err := tier.Open(tier.Config{Redis: redis.ClientOption()})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- relay.Relay{Source: src, L2: l2}.Run(ctx) }()
	code, out, errOut = call(t, env, "--timeout", "20s", "invalidate", "shelf", "a:1")
	if code != 0 || !strings.Contains(out, "relay     has brought") || !strings.Contains(out, "kafka     not looked at") {
		t.Errorf("with a relay: %d\n%s%s", code, out, errOut)
	}
	code, out, _ = call(t, env, "--timeout", "2s", "invalidate", "shelf", "a:1", "--relay", "topic")
	if code != 1 || !strings.Contains(out, "relay     has brought") || !strings.Contains(out, "kafka     not reached") {
		t.Errorf("a relay that does not publish: %d\n%s", code, out)
	}
	redis.Close()
	code, out, _ = call(t, env, "--timeout", "2s", "invalidate", "shelf", "a:1")
	if code != 1 || !strings.Contains(out, "redis     not reached") {
		t.Errorf("without Redis: %d\n%s", code, out)
	}
	if got := changes(t, pool); len(got) != 4 {
		t.Errorf("got the changes %q, want 4", got)
	}
	stop()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	l2.Close()
}

// TestInstall_WithoutNotify: the last install decides, for all writers.
func TestInstall_WithoutNotify(t *testing.T) {
	url, pool, _ := anybodys(t)
	env := map[string]string{"DATABASE_URL": url}
	args := []string{"install", "--table", "shelves", "--namespace", "shelf", "--key", "room,no"}
	quiet := append(args[:len(args):len(args)], "--without-notify")
	for _, c := range []struct {
		args []string
		want bool
	}{{quiet, false}, {quiet, false}, {args, true}, {quiet, false}} {
		if code, _, errOut := call(t, env, c.args...); code != 0 {
			t.Fatalf("%q: %d %s", c.args, code, errOut)
		}
		var notify bool
		if err := pool.QueryRow(t.Context(), `select notify from nearcache.meta`).Scan(&notify); err != nil || notify != c.want {
			t.Errorf("after %q commits notify: %v (%v), want %v", c.args, notify, err, c.want)
		}
	}
	if _, sql, _ := call(t, nil, append(quiet, "--print-sql")...); !strings.Contains(sql, "notify = false") {
		t.Errorf("the dry run notifies")
	}
}
