package operator_test

import (
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
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
	exec(t, pool, `create table shelves (room text not null, no int not null, label text, views int,
		primary key (room, no)); insert into shelves values ('a', 1, 'old', 0)`)
	if src, err = postgres.New(pool, postgres.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	return url, pool, src
}

func exec(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
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

// runRelay runs a relay until the test ends, or stop is called.
func runRelay(t *testing.T, src *postgres.Source, redis *nearcachetest.Redis, p *kafka.Publisher) (stop func()) {
	t.Helper()
	store, err := tier.Open(tier.Config{Redis: redis.ClientOption()})
	if err != nil {
		t.Fatal(err)
	}
	r := relay.Relay{Source: src, L2: store, Name: "topic", Interval: 20 * time.Millisecond}
	if p != nil {
		r.Publisher = p
	}
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		end()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		store.Close()
	}
	t.Cleanup(stop)
	return stop
}

var installShelves = []string{"install", "--table", "shelves", "--namespace", "shelf", "--key", "room,no", "--columns",
	"label"}

// TestInstall_OnAnybodysTable: by the command, and by the statements that its dry run prints.
func TestInstall_OnAnybodysTable(t *testing.T) {
	for name, install := range map[string]func(*testing.T, string, *pgxpool.Pool){
		"command": func(t *testing.T, url string, _ *pgxpool.Pool) {
			for range 2 { // it may be run again
				must(t, map[string]string{"DATABASE_URL": url}, "installed", installShelves...)
			}
		},
		"dry run": func(t *testing.T, url string, pool *pgxpool.Pool) {
			env := map[string]string{"DATABASE_URL": url}
			sql := must(t, nil, "install_trigger", append(installShelves, "--print-sql")...)
			if there := must(t, env, "", append(installShelves, "--print-sql")...); there != sql {
				t.Error("the statements depend on the database")
			}
			if m := object(t, nil, 0, append(installShelves, "--print-sql")...); m["dry_run"] != true {
				t.Errorf("got %v, want a dry run", m)
			}
			var n int
			if err := pool.QueryRow(t.Context(),
				`select count(*) from pg_trigger where not tgisinternal`).Scan(&n); err != nil || n != 0 {
				t.Fatalf("the dry run has installed %d triggers: %v", n, err)
			}
			exec(t, pool, sql)
			again := must(t, env, "installed", installShelves...)
			if strings.Contains(again, "create table") || !strings.Contains(again, "install_trigger") {
				t.Errorf("got\n%s\nwant the statements, without those of the schema that is there", again)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, pool, _ := anybodys(t)
			install(t, url, pool)
			exec(t, pool, `insert into shelves values ('b', 2, 'new', 0); update shelves set label = 'changed' where room = 'a';
				update shelves set views = views + 1; delete from shelves where room = 'b'`)
			got := changes(t, pool)
			if len(got) != 3 || !strings.Contains(got[0], "created") || !strings.Contains(got[1], "updated") ||
				!strings.Contains(got[2], "deleted") || !strings.HasPrefix(got[0], "shelf ") {
				t.Errorf("got the changes %q, want created, updated and deleted of shelf", got)
			}
		})
	}
}

// TestInstall_ChangesSettings: the last install decides, for all writers.
func TestInstall_ChangesSettings(t *testing.T) {
	url, pool, _ := anybodys(t)
	env := map[string]string{"DATABASE_URL": url}
	install := installShelves
	quiet := append(install[:len(install):len(install)], "--without-notify", "--truncate-rows", "7")
	must(t, nil, "notify = false, truncate_rows = 7", append(quiet[:len(quiet):len(quiet)], "--print-sql")...)
	for _, c := range []struct {
		args []string
		want bool
	}{{quiet, false}, {quiet, false}, {install, true}, {quiet, false}} {
		must(t, env, "installed", c.args...)
		var notify bool
		var rows int
		err := pool.QueryRow(t.Context(), `select notify, truncate_rows from nearcache.meta`).Scan(&notify, &rows)
		if err != nil || notify != c.want || (rows == 7) == c.want {
			t.Errorf("after %q commits notify: %v, rows of a truncate: %d (%v), want %v", c.args, notify, rows, err, c.want)
		}
	}
}

func TestInstall_SaysWhatIsWrong(t *testing.T) {
	url, _, _ := anybodys(t)
	env := map[string]string{"DATABASE_URL": url}
	for _, bad := range []string{"--table nosuch --key id", "--table shelves --key nosuch", "--table shelves --key label",
		"--table shelves --key room"} {
		args := append([]string{"install", "--namespace", "n"}, strings.Fields(bad)...)
		code, out, errOut := call(t, env, args...)
		if code != 1 || strings.Contains(out, "installed:") || len(errOut) < 20 {
			t.Errorf("%s: %d\n%s%s", bad, code, out, errOut)
		}
	}
}

// TestInstall_GrantsWhatTheGuideSays: and a role that has them passes doctor's check of rights, and another does not.
func TestInstall_GrantsWhatTheGuideSays(t *testing.T) {
	url, pool, _ := anybodys(t)
	guide, err := os.ReadFile("../../docs/guides/postgres.md")
	if err != nil {
		t.Fatal(err)
	}
	roles := map[string]string{}
	for _, purpose := range []string{"instance", "relay", "bumper"} {
		block := regexp.MustCompile("(?s)```sql\n-- role: " + purpose + "\n(.*?)```").FindSubmatch(guide)
		if block == nil {
			t.Fatalf("the guide has no grants for %s", purpose)
		}
		role := strings.ReplaceAll(servicestest.Unique("Odd "+purpose), "-", "_")
		exec(t, pool, `create role `+pgx.Identifier{role}.Sanitize()+` login`)
		t.Cleanup(func() {
			_, _ = pool.Exec(context.Background(), `drop owned by `+pgx.Identifier{role}.Sanitize())
			_, _ = pool.Exec(context.Background(), `drop role `+pgx.Identifier{role}.Sanitize())
		})
		roles[purpose] = role
		out := must(t, nil, "grant", append(installShelves, "--print-sql", "--grant-"+purpose, role)...)
		wanted := regexp.MustCompile(`--[^\n]*`).ReplaceAllString(string(block[1]), "")
		for want := range strings.SplitSeq(strings.TrimSpace(wanted), "\n") {
			want = strings.ReplaceAll(strings.TrimSuffix(strings.TrimSpace(want), ";"), "shop_"+purpose,
				pgx.Identifier{role}.Sanitize())
			if !strings.Contains(out, want+";") {
				t.Errorf("%s: got\n%s\nwant %q of the guide", purpose, out[strings.Index(out, "grant"):], want)
			}
		}
	}
	must(t, map[string]string{"DATABASE_URL": url}, "installed", append(installShelves, "--grant-instance",
		roles["instance"], "--grant-relay", roles["relay"])...)
	as := func(purpose string) map[string]string {
		return map[string]string{"DATABASE_URL": strings.Replace(url, "postgres@", strings.ReplaceAll(roles[purpose], " ",
			"%20")+"@", 1)}
	}
	for _, purpose := range []string{"instance", "relay"} {
		must(t, as(purpose), "the user has what", "doctor", "--as", purpose)
	}
	out := fails(t, as("instance"), 3, "wrong", "doctor", "--as", "relay")
	if !strings.Contains(out, "delete on nearcache.outbox") || !strings.Contains(out, "--grant-relay") {
		t.Errorf("got\n%s\nwant the rights that are missing", out)
	}
}

// TestInstall_PrintsGrantsAlone: of each purpose with a role of its own, or of those that are named.
func TestInstall_PrintsGrantsAlone(t *testing.T) {
	all := must(t, nil, "grant", "install", "--grants")
	for _, want := range []string{`grant select, delete on nearcache.outbox to "shop_relay";`,
		`grant execute on function nearcache.bump(text, text, text) to "shop_bumper";`,
		`nearcache.triggers to "shop_instance";`} {
		if !strings.Contains(all, want) {
			t.Errorf("got\n%s\nwant %q", all, want)
		}
	}
	one := must(t, nil, "grant", "install", "--grants", "--schema", "nc", "--grant-relay", "odd name")
	if !strings.Contains(one, `on nc.outbox to "odd name";`) || strings.Contains(one, "bump(") {
		t.Errorf("got\n%s\nwant the relay's grants in schema nc", one)
	}
}

// TestPurge_ThroughTheSource: what the database counts is brought to Redis by the relay, and what is not reached is
// said.
func TestPurge_ThroughTheSource(t *testing.T) {
	url, pool, src := anybodys(t)
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	redis := nearcachetest.NewRedis(t)
	env := map[string]string{"DATABASE_URL": url, "REDIS_URL": redis.Addr()}
	must(t, env, "version 0 would be followed by 1", "purge", "key", "shelf:a:1")
	if got := changes(t, pool); len(got) != 0 {
		t.Errorf("a dry run has counted %q", got)
	}
	out := fails(t, env, 1, "relay running", "--timeout", "1s", "purge", "key", "shelf:a:1", "--yes")
	if !strings.Contains(out, "version 1 is counted") || !strings.Contains(out, "has not brought") {
		t.Errorf("without a relay: got\n%s", out)
	}
	runRelay(t, src, redis, nil)
	out = must(t, env, "has brought", "purge", "key", "shelf:a:1", "--yes")
	if !strings.Contains(out, "no relay publishes") {
		t.Errorf("with a relay to Redis alone: got\n%s", out)
	}
	out = fails(t, env, 1, "not everything", "--timeout", "1s", "purge", "key", "shelf:a:1", "--yes", "--relay", "topic")
	if !strings.Contains(out, "has brought") || !strings.Contains(out, `the relay ["topic"] has not published`) {
		t.Errorf("a relay that does not publish: got\n%s", out)
	}
	if m := object(t, env, 0, "purge", "tag", "shelf", "summer", "--yes"); m["version"] != 1.0 {
		t.Errorf("got %v, want the tag's first version", m)
	}
	if got := changes(t, pool); len(got) != 4 || got[3] != nearcache.TagNamespace+" shelf:summer updated" {
		t.Errorf("got the changes %q, want three of the key and one of the tag", got)
	}
	must(t, env, `"source":{"version":3}`, "inspect", "shelf:a:1", "--json") // no verdict without a record
	out = must(t, env, "has brought", "invalidate", "shelf", "a:1")
	if !strings.Contains(out, "version 4 is counted") {
		t.Errorf("invalidate: got\n%s\nwant the next version", out)
	}
	fails(t, env, 2, "colon", "invalidate", "she:lf", "a:1")
	redis.Close()
	out = fails(t, env, 1, "not everything", "--timeout", "1s", "invalidate", "shelf", "a:1")
	if !strings.Contains(out, "redis     not reached") {
		t.Errorf("without Redis, at once: got\n%s", out)
	}
	out = fails(t, env, 1, "not everything", "--timeout", "1s", "purge", "key", "shelf:a:1", "--yes")
	if !strings.Contains(out, "redis     not reached") {
		t.Errorf("without Redis: got\n%s", out)
	}
}

// TestPurge_ANamespaceThroughTheSource: keys that only the database knows are counted, too.
func TestPurge_ANamespaceThroughTheSource(t *testing.T) {
	url, pool, src := anybodys(t)
	redis := nearcachetest.NewRedis(t)
	env := map[string]string{"DATABASE_URL": url, "REDIS_URL": redis.Addr()}
	must(t, env, "installed", installShelves...)
	runRelay(t, src, redis, nil)
	exec(t, pool, `insert into shelves select 'r', g, '', 0 from generate_series(1, 1200) g`)
	exec(t, pool, `delete from shelves where no = 7`)
	long := strings.Repeat("x", 1500)
	exec(t, pool, `insert into shelves values ($1, 1, '', 0)`, long)
	m := object(t, env, 0, "purge", "namespace", "shelf")
	if m["keys"] != 1200.0 { // 1199 keys that are there and not long, and the tag
		t.Errorf("got %v keys, want 1200: without the deleted and the long one, with the namespace's tag", m["keys"])
	}
	before := len(changes(t, pool))
	out := must(t, env, "has brought the versions to Redis", "purge", "namespace", "shelf", "--yes")
	if got := len(changes(t, pool)) - before; got != 1200 {
		t.Errorf("%d versions were counted, want 1200, by\n%s", got, out)
	}
}

func TestRelay_StatusSkipAndReset(t *testing.T) {
	url, pool, src := anybodys(t)
	redis, brokers := nearcachetest.NewRedis(t), nearcachetest.NewKafka(t, 2, "topic").Brokers()
	env := map[string]string{"DATABASE_URL": url, "REDIS_URL": redis.Addr(), "KAFKA_PRODUCT_TOPIC": "topic",
		"KAFKA_BOOTSTRAP_SERVERS": strings.Join(brokers, ",")}
	must(t, env, "installed", installShelves...)
	must(t, env, "no relay has applied anything", "relay", "status")
	fails(t, env, 1, "published nothing", "relay", "skip")

	p, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: kafka.Broker{Brokers: brokers}, Topic: "topic"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	stop := runRelay(t, src, redis, p)
	exec(t, pool, `insert into shelves select 's', g, '', 0 from generate_series(1, 10) g`)
	testkit.Eventually(t, "all is relayed", func() bool {
		m := object(t, env, 0, "relay", "status")
		all, _ := m["events"].([]any)
		return len(all) == 1 && all[0].(map[string]any)["behind_rows"] == 0.0 && field(m, "redis.behind_rows") == 0.0 &&
			field(m, "redis.watermarks") == 64.0 && all[0].(map[string]any)["position"] != "0/0"
	})
	must(t, env, "led by session", "relay", "status")
	fails(t, env, 1, "is running: session", "relay", "skip", "--yes", "--timeout", "1s")
	fails(t, env, 1, "stop it", "relay", "reset", "--yes", "--timeout", "1s")
	stop()
	must(t, env, "nobody leads", "relay", "status")

	exec(t, pool, `update shelves set label = 'changed' where room = 's'`)
	m := object(t, env, 0, "relay", "skip")
	if m["unpublished_changes"] != 10.0 || m["dry_run"] != true {
		t.Errorf("got %v, want ten changes that would be left out", m)
	}
	before, err := src.LoadCursor(t.Context(), "topic")
	if err != nil {
		t.Fatal(err)
	}
	must(t, env, "10 changes left out", "relay", "skip", "--yes")
	after, err := src.LoadCursor(t.Context(), "topic")
	if err != nil || !after.Position.Covers(before.Position) || after.Position == before.Position {
		t.Errorf("the cursor went from %v to %v (%v)", before.Position, after.Position, err)
	}
	for i := range after.Seqs {
		if after.Seqs[i] != before.Seqs[i]+1 {
			t.Errorf("the numbers went from %v to %v, want one left out in each partition", before.Seqs, after.Seqs)
		}
	}
	must(t, env, "0 changes still to publish", "relay", "status")

	incarnations := func() string { return must(t, env, "incarnation", "inspect", "shelf:a:1", "--json") }
	was := incarnations()
	must(t, env, "would be begun again", "relay", "reset")
	if incarnations() != was {
		t.Error("a dry run has reset a bucket")
	}
	out := must(t, env, "64 buckets begun again", "relay", "reset", "--yes")
	if !strings.Contains(out, "DANGER") || incarnations() == was {
		t.Errorf("got\n%s\nwant new incarnations, and the dangers named", out)
	}
	if reset, err := src.LoadCursor(t.Context(), "topic"); err != nil || reset.Position != after.Position ||
		reset.Seqs[0] != after.Seqs[0]+1 {
		t.Errorf("the cursor went from %+v to %+v (%v), want one number left out", after, reset, err)
	}
}

// TestRelay_ResetReachesEveryInstance: one that Kafka vouches for drops what it holds, once a relay runs again.
func TestRelay_ResetReachesEveryInstance(t *testing.T) {
	url, _, src := anybodys(t)
	redis, brokers := nearcachetest.NewRedis(t), nearcachetest.NewKafka(t, 1, "topic").Brokers()
	env := map[string]string{"DATABASE_URL": url, "REDIS_URL": redis.Addr(), "KAFKA_PRODUCT_TOPIC": "topic"}
	must(t, env, "installed", installShelves...)
	broker := kafka.Broker{Brokers: brokers}
	p, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: broker, Topic: "topic"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	stop := runRelay(t, src, redis, p)
	client, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption(), Source: src,
		Events: kafka.Tail{Broker: broker, Topic: "topic"}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	loads := 0
	cache, err := nearcache.NewCache(client, "shelf", nearcache.Options[string, int]{TTL: time.Hour,
		Load: func(ctx context.Context, k string) (nearcache.Entry[int], error) {
			loads++
			v, err := src.Version(ctx, "shelf", k)
			return nearcache.Entry[int]{Value: loads, Version: v}, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "both channels vouch", func() bool {
		b := client.Status().Bound
		return b.Redis > 0 && b.Events > 0
	})
	// The entry outlives the session of tracking that it was loaded in, so Kafka alone vouches for it.
	was := 0
	testkit.Eventually(t, "Kafka vouches for the entry", func() bool {
		was = held(t, cache, "a:1")
		before := client.Status().Channels.RedisSessions
		redis.KillClients()
		testkit.Eventually(t, "Redis is connected again", func() bool {
			ch := client.Status().Channels
			return ch.RedisSessions >= before+64 && ch.Watermarks == 64
		})
		r, err := cache.Read(t.Context(), "a:1", nearcache.ReadOptions{})
		return err == nil && r.Tier == nearcache.TierL1 && r.Value == was
	})
	stop()
	must(t, env, "begun again", "relay", "reset", "--yes")
	runRelay(t, src, redis, p)
	testkit.Eventually(t, "the instance loads again", func() bool { return held(t, cache, "a:1") != was })
}
