package debezium

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// LSN as Table.Version takes the version from the position in Postgres's log, "lsn" of the event's source. It rises
// with each change of a row. A Loader must then give each value a version of the same kind, so it is for values that
// are built from these events, or for versions that only have to tell an old event from a new one.
const LSN = "source.lsn"

// Table says which keys of a cache a table's rows are.
type Table struct {
	// Namespace is that of the cache. Required.
	Namespace string
	// Key are the columns that make the cache's key, in order. Defaults to the record's key: the columns of the primary
	// key, in the table's order. Several are joined by coherence.CompositeKey, as the Postgres trigger joins them.
	//
	// Columns that are not part of the primary key need REPLICA IDENTITY FULL in Postgres. Without it nothing says what
	// they were before a change: a delete has null in their place, and is malformed, or the column's default, and names
	// another key; and an update that gives the row another key does not tell of the old one. ExtractNewRecordState
	// never tells of it, and needs deletes rewritten (delete.tombstone.handling.mode): a tombstone has the primary key
	// alone.
	Key []string
	// Version is the column that holds the row's version, or LSN. Defaults to none: then events invalidate
	// unconditionally, and each instance tells Redis of each event. A delete has no version unless it is the LSN's.
	Version string
}

// Config configures a codec.
type Config struct {
	// Tables are what is cached, each by "schema.table" as the event's source says (in MySQL "database.table"), or by
	// the whole name of a topic: so are those of the outbox event router, "outbox.event.order" for example. A name of a
	// topic wins. Required.
	Tables map[string]Table
}

// Codec returns a codec that decodes Debezium's records. It encodes as the default codec does.
func Codec(cfg Config) (coherence.EventCodec, error) {
	if len(cfg.Tables) == 0 {
		return coherence.EventCodec{}, errors.New("debezium: Tables is required")
	}
	d := &decoder{tables: make(map[string]Table, len(cfg.Tables))}
	for name, t := range cfg.Tables {
		if err := coherence.CheckName(t.Namespace); err != nil {
			return coherence.EventCodec{}, fmt.Errorf("debezium: table %q: the namespace %q %w", name, t.Namespace, err)
		}
		for _, column := range t.Key {
			if column == "" {
				return coherence.EventCodec{}, fmt.Errorf("debezium: table %q: a column of Key has no name", name)
			}
		}
		d.tables[name] = t
	}
	return coherence.EventCodec{Decode: d.decode}, nil
}

type decoder struct {
	tables map[string]Table // not changed
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: debezium: "+format, append([]any{coherence.ErrMalformed}, args...)...)
}

// decode is EventCodec.Decode.
func (d *decoder) decode(r coherence.Record) ([]coherence.Event, error) {
	doc := parse(r.Value)
	if r.Value == nil || string(doc.value) == "null" {
		return d.tombstone(r)
	}
	value := object(doc.value)
	if value.Has("op") && (value.Has("source") || value.Has("before") || value.Has("after")) {
		return d.envelope(r, value, doc.schema)
	}
	if t, ok := d.byTopic(r.Topic); ok {
		return d.routed(r, t, value, doc.schema)
	}
	if value == nil {
		return nil, malformed("the value is no JSON object, and the topic %.80q is none of Tables", r.Topic)
	}
	return nil, nil // a heartbeat, a transaction's begin or end, a change of the schema, or of another table
}

// byTopic finds the table of a record that does not say its table: by the topic's name, or by the schema and table that
// the name ends in.
func (d *decoder) byTopic(topic string) (Table, bool) {
	if t, ok := d.tables[topic]; ok {
		return t, true
	}
	parts := strings.Split(topic, ".")
	if len(parts) < 3 { // a prefix, a schema and a table
		return Table{}, false
	}
	t, ok := d.tables[strings.Join(parts[len(parts)-2:], ".")]
	return t, ok
}

// envelope reads a change event.
func (d *decoder) envelope(r coherence.Record, value coherence.Object, s *schema) ([]coherence.Event, error) {
	source := object(value["source"])
	t, ok := d.tables[r.Topic]
	if !ok {
		if t, ok = d.tables[tableOf(source)]; !ok {
			return nil, nil
		}
	}
	op, _ := value.Text("op")
	e := coherence.Event{Namespace: t.Namespace, Time: timeOf(source, value, r)}
	if t.Version == LSN {
		e.Version = coherence.Version(source.Uint("lsn"))
	}
	switch op {
	case "c", "r", "u", "d": // r: a row of a snapshot, which is taken again when changes may have been missed
		return change{before: object(value["before"]), after: object(value["after"]), was: s.field("before"),
			is: s.field("after")}.events(r, t, e, op)
	case "t":
		e.Op = coherence.OpTruncated
		return []coherence.Event{e}, nil
	case "m": // a message of pg_logical_emit_message
		return nil, nil
	}
	return nil, malformed("op %.20q", op)
}

// tableOf is "schema.table", or "database.table" where there are no schemas.
func tableOf(source coherence.Object) string {
	table, _ := source.Text("table")
	if schema, ok := source.Text("schema"); ok && schema != "" {
		return schema + "." + table
	}
	db, _ := source.Text("db")
	return db + "." + table
}

// change is a row before and after a change, each nil where there was none, and their schemas.
type change struct {
	before, after coherence.Object
	was, is       *schema
}

// events are one, or two where the change has given the row another key.
func (c change) events(r coherence.Record, t Table, e coherence.Event, op string) (
	events []coherence.Event, err error) {
	switch op {
	case "c":
		e.Op = coherence.OpCreated
	case "d":
		e.Op = coherence.OpDeleted
	default:
		e.Op = coherence.OpUpdated
	}
	if t.Version != "" && t.Version != LSN {
		e.Version = coherence.Version(c.after.Uint(t.Version))
	}
	if len(t.Key) == 0 { // a change of the primary key comes as a delete and a create
		e.Key, err = keyOf(r.Key)
		return []coherence.Event{e}, err
	}
	if c.after != nil {
		if e.Key, err = columns(c.after, t.Key, c.is); err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	if c.before == nil && c.after != nil {
		return events, nil // created, or the columns that say which row it was have not changed
	}
	old := e
	if old.Key, err = columns(c.before, t.Key, c.was); err != nil {
		return nil, fmt.Errorf("%w (what the row was: the table may need REPLICA IDENTITY FULL)", err)
	}
	if c.after != nil && old.Key == e.Key {
		return events, nil
	}
	old.Op = coherence.OpDeleted
	if t.Version != LSN {
		old.Version = 0 // the row's version is that of its new key
	}
	return append(events, old), nil
}

// routed reads a record without an envelope: a row that ExtractNewRecordState took out, or a message of the outbox
// event router, whose key is the aggregate's id.
func (d *decoder) routed(r coherence.Record, t Table, value coherence.Object, s *schema) ([]coherence.Event, error) {
	e := coherence.Event{Namespace: t.Namespace, Op: coherence.OpUpdated, Time: r.Time}
	if deleted, _ := value.Text("__deleted"); deleted == "true" {
		e.Op = coherence.OpDeleted
	}
	if op, _ := value.Text("__op"); op == "t" {
		e.Op = coherence.OpTruncated
		return []coherence.Event{e}, nil
	}
	switch t.Version {
	case "":
	case LSN:
		e.Version = coherence.Version(first(value, "__source_lsn", "__lsn"))
	default:
		if e.Version = coherence.Version(value.Uint(t.Version)); e.Version == 0 {
			e.Version = coherence.Version(headers(r).Uint(t.Version))
		}
		if e.Op == coherence.OpDeleted {
			e.Version = 0
		}
	}
	var err error
	if len(t.Key) > 0 {
		e.Key, err = columns(value, t.Key, s)
	} else {
		e.Key, err = keyOf(r.Key)
	}
	if err != nil {
		return nil, err
	}
	return []coherence.Event{e}, nil
}

// tombstone reads a record without a value, which follows a delete, or stands for one. Its key alone says what is gone;
// where that does not hold the columns of Table.Key, only the delete itself can say it.
func (d *decoder) tombstone(r coherence.Record) ([]coherence.Event, error) {
	t, ok := d.byTopic(r.Topic)
	if !ok {
		return nil, nil
	}
	var key string
	var err error
	if len(t.Key) == 0 {
		key, err = keyOf(r.Key)
	} else {
		doc := parse(r.Key)
		if key, err = columns(object(doc.value), t.Key, doc.schema); err != nil {
			return nil, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return []coherence.Event{{Namespace: t.Namespace, Key: key, Op: coherence.OpDeleted, Time: r.Time}}, nil
}

// timeOf is when the change was committed.
func timeOf(source, value coherence.Object, r coherence.Record) time.Time {
	for _, o := range []coherence.Object{source, value} {
		for _, unit := range []struct {
			field string
			of    time.Duration
		}{{"ts_ns", time.Nanosecond}, {"ts_us", time.Microsecond}, {"ts_ms", time.Millisecond}} {
			const latest = uint64(1) << 62
			if n := o.Uint(unit.field); n > 0 && n <= latest/uint64(unit.of) {
				return time.Unix(0, int64(n)*int64(unit.of)).UTC()
			}
		}
	}
	return r.Time
}

func first(o coherence.Object, names ...string) uint64 {
	for _, name := range names {
		if n := o.Uint(name); n > 0 {
			return n
		}
	}
	return 0
}

// headers are a record's headers as an object, so that their numbers are read as a field's are.
func headers(r coherence.Record) coherence.Object {
	o := make(coherence.Object, len(r.Headers))
	for _, h := range r.Headers {
		if raw := h.Value; json.Valid(raw) {
			o[h.Key] = raw
		} else if quoted, err := json.Marshal(string(raw)); err == nil {
			o[h.Key] = quoted
		}
	}
	return o
}
