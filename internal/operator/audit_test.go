package operator_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"

	"github.com/jackc/pgx/v5/pgxpool"
)

// article is a value whose payload has other types than its row, and fields that the query does not have.
type article struct {
	Name  string    `json:"name"`
	Price float64   `json:"price"`
	Since time.Time `json:"since"`
	Note  string    `json:"note,omitempty"`
	Tags  []string  `json:"tags"`
	Extra int       `json:"extra"`
}

const articleQuery = `select id, name, price, since, coalesce(note, '') as note, tags from articles`

// auditedShop has articles "1" to "9" in Postgres, their records in Redis, and a relay.
func auditedShop(t *testing.T) (env map[string]string, pool *pgxpool.Pool, redis *nearcachetest.Redis,
	cache *nearcache.Cache[string, article]) {
	t.Helper()
	url := servicestest.Postgres(t)
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	src, err := postgres.New(pool, postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec(t, pool, `create table articles (id int primary key, name text not null, price numeric(10, 2) not null,
		since timestamptz not null, note text, tags text[] not null)`)
	if err := src.InstallTrigger(t.Context(), postgres.Trigger{Table: "articles", Namespace: "article",
		KeyColumns: []string{"id"}}); err != nil {
		t.Fatal(err)
	}
	exec(t, pool, `insert into articles select g, 'article ' || g, g + 0.50, '2026-11-24T09:30:00.25+02:00', null, '{}'
		from generate_series(1, 9) g`)
	redis = nearcachetest.NewRedis(t)
	client, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption(), Source: src,
		Heartbeat: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	runRelay(t, src, redis, nil)
	cache, err = nearcache.NewCache(client, "article", nearcache.Options[string, article]{
		Load: func(ctx context.Context, k string) (e nearcache.Entry[article], err error) {
			v := &e.Value
			var version int64
			err = pool.QueryRow(ctx, `select name, price::float8, since, coalesce(note, ''), tags, `+
				src.VersionSQL("'article'", "$1::text")+` from articles where id = $1::text::int`, k).Scan(&v.Name, &v.Price,
				&v.Since, &v.Note, &v.Tags, &version)
			e.Version, v.Extra = nearcache.Version(version), 7
			return e, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the relay has begun", func() bool { return client.Status().Bound.Redis > 0 })
	return map[string]string{"DATABASE_URL": url, "REDIS_URL": "redis://" + redis.Addr()}, pool, redis, cache
}

func articleRecord(k string) string { return l2.NewKeyspace("nc").Key("article", k).Record }

var auditArticles = []string{"audit", "article", "--query", articleQuery, "--rate", "5000", "--wait", "200ms",
	"--within", "1s"}

func TestAudit_NamesWhatIsWrong(t *testing.T) {
	env, pool, redis, cache := auditedShop(t)
	load := func(k string) {
		t.Helper()
		testkit.Eventually(t, "Redis holds "+k, func() bool { // L1 may hear of a change later than Redis
			if _, err := cache.Get(t.Context(), k); err != nil {
				t.Fatal(err)
			}
			_, ok := redis.Get(articleRecord(k))
			return ok
		})
	}
	for i := range 8 { // and not "9"
		load(fmt.Sprint(i + 1))
	}
	m := object(t, env, 0, auditArticles...)
	if m["compared"] != 8.0 || m["uncached"] != 1.0 || m["inconsistent"] != 0.0 || m["unreadable"] != 0.0 {
		t.Errorf("got %v, want 8 records compared, and none that differs", m)
	}
	must(t, env, "no record differs", auditArticles...)

	forge := func(k string, change func(*l2.Record)) {
		t.Helper()
		raw, _ := redis.Get(articleRecord(k))
		rec, err := l2.DecodeRecord([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		change(&rec)
		b, err := l2.AppendRecord(nil, rec)
		if err != nil {
			t.Fatal(err)
		}
		redis.Do("SET", articleRecord(k), string(b))
	}
	exec(t, pool, `update articles set name = 'again' where id in (2, 5)`)
	testkit.Eventually(t, "the relay has dropped the records", func() bool {
		_, two := redis.Get(articleRecord("2"))
		_, five := redis.Get(articleRecord("5"))
		return !two && !five
	})
	load("2")
	load("5")
	redis.Do("SET", articleRecord("1"), "hello")
	forge("2", func(r *l2.Record) { r.Payload = []byte(strings.Replace(string(r.Payload), "again", "forged", 1)) })
	exec(t, pool, `alter table articles disable trigger user; update articles set price = 99 where id = 3;
		alter table articles enable trigger user`)
	load("04")
	exec(t, pool, `update articles set name = 'new' where id = 4`)
	forge("5", func(r *l2.Record) { // as a late fill of a Loader on a replica
		r.Version--
		r.Payload = []byte(strings.Replace(string(r.Payload), "again", "article 5", 1))
	})
	forge("6", func(r *l2.Record) { r.Version = 900; r.Payload = []byte(`{"name":"never"}`) })

	m = object(t, env, 3, auditArticles...)
	causes := map[string]string{}
	for _, d := range m["differences"].([]any) {
		d := d.(map[string]any)
		causes[d["key"].(string)] = d["cause"].(string)
	}
	want := map[string]string{"1": "record_overwritten", "2": "record_overwritten", "3": "change_uncounted",
		"04": "key_spelling", "5": "l2_not_invalidated", "6": "record_overwritten"}
	if fmt.Sprint(causes) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v; %v", causes, want, m["differences"])
	}
	// A part may be allowed, and a damaged record never is.
	fails(t, env, 3, "differ from the source", append(auditArticles, "--allow", "1")...)
	redis.Do("DEL", articleRecord("1"))
	out := must(t, env, "5 records differ", append(auditArticles, "--allow", "0.9")...)
	if !strings.Contains(out, "transaction") || !strings.Contains(out, "5 of 7") {
		t.Errorf("got\n%s\nwant the evidence, and the scales", out)
	}
}

func TestAudit_SaysWhyTheQueryCannotWork(t *testing.T) {
	url, pool, src := anybodys(t)
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec(t, pool, `create table p (id text primary key)`)
	env := map[string]string{"DATABASE_URL": url, "REDIS_URL": "redis://" + nearcachetest.NewRedis(t).Addr()}
	fails(t, env, 2, "nowhere", "audit", "p", "--query", "select * from nowhere")
	fails(t, env, 2, "columns", "audit", "p", "--query", "select id from p")
	must(t, env, "0 keys", "audit", "p", "--query", "select id, 1 as n from p")
}
