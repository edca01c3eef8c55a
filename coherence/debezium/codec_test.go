package debezium_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/debezium"
)

const topic = "shop.public.products"

var committed = time.Date(2026, 11, 24, 9, 30, 0, 123e6, time.UTC)

// source is the block that each change event has.
func source(table string) string {
	return fmt.Sprintf(`{"version":"3.3","connector":"postgresql","name":"shop","ts_ms":%d,"db":"d","schema":"public",`+
		`"table":%q,"txId":571,"lsn":24023128}`, committed.UnixMilli(), table)
}

// envelope is a change event of the products without its schema.
func envelope(op, before, after string) string {
	return fmt.Sprintf(`{"before":%s,"after":%s,"source":%s,"op":%q,"ts_ms":1795804451999}`, before, after,
		source("products"), op)
}

func codec(t *testing.T, table debezium.Table) coherence.EventCodec {
	t.Helper()
	c, err := debezium.Codec(debezium.Config{Tables: map[string]debezium.Table{"public.products": table}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func event(key string, version coherence.Version, op coherence.Op) coherence.Event {
	return coherence.Event{Namespace: "product", Key: key, Version: version, Op: op, Time: committed}
}

func TestCodec_Envelope(t *testing.T) {
	plain := debezium.Table{Namespace: "product"}
	versioned := debezium.Table{Namespace: "product", Version: "rev"}
	bySKU := debezium.Table{Namespace: "product", Key: []string{"sku"}}
	for _, c := range []struct {
		name       string
		table      debezium.Table
		key, value string
		want       []coherence.Event
	}{
		{"insert", plain, `{"id":42}`, envelope("c", "null", `{"id":42}`),
			[]coherence.Event{event("42", 0, coherence.OpCreated)}},
		{"update", plain, `{"id":42}`, envelope("u", "null", `{"id":42}`),
			[]coherence.Event{event("42", 0, coherence.OpUpdated)}},
		{"delete", plain, `{"id":42}`, envelope("d", `{"id":42}`, "null"),
			[]coherence.Event{event("42", 0, coherence.OpDeleted)}},
		{"snapshot", plain, `{"id":42}`, envelope("r", "null", `{"id":42}`),
			[]coherence.Event{event("42", 0, coherence.OpUpdated)}},
		{"truncate", plain, "", envelope("t", "null", "null"), []coherence.Event{event("", 0, coherence.OpTruncated)}},
		{"logical message", plain, `{"prefix":"p"}`, `{"op":"m","source":{},"message":{"prefix":"p","content":"eA=="}}`, nil},
		{"a large number", plain, `{"id":9007199254740993}`, envelope("u", "null", "{}"),
			[]coherence.Event{event("9007199254740993", 0, coherence.OpUpdated)}},
		{"text and truth", plain, `{"b":"x:y","a":true}`, envelope("u", "null", "{}"),
			[]coherence.Event{event(`x\:y:true`, 0, coherence.OpUpdated)}},
		{"with a schema", plain, withSchema(`{"id":"a"}`, `{"type":"string","field":"id"}`),
			`{"schema":{"type":"struct","fields":[]},"payload":` + envelope("u", "null", `{"id":"a"}`) + `}`,
			[]coherence.Event{event("a", 0, coherence.OpUpdated)}},
		{"a row whose columns are schema and payload", plain, `{"schema":"s","payload":"p"}`, envelope("u", "null", "{}"),
			[]coherence.Event{event("s:p", 0, coherence.OpUpdated)}},
		{"version of a column", versioned, `{"id":42}`, envelope("u", "null", `{"id":42,"rev":7}`),
			[]coherence.Event{event("42", 7, coherence.OpUpdated)}},
		{"a deleted row has no version", versioned, `{"id":42}`, envelope("d", `{"id":42,"rev":7}`, "null"),
			[]coherence.Event{event("42", 0, coherence.OpDeleted)}},
		{"version of the log", debezium.Table{Namespace: "product", Version: debezium.LSN}, `{"id":42}`,
			envelope("d", `{"id":42}`, "null"), []coherence.Event{event("42", 24023128, coherence.OpDeleted)}},
		{"key of another column", bySKU, `{"id":42}`, envelope("u", "null", `{"id":42,"sku":"s1"}`),
			[]coherence.Event{event("s1", 0, coherence.OpUpdated)}},
		{"the same key as before", bySKU, `{"id":42}`, envelope("u", `{"sku":"s1"}`, `{"sku":"s1"}`),
			[]coherence.Event{event("s1", 0, coherence.OpUpdated)}},
		{"another key", bySKU, `{"id":42}`, envelope("u", `{"id":42,"sku":"s1"}`, `{"id":42,"sku":"s2"}`),
			[]coherence.Event{event("s2", 0, coherence.OpUpdated), event("s1", 0, coherence.OpDeleted)}},
		{"deleted, with the row", bySKU, `{"id":42}`, envelope("d", `{"id":42,"sku":"s1"}`, "null"),
			[]coherence.Event{event("s1", 0, coherence.OpDeleted)}},
		{"another table", plain, `{"id":42}`, strings.ReplaceAll(envelope("u", "null", "{}"), `"products"`, `"orders"`), nil},
		{"heartbeat", plain, `{"serverName":"shop"}`, `{"ts_ms":1795804451999}`, nil},
		{"transaction", plain, `{"id":"571"}`, `{"status":"BEGIN","id":"571:24023128","event_count":null}`, nil},
		{"schema change", plain, `{"databaseName":"d"}`, `{"source":{},"databaseName":"d","ddl":"create table"}`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := coherence.Record{Topic: "routed", Value: []byte(c.value)}
			if c.key != "" {
				r.Key = []byte(c.key)
			}
			got, err := codec(t, c.table).Decode(r)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got) %s", diff)
			}
		})
	}
}

// withSchema is a record's key as the JSON converter writes it with schemas enabled.
func withSchema(payload string, fields ...string) string {
	return fmt.Sprintf(`{"schema":{"type":"struct","optional":false,"name":"k","fields":[%s]},"payload":%s}`,
		strings.Join(fields, ","), payload)
}

// TestCodec_Refuses what does not say which key has changed, rather than invalidate another one.
func TestCodec_Refuses(t *testing.T) {
	bySKU := debezium.Table{Namespace: "product", Key: []string{"sku"}}
	for _, c := range []struct {
		name       string
		table      debezium.Table
		key, value string
		says       string
	}{
		{"no key", debezium.Table{Namespace: "product"}, "", envelope("u", "null", "{}"), "no key"},
		{"an empty key", debezium.Table{Namespace: "product"}, "{}", envelope("u", "null", "{}"), "empty"},
		{"null in the key", debezium.Table{Namespace: "product"}, `{"id":null}`, envelope("u", "null", "{}"), "no text"},
		{"an object in the key", debezium.Table{Namespace: "product"}, `{"id":{}}`, envelope("u", "null", "{}"), "no text"},
		{"a decimal as bytes", debezium.Table{Namespace: "product"}, withSchema(`{"id":"AXg="}`,
			`{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","field":"id"}`),
			envelope("u", "null", "{}"), "decimal.handling.mode"},
		{"a date as days", debezium.Table{Namespace: "product"}, withSchema(`{"id":20000}`,
			`{"type":"int32","name":"io.debezium.time.Date","field":"id"}`), envelope("u", "null", "{}"), "converter"},
		{"a column that is not there", bySKU, `{"id":1}`, envelope("u", "null", `{"id":1}`), `"sku"`},
		{"a delete that does not say the row", bySKU, `{"id":1}`, envelope("d", `{"id":1}`, "null"), "REPLICA IDENTITY"},
		{"a delete without the row", bySKU, `{"id":1}`, envelope("d", "null", "null"), "REPLICA IDENTITY"},
		{"an operation that is not known", debezium.Table{Namespace: "product"}, `{"id":1}`, envelope("x", "null", "{}"),
			`"x"`},
		{"no JSON", debezium.Table{Namespace: "product"}, `{"id":1}`, "Obj\x01avro", "no JSON object"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := coherence.Record{Topic: "routed", Value: []byte(c.value)}
			if c.key != "" {
				r.Key = []byte(c.key)
			}
			got, err := codec(t, c.table).Decode(r)
			if !errors.Is(err, coherence.ErrMalformed) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %+v and error %v, want ErrMalformed that says %q", got, err, c.says)
			}
		})
	}
	// A uuid has a logical type too, and its text is that of SQL.
	r := coherence.Record{Key: []byte(withSchema(`{"id":"5f3a"}`,
		`{"type":"string","name":"io.debezium.data.Uuid","field":"id"}`)), Value: []byte(envelope("u", "null", "{}"))}
	if got, err := codec(t, debezium.Table{Namespace: "product"}).Decode(r); err != nil || got[0].Key != "5f3a" {
		t.Errorf("a uuid: got %+v and error %v", got, err)
	}
}

func TestCodec_WithoutTheEnvelope(t *testing.T) {
	at := time.Date(2026, 11, 24, 9, 30, 1, 0, time.UTC)
	ev := func(key string, version coherence.Version, op coherence.Op) []coherence.Event {
		return []coherence.Event{{Namespace: "product", Key: key, Version: version, Op: op, Time: at}}
	}
	for _, c := range []struct {
		name  string
		table debezium.Table
		r     coherence.Record
		want  []coherence.Event
	}{
		{"a row", debezium.Table{Namespace: "product", Version: "rev"},
			coherence.Record{Key: []byte(`{"id":42}`), Value: []byte(`{"id":42,"rev":"9"}`)}, ev("42", 9, coherence.OpUpdated)},
		{"a row that was rewritten for its delete", debezium.Table{Namespace: "product", Version: "rev"},
			coherence.Record{Key: []byte(`{"id":42}`), Value: []byte(`{"id":42,"rev":9,"__deleted":"true"}`)},
			ev("42", 0, coherence.OpDeleted)},
		{"a row with the log's position", debezium.Table{Namespace: "product", Version: debezium.LSN},
			coherence.Record{Key: []byte(`{"id":42}`), Value: []byte(`{"id":42,"__source_lsn":24023128}`)},
			ev("42", 24023128, coherence.OpUpdated)},
		{"a row by another column", debezium.Table{Namespace: "product", Key: []string{"sku"}},
			coherence.Record{Key: []byte(`{"id":42}`), Value: []byte(`{"id":42,"sku":"s"}`)}, ev("s", 0, coherence.OpUpdated)},
		{"a tombstone", debezium.Table{Namespace: "product", Version: "rev"},
			coherence.Record{Key: []byte(`{"id":42}`)}, ev("42", 0, coherence.OpDeleted)},
		{"a tombstone within a schema", debezium.Table{Namespace: "product"},
			coherence.Record{Key: []byte(`{"id":42}`), Value: []byte(`{"schema":null,"payload":null}`)},
			ev("42", 0, coherence.OpDeleted)},
		{"a tombstone whose key has the column", debezium.Table{Namespace: "product", Key: []string{"id"}},
			coherence.Record{Key: []byte(`{"tenant":7,"id":42}`)}, ev("42", 0, coherence.OpDeleted)},
		{"a tombstone whose key has not", debezium.Table{Namespace: "product", Key: []string{"sku"}},
			coherence.Record{Key: []byte(`{"id":42}`)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.r.Topic, c.r.Time = topic, at
			got, err := codec(t, c.table).Decode(c.r)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got) %s", diff)
			}
		})
	}
}

// TestCodec_OutboxRouter: the topic says the kind of aggregate, the key which one, and the payload is the user's.
func TestCodec_OutboxRouter(t *testing.T) {
	c, err := debezium.Codec(debezium.Config{Tables: map[string]debezium.Table{
		"outbox.event.order": {Namespace: "order", Version: "rev"}, "outbox.event.user": {Namespace: "user"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct {
		topic, key, value string
		headers           []coherence.Header
		want              string
	}{
		{"outbox.event.order", `"o-1"`, `{"total":5,"rev":3}`, nil, "order:o-1 v3"},
		{"outbox.event.order", `o-1`, `{"total":5}`, []coherence.Header{{Key: "rev", Value: []byte("4")}}, "order:o-1 v4"},
		{"outbox.event.order", `{"schema":{"type":"string"},"payload":"o:1"}`, `"no object"`, nil, "order:o:1 v0"},
		{"outbox.event.user", `7`, "\x00\x01binary", nil, "user:7 v0"},
		{"outbox.event.other", `7`, `{"a":1}`, nil, ""},
	} {
		events, err := c.Decode(coherence.Record{Topic: m.topic, Key: []byte(m.key), Value: []byte(m.value),
			Headers: m.headers})
		got := ""
		for _, e := range events {
			got += fmt.Sprintf("%s:%s v%d", e.Namespace, e.Key, e.Version)
		}
		if got != m.want || err != nil {
			t.Errorf("%s %s: got %q and error %v, want %q", m.topic, m.key, got, err, m.want)
		}
	}
}

func TestCodec_RefusesItsConfig(t *testing.T) {
	for name, tables := range map[string]map[string]debezium.Table{
		"no tables":       nil,
		"no namespace":    {"public.t": {}},
		"a bad namespace": {"public.t": {Namespace: "a:b"}},
		"an empty column": {"public.t": {Namespace: "n", Key: []string{"a", ""}}},
	} {
		if _, err := debezium.Codec(debezium.Config{Tables: tables}); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func FuzzCodec(f *testing.F) {
	f.Add([]byte(`{"id":42}`), []byte(envelope("u", "null", `{"id":42,"rev":7}`)))
	f.Add([]byte(withSchema(`{"id":"a"}`, `{"type":"string","field":"id"}`)), []byte(`{"schema":null,"payload":null}`))
	c, err := debezium.Codec(debezium.Config{Tables: map[string]debezium.Table{
		"public.products": {Namespace: "product", Key: []string{"id"}, Version: "rev"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		events, err := c.Decode(coherence.Record{Topic: topic, Key: key, Value: value})
		if err != nil && !errors.Is(err, coherence.ErrMalformed) {
			t.Errorf("got error %v, want ErrMalformed", err)
		}
		for _, e := range events {
			if e.Namespace != "product" || e.Op == "" {
				t.Errorf("got %+v", e)
			}
		}
	})
}

// Two lines lead a tail and a worker to the topics of Debezium.
func ExampleCodec() {
	codec, err := debezium.Codec(debezium.Config{Tables: map[string]debezium.Table{
		"public.products": {Namespace: "product", Version: "rev"},
	}})
	if err != nil {
		panic(err)
	}
	events, err := codec.Decode(coherence.Record{
		Topic: "shop.public.products",
		Key:   []byte(`{"id":42}`),
		Value: []byte(`{"before":null,"after":{"id":42,"name":"Pen","rev":7},"source":{"schema":"public","table":"products"},
			"op":"u"}`),
	})
	fmt.Println(events[0].Namespace, events[0].Key, events[0].Version, events[0].Op, err)
	// Output: product 42 7 updated <nil>
}
