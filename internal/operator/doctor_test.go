package operator_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// doctor runs it, and returns the state of each check, "area check" each, and what it said of them.
func doctor(t *testing.T, env map[string]string, code int, args ...string) (states, texts map[string]string) {
	t.Helper()
	m := object(t, env, code, append([]string{"doctor"}, args...)...)
	states, texts = map[string]string{}, map[string]string{}
	worse := map[string]int{"ok": 1, "skipped": 2, "warning": 3, "wrong": 4}
	for _, f := range m["findings"].([]any) {
		f := f.(map[string]any)
		at := fmt.Sprint(f["area"], " ", f["check"])
		if state := f["state"].(string); worse[state] > worse[states[at]] {
			states[at] = state
		}
		texts[at] += fmt.Sprintln(f["text"], "->", f["do"])
	}
	return states, texts
}

// expect compares the states of some checks.
func expect(t *testing.T, env map[string]string, code int, want map[string]string, args ...string) {
	t.Helper()
	states, texts := doctor(t, env, code, args...)
	for at, state := range want {
		state, part, _ := strings.Cut(state, ": ")
		if states[at] != state || !strings.Contains(texts[at], part) {
			t.Errorf("%s: got %q, %q; want %q, %q", at, states[at], texts[at], state, part)
		}
	}
}

func TestDoctor_OnServicesThatWork(t *testing.T) {
	databaseURL, pool, src := anybodys(t)
	brokers := nearcachetest.NewKafka(t, 2, "topic").Brokers()
	redis := nearcachetest.NewRedis(t)
	env := map[string]string{"DATABASE_URL": databaseURL, "REDIS_URL": redis.Addr(), "KAFKA_PRODUCT_TOPIC": "topic",
		"KAFKA_BOOTSTRAP_SERVERS": strings.Join(brokers, ",")}
	must(t, env, "installed", installShelves...)
	p, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: kafka.Broker{Brokers: brokers}, Topic: "topic"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	stop := runRelay(t, src, redis, p)
	exec(t, pool, `update shelves set label = 'changed'`)
	testkit.Eventually(t, "the relay is at work", func() bool {
		code, out, _ := call(t, env, "doctor")
		return code == 0 && strings.Contains(out, "the last one is of")
	})
	expect(t, env, 0, map[string]string{"redis connect": "ok", "redis tracking": "ok: 20 times of 20",
		"redis rights": "ok",
		"redis owner":  "ok: belongs to this database's system", "postgres connect": "ok", "postgres version": "ok",
		"postgres role": "ok", "postgres trigger": "ok: shelves", "postgres rights": "ok", "postgres columns": "ok",
		"postgres outbox": "ok", "postgres relay": "ok: led by session", "postgres open transactions": "ok",
		"postgres replication role": "ok", "kafka events": "ok: 2 partitions", "kafka retention": "ok",
		"kafka barriers": "ok", "kafka partitions": "ok", "kafka transactions": "ok", "clocks postgres": "ok"})

	stop()
	expect(t, env, 3, map[string]string{"postgres relay": `wrong: no relay "topic" is running`})
}

func TestDoctor_FindsWhatIsWrongWithRedis(t *testing.T) {
	r := servicestest.StartRedis(t, "--tracking-table-max-keys", "10", "--maxmemory", "100mb", "--maxmemory-policy",
		"noeviction")
	env := map[string]string{"REDIS_URL": "redis://" + r.Addr}
	expect(t, env, 0, map[string]string{"redis tracking": "ok", "redis tracking table": "ok: of 10 are tracked",
		"redis memory": "ok",
		"redis role":   "ok", "redis version": "ok", "clocks redis": "ok", "postgres configured": "skipped"})

	// Some keys are tracked, until the table is full.
	reader, err := l2.Open(l2.Config{Redis: optionOf(t, env), Tracker: deaf{}})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for i := range 10 {
		k := reader.Keyspace().Key("n", fmt.Sprint(i))
		put(t, reader, k, l2.Record{Version: 1, Payload: []byte("1")})
		if _, _, err := reader.Get(t.Context(), k, l2.ReadOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, env, 0, map[string]string{"redis tracking table": "warning: tracking-table-max-keys"})
	r.Do("CONFIG", "SET", "maxmemory", "0")
	expect(t, env, 0, map[string]string{"redis memory": "warning: maxmemory is not set"})

	// Users: one without a right that an instance needs, one without those that only doctor would use.
	const rights = "+get +getex +getrange +set +del +exists +pttl +pexpire +eval +evalsha +client|tracking"
	acl := func(name, more string) map[string]string {
		r.Do(append([]string{"ACL", "SETUSER", name, "on", ">" + secret, "~nc:*", "+hello"},
			strings.Fields(rights+" "+more)...)...)
		return map[string]string{"REDIS_URL": "redis://" + name + ":" + secret + "@" + r.Addr}
	}
	expect(t, acl("instance", ""), 0, map[string]string{"redis rights": "warning: info", "redis tracking": "ok",
		"redis version": "skipped", "redis tracking table": "skipped", "redis memory": "skipped", "clocks redis": ""})
	expect(t, acl("alone", "+info"), 0, map[string]string{"redis rights": "ok"})
	expect(t, acl("ranges", "-getrange"), 3, map[string]string{"redis rights": "wrong: getrange", "redis tracking": "ok"})
	expect(t, acl("scripts", "-eval"), 3, map[string]string{"redis connect": "wrong: lacks a right"})
	expect(t, map[string]string{"REDIS_URL": "redis://instance:wrong@" + r.Addr}, 3,
		map[string]string{"redis connect": "wrong: password"})

	// Another system's prefix.
	databaseURL, _, src := anybodys(t)
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Do("SET", "nc:{0}:o", "somebody else's")
	expect(t, map[string]string{"REDIS_URL": "redis://" + r.Addr, "DATABASE_URL": databaseURL}, 3,
		map[string]string{"redis owner": "wrong: belongs to the system somebody else's"})

	replica := servicestest.StartRedis(t)
	host, port, _ := strings.Cut(r.Addr, ":")
	replica.Do("REPLICAOF", host, port)
	states, texts := doctor(t, map[string]string{"REDIS_URL": "redis://" + replica.Addr}, 3)
	if states["redis connect"] != "wrong" && states["redis role"] != "wrong" && states["redis tracking"] != "wrong" {
		t.Errorf("a replica: got %v, %v", states, texts)
	}
}

// deaf is a Tracker that hears nothing.
type deaf struct{}

func (deaf) KeysChanged([]uint64)        {}
func (deaf) SessionChanged(l2.BucketSet) {}

func TestDoctor_FindsWhatIsWrongWithPostgres(t *testing.T) {
	databaseURL, pool, _ := anybodys(t)
	env := map[string]string{"DATABASE_URL": databaseURL}
	expect(t, env, 3, map[string]string{"postgres schema": "wrong: not installed"})
	exec(t, pool, `create table parts (id int not null, label text, note text, primary key (id)) partition by range (id);
		create table parts_1 partition of parts for values from (0) to (100);
		create table parts_2 partition of parts for values from (100) to (200)`)
	must(t, env, "installed", "install", "--table", "parts", "--namespace", "part", "--key", "id", "--columns",
		"label,note")
	must(t, env, "installed", installShelves...)
	expect(t, env, 0, map[string]string{"postgres trigger": "ok: parts and its 2 partitions"})

	// A trigger of one partition is disabled, and one column that is compared is gone.
	var trigger string
	if err := pool.QueryRow(t.Context(), `select tgname from pg_trigger where tgrelid = 'parts_2'::regclass
		and not tgisinternal and tgname not like '%truncate' limit 1`).Scan(&trigger); err != nil {
		t.Fatal(err)
	}
	exec(t, pool, `alter table parts_2 disable trigger `+pgx.Identifier{trigger}.Sanitize())
	exec(t, pool, `alter table parts drop column note`)
	expect(t, env, 3, map[string]string{"postgres trigger_disabled": "wrong: parts_2",
		"postgres columns": "warning: no column note"})
	exec(t, pool, `alter table parts_2 enable always trigger `+pgx.Identifier{trigger}.Sanitize())

	// A transaction that has written stays open, and one that has only read does not matter.
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reading, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reading.Rollback(t.Context()) }()
	if _, err := reading.Exec(t.Context(), `select count(*) from shelves`); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `update shelves set views = 1`); err != nil {
		t.Fatal(err)
	}
	held := func() string {
		_, texts := doctor(t, env, 3, "--long", "1us")
		return texts["postgres open transactions"]
	}
	testkit.Eventually(t, "the transaction is found", func() bool {
		return strings.Contains(held(), fmt.Sprintf("session %d ", tx.Conn().PgConn().PID()))
	})
	if s := held(); !strings.Contains(s, "pg_terminate_backend") ||
		strings.Contains(s, fmt.Sprintf("session %d ", reading.Conn().PgConn().PID())) {
		t.Errorf("got %q, want the writer's session and not the reader's", s)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}

	// Sessions that begin as replicas.
	at, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, pool, `alter database `+pgx.Identifier{strings.TrimPrefix(at.Path, "/")}.Sanitize()+
		` set session_replication_role = replica`)
	expect(t, env, 0, map[string]string{"postgres replication role": "warning: every role in " +
		strings.TrimPrefix(at.Path, "/"), "postgres trigger": "ok"})

	// An outbox that nobody empties, and a cursor that nobody moves.
	exec(t, pool, `insert into nearcache.outbox (namespace, key, version, op, created_at)
		values ('part', '1', 1, 'updated', now() - interval '3 hours')`)
	exec(t, pool, `insert into nearcache.cursors (name, timeline, n, seqs) values ('gone', 1, 1, '[1]')`)
	expect(t, env, 3, map[string]string{"postgres outbox": "warning: of 3h00m ago",
		"postgres relay": `wrong: no relay "gone" is running`})
}

func TestDoctor_FindsWhatIsWrongWithKafka(t *testing.T) {
	brokers := nearcachetest.NewKafka(t, 2, "topic").Brokers()
	env := map[string]string{"KAFKA_BOOTSTRAP_SERVERS": strings.Join(brokers, ","), "KAFKA_PRODUCT_TOPIC": "nosuch"}
	expect(t, env, 3, map[string]string{"kafka topic nosuch": "wrong: KAFKA_PRODUCT_TOPIC"})
	env["KAFKA_PRODUCT_TOPIC"] = "topic"
	expect(t, env, 3, map[string]string{"kafka events": "ok", "kafka topic topic.barriers": "wrong: the relay makes it"})

	// Topics of a real broker, with settings that do not suit.
	brokers = servicestest.Kafka(t)
	env["KAFKA_BOOTSTRAP_SERVERS"] = strings.Join(brokers, ",")
	env["KAFKA_PRODUCT_TOPIC"] = servicestest.Topic(t, brokers, "doctor", 1)
	env["KAFKA_BARRIER_TOPIC"] = servicestest.Topic(t, brokers, "doctor-barriers", 2)
	expect(t, env, 3, map[string]string{"kafka barriers": "wrong: 2 partitions, and 1 is needed", "kafka retention": "ok",
		"kafka compaction": "ok", "kafka replicas": "warning"})
	send(t, brokers, env["KAFKA_BARRIER_TOPIC"], 0, "garbage")
	_, texts := doctor(t, env, 3)
	if !strings.Contains(texts["kafka barriers"], "has none") {
		t.Errorf("got %q, want that there is no barrier", texts["kafka barriers"])
	}
}

// TestDoctor_EndsInTime also where a service accepts connections and never answers.
func TestDoctor_EndsInTime(t *testing.T) {
	r := servicestest.StartRedis(t)
	r.Pause()
	done := make(chan map[string]string, 1)
	go func() {
		states, _ := doctor(t, map[string]string{"REDIS_URL": r.Addr}, 3, "--timeout", "1s")
		done <- states
	}()
	select {
	case states := <-done:
		if states["redis connect"] != "wrong" {
			t.Errorf("got %v, want that Redis cannot be reached", states)
		}
	case <-time.After(time.Minute):
		t.Error("doctor waits for a service that does not answer")
	}
}
