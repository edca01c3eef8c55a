//go:build debezium

package debezium_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/debezium"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

var record = flag.Bool("record", false, "write what Debezium wrote to testdata")

// follower is a sink that keeps the events it gets.
type follower struct {
	mu     sync.Mutex
	events []string
	bad    []error
	live   bool
}

func (f *follower) Session(int)    { f.mu.Lock(); defer f.mu.Unlock(); f.live = true }
func (f *follower) Lost(int)       {}
func (f *follower) Resumed(int)    {}
func (f *follower) Partitions(int) {}
func (f *follower) Malformed(_ int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bad = append(f.bad, err)
}
func (f *follower) Failed(int, error) {}
func (f *follower) Deliver(_ context.Context, _ int, batch []coherence.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range batch {
		f.events = append(f.events, line(m.Event))
	}
	return nil
}

func (f *follower) has(want string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.events, want)
}

// TestReal_Connector follows a real Postgres through a real Kafka Connect, with schemas and without.
func TestReal_Connector(t *testing.T) {
	plain := map[string]string{"key.converter": "org.apache.kafka.connect.json.JsonConverter",
		"value.converter":              "org.apache.kafka.connect.json.JsonConverter",
		"key.converter.schemas.enable": "false", "value.converter.schemas.enable": "false"}
	unwrapped := map[string]string{"transforms": "unwrap",
		"transforms.unwrap.type":                           "io.debezium.transforms.ExtractNewRecordState",
		"transforms.unwrap.add.fields":                     "op,source.lsn",
		"transforms.unwrap.delete.tombstone.handling.mode": "rewrite"}
	maps.Copy(unwrapped, plain)
	for name, settings := range map[string]map[string]string{
		"schemas": nil, "plain": plain, "unwrapped": unwrapped,
	} {
		t.Run(name, func(t *testing.T) { throughConnect(t, name, settings) })
	}
}

func throughConnect(t *testing.T, name string, settings map[string]string) {
	pg, brokers := servicestest.StartPostgres(t), servicestest.Kafka(t)
	db, err := sql.Open("pgx", pg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	exec := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	exec(`create table products (id bigint primary key, name text, rev bigint not null default 1)`)
	exec(`create table shelves (aisle text, nr int, sku uuid, primary key (aisle, nr))`)
	exec(`alter table shelves replica identity full`)
	exec(`create table ignored (id int primary key)`)
	exec(`insert into products values (1, 'snapshot', 1)`)

	prefix := strings.ToLower(servicestest.Unique("dbz"))
	topics := []string{prefix + ".public.products", prefix + ".public.shelves"}
	connector := config(t, pg.URL, prefix, settings)
	servicestest.StartConnect(t, brokers, connector)
	testkit.Eventually(t, "the snapshot has made the topic", func() bool {
		log, err := kafka.OpenLog(kafka.Broker{Brokers: brokers}, topics[0])
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		ranges, err := log.Partitions(t.Context())
		return err == nil && len(ranges) > 0 && ranges[0].High > 0
	})
	exec(`insert into shelves values ('first', 1, '5f3a0000-0000-4000-8000-000000000001')`) // makes its topic
	out := follow(t, brokers, topics)
	for _, statement := range []string{
		`insert into products values (42, 'Pen', 1), (9007199254740993, 'large', 1)`,
		`update products set name = 'Pencil', rev = 2 where id = 42`,
		`update products set id = 43, rev = 3 where id = 42`,
		`delete from products where id = 43`,
		`insert into ignored values (7)`,
		`insert into shelves values ('a:b', 7, '5f3a0000-0000-4000-8000-000000000007')`,
		`update shelves set sku = '5f3a0000-0000-4000-8000-000000000008' where nr = 7`,
		`select pg_logical_emit_message(true, 'note', 'hello')`,
		`truncate products`,
		`insert into products values (99, 'last', 1)`,
		`delete from shelves where nr = 7`,
	} {
		exec(statement)
	}
	want := []string{"product:42 v1 created", "product:9007199254740993 v1 created", "product:42 v2 updated",
		"product:42 v0 deleted", "product:43 v3 created", "product:43 v0 deleted", "product: v0 truncated",
		"product:99 v1 created", "shelf:5f3a0000-0000-4000-8000-000000000007 v0 created",
		"shelf:5f3a0000-0000-4000-8000-000000000008 v0 updated", "shelf:5f3a0000-0000-4000-8000-000000000007 v0 deleted",
		"shelf:5f3a0000-0000-4000-8000-000000000008 v0 deleted"}
	if name == "unwrapped" { // a row alone does not say what it was, and every one is an update
		want = []string{"product:42 v1 updated", "product:42 v0 deleted", "product:43 v3 updated",
			"product:43 v0 deleted", "product:99 v1 updated", "shelf:5f3a0000-0000-4000-8000-000000000008 v0 updated",
			"shelf:5f3a0000-0000-4000-8000-000000000008 v0 deleted"}
	}
	for _, event := range want {
		testkit.Eventually(t, event+" comes", func() bool { return out.has(event) })
	}
	out.mu.Lock()
	defer out.mu.Unlock()
	if len(out.bad) > 0 {
		t.Errorf("got malformed records: %v", out.bad)
	}
	if *record {
		write(t, brokers, name, topics, out.events)
	}
}

// config is the connector's.
func config(t *testing.T, database, prefix string, settings map[string]string) map[string]string {
	t.Helper()
	at, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	c := map[string]string{"name": "dbz", "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
		"tasks.max": "1", "database.hostname": at.Hostname(), "database.port": at.Port(),
		"database.user": at.User.Username(), "database.password": "none", "database.dbname": strings.Trim(at.Path, "/"),
		"topic.prefix": prefix, "plugin.name": "pgoutput", "slot.name": "dbz", "publication.name": "dbz",
		"skipped.operations": "none", "heartbeat.interval.ms": "500", "provide.transaction.metadata": "true",
		"topic.creation.default.partitions": "1", "topic.creation.default.replication.factor": "1"}
	maps.Copy(c, settings)
	return c
}

// follow follows the topics as one stream.
func follow(t *testing.T, brokers, topics []string) *follower {
	t.Helper()
	codec, err := debezium.Codec(tables)
	if err != nil {
		t.Fatal(err)
	}
	out := &follower{}
	var tails []coherence.EventSource
	for _, topic := range topics {
		tails = append(tails, kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, Codec: codec,
			MaxWait: 50 * time.Millisecond})
	}
	live := &sessions{follower: out, want: len(topics)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = coherence.JoinEvents(tails...).Run(ctx, live)
	}()
	t.Cleanup(func() { cancel(); <-done })
	testkit.Eventually(t, "both topics are followed", live.all)
	return out
}

// sessions counts the sessions that have begun.
type sessions struct {
	*follower
	want, begun int
}

func (s *sessions) Session(int) { s.mu.Lock(); defer s.mu.Unlock(); s.begun++ }
func (s *sessions) all() bool   { s.mu.Lock(); defer s.mu.Unlock(); return s.begun >= s.want }

// write keeps the records of all topics of the connector, for the test that needs no Connect.
func write(t *testing.T, brokers []string, name string, topics, events []string) {
	t.Helper()
	prefix, _, _ := strings.Cut(topics[0], ".public.")
	topics = append(topics, prefix+".public.ignored", prefix+".transaction", "__debezium-heartbeat."+prefix)
	var all []recorded
	for i, topic := range topics {
		most := int64(30)
		if i >= 2 {
			most = 2 // it says nothing of a row
		}
		log, err := kafka.OpenLog(kafka.Broker{Brokers: brokers}, topic)
		if err != nil {
			t.Fatal(err)
		}
		ranges, err := log.Partitions(t.Context())
		if err == nil {
			_, err = log.Read(t.Context(), 0, ranges[0].First, min(ranges[0].Stable, ranges[0].First+most),
				func(r kafka.LogRecord) error {
					all = append(all, recorded{strings.Replace(topic, prefix, "shop", 1),
						text(r.Key), text(r.Value)})
					return nil
				})
		}
		log.Close()
		if err != nil {
			t.Fatalf("%s: %v", topic, err)
		}
	}
	b, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	b = []byte(strings.ReplaceAll(string(b), prefix, "shop"))
	if err := os.WriteFile(fmt.Sprintf("testdata/%s.json", name), append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func text(b []byte) *string {
	if b == nil {
		return nil
	}
	s := string(b)
	return &s
}
