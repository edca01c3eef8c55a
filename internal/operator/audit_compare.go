package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/audit"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// auditRun is one run of audit.
type auditRun struct {
	*tool
	opt       *auditOptions
	namespace string
	redis     *l2.L2
	source    *postgres.Source
	pool      *pgxpool.Pool
	engine    *audit.Auditor[string, auditedValue]

	keyName, keyType string // the query's first column
	uncached         int

	mu         sync.Mutex
	unreadable map[string]bool // names whose payload was not decoded
	damaged    map[string]bool // that were reported
}

// auditedValue is a row or a payload, decoded.
type auditedValue struct {
	fields map[string]any // of a row, by column
	value  any            // of a payload
	opaque bool           // a payload that was not decoded
}

// mostRows bounds the keys that are taken from the query.
const mostRows = 100_000

// openAudit opens the services, and finds out what the query's key is. Call closeIt.
func (t *tool) openAudit(ctx context.Context, namespace string, o *auditOptions) (a *auditRun, closeIt func(),
	err error) {
	source, pool, closeSource, err := t.openSource(ctx)
	if err != nil {
		return nil, nil, err
	}
	redis, closeRedis, err := t.openEngine(ctx)
	if err != nil {
		closeSource()
		return nil, nil, err
	}
	closeIt = func() { closeRedis(); closeSource() }
	a = &auditRun{tool: t, opt: o, namespace: namespace, redis: redis, source: source, pool: pool,
		unreadable: map[string]bool{}, damaged: map[string]bool{}}
	a.engine = audit.New(audit.Config[string, auditedValue]{Wait: o.wait, Longest: o.within, Serve: a.serve,
		Source: a.row, Same: sameValue, Explain: a.explain})
	if err := a.describe(ctx); err != nil {
		closeIt()
		return nil, nil, err
	}
	return a, closeIt, nil
}

// describe finds the name and the type of the query's key.
func (a *auditRun) describe(ctx context.Context) error {
	rows, err := a.pool.Query(ctx, "select * from ("+a.opt.query+") q limit 0")
	if err != nil {
		return usage("--query: %w", err)
	}
	rows.Close()
	if rows.Err() != nil {
		return usage("--query: %w", rows.Err())
	}
	columns := rows.FieldDescriptions()
	if len(columns) < 2 {
		return usage("--query has %d columns: the key, and the fields of its value", len(columns))
	}
	a.keyName = columns[0].Name
	err = a.pool.QueryRow(ctx, "select format_type($1, null)", columns[0].DataTypeOID).Scan(&a.keyType)
	if err != nil {
		return fmt.Errorf("the type of the key: %w", err)
	}
	return nil
}

func (a *auditRun) keyColumn() string { return pgx.Identifier{a.keyName}.Sanitize() }

// rowNames are keys of the query.
func (a *auditRun) rowNames(ctx context.Context) ([]string, error) {
	rows, err := a.pool.Query(ctx, fmt.Sprintf("select q.%s::text from (%s) q limit %d", a.keyColumn(),
		a.opt.query, mostRows))
	if err != nil {
		return nil, fmt.Errorf("--query: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[*string])
	if err != nil {
		return nil, fmt.Errorf("--query: %w", err)
	}
	out := make([]string, 0, len(names))
	for _, n := range names {
		if n != nil {
			out = append(out, *n)
		}
	}
	return out, nil
}

// row reads a key's row and version in one snapshot.
func (a *auditRun) row(ctx context.Context, name string) (s audit.State[auditedValue], err error) {
	var version int64
	var row []byte
	err = a.pool.QueryRow(ctx, "select "+a.source.VersionSQL("$1", "$2")+", (select to_jsonb(q) - $3::text from ("+
		a.opt.query+") q where q."+a.keyColumn()+" = $2::text::"+a.keyType+" limit 1)", a.namespace, name,
		a.keyName).Scan(&version, &row)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && strings.HasPrefix(refused.Code, "22") { // the name is no value of that type
		s.Absent = true
		s.Version, err = a.source.Version(ctx, a.namespace, name)
		return s, err
	}
	if err != nil {
		return s, fmt.Errorf("the row of %.60q: %w", name, err)
	}
	s.Version, s.Absent = coherence.Version(version), row == nil
	if row != nil {
		s.Value.fields, err = decodeJSON[map[string]any](row)
	}
	return s, err
}

// serve reads the record that a cache would be served.
func (a *auditRun) serve(ctx context.Context, name string) (s audit.State[auditedValue], ok bool, err error) {
	key := a.redis.Keyspace().Key(a.namespace, name)
	raw, w, err := a.redis.Get(ctx, key, l2.ReadOptions{Watermark: true})
	switch {
	case errors.Is(err, l2.ErrWrongType):
		a.damage(name, "not a string")
		return s, false, nil
	case err != nil || raw == nil:
		return s, false, err
	}
	rec, err := l2.DecodeRecord(raw)
	switch {
	case errors.Is(err, l2.ErrNewerFormat):
		return s, false, nil
	case err != nil:
		a.damage(name, err.Error())
		return s, false, nil
	case rec.KeyHash != key.Hash:
		a.damage(name, "the record of another key, renamed or copied")
		return s, false, nil
	case rec.Incarnation != w.Incarnation, !rec.ExpiresAt.IsZero() && !rec.ExpiresAt.After(time.Now()):
		return s, false, nil // no cache reads it
	}
	s = audit.State[auditedValue]{Seen: audit.Seen{Version: rec.Version, Absent: rec.Absent}, Tier: "l2"}
	if rec.Absent {
		return s, true, nil
	}
	p := decodePayload(rec.Payload, a.opt.codec)
	if p.JSON != nil {
		s.Value.value, err = decodeJSON[any](p.JSON)
	}
	if p.JSON == nil || err != nil {
		s.Value.opaque = true
		a.mu.Lock()
		a.unreadable[name] = true
		a.mu.Unlock()
	}
	return s, true, nil
}

// damage reports a record that no near cache wrote, once.
func (a *auditRun) damage(name, why string) {
	a.mu.Lock()
	known := a.damaged[name]
	a.damaged[name] = true
	a.mu.Unlock()
	if known {
		return
	}
	_, cause, text := explained(&audit.Evidence{Damage: why}, name)
	a.engine.Damaged(audit.Difference{Key: name, Tier: "l2", Cause: cause, Text: text, Seen: time.Now()})
}

// explain collects what Redis and the source say of a difference.
func (a *auditRun) explain(ctx context.Context, name string, served, source audit.State[auditedValue],
	_ time.Time) (string, audit.Cause, string) {
	e := &audit.Evidence{Tier: "l2", Served: served.Seen, Source: source.Seen, Relayed: true,
		L2: &audit.Held{Seen: served.Seen, Serves: true}}
	key := a.redis.Keyspace().Key(a.namespace, name)
	if applied, err := a.redis.Reached(ctx); err == nil {
		e.Watermark = applied[key.Bucket].Position
	}
	// The user may lack the rights for some of these. What is not known is left out.
	e.Waiting = a.waiting(ctx, name, e.Watermark)
	if last, err := a.source.LastChange(ctx, a.namespace, name); err == nil {
		e.LastChange = last
		if last.Key != "" && last.Key != name {
			e.Spelling = last.Key
		}
	}
	if e.Spelling == "" {
		e.Spelling, _ = audit.CountedAs(ctx, a.source, a.namespace, name)
	}
	if found, err := a.source.Check(ctx); err == nil {
		e.Faults = audit.Missed(found, a.namespace)
	}
	return explained(e, name)
}

// waiting reports whether the outbox has a change of a key after a position.
func (a *auditRun) waiting(ctx context.Context, name string, after coherence.Position) bool {
	const most = 10_000
	events, _, err := a.source.Changes(ctx, after, most)
	if err != nil {
		return false
	}
	for i := range events {
		if events[i].Namespace == a.namespace && events[i].Key == name {
			return true
		}
	}
	return len(events) == most
}

func decodeJSON[T any](b []byte) (v T, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber() // a float would lose digits
	err = d.Decode(&v)
	return v, err
}

// sameValue compares a row with a payload, in either order, or two of a kind.
func sameValue(x, y auditedValue) bool {
	switch {
	case x.opaque || y.opaque:
		return true
	case x.fields != nil && y.fields != nil:
		return sameJSON(x.fields, y.fields)
	case x.fields == nil && y.fields == nil:
		return sameJSON(x.value, y.value)
	case x.fields == nil:
		x, y = y, x
	}
	return rowMatches(x.fields, y.value)
}

// rowMatches compares a row's columns with the fields of a payload. A field that the payload lacks counts as its zero
// value: codecs leave those out. A payload that is no object, or a single column that is no field of it, is compared as
// a whole.
func rowMatches(row map[string]any, payload any) bool {
	object, ok := payload.(map[string]any)
	if len(row) == 1 {
		for name, v := range row {
			if _, isField := field(object, name); !ok || !isField && !isZero(v) {
				return sameJSON(v, payload)
			}
		}
	}
	if !ok {
		return false
	}
	for name, want := range row {
		got, found := field(object, name)
		if found && !sameJSON(want, got) || !found && !isZero(want) {
			return false
		}
	}
	return true
}

// field finds a field as encoding/json does: by its name, or by another case of it.
func field(object map[string]any, name string) (v any, ok bool) {
	if v, ok = object[name]; ok {
		return v, true
	}
	for k, v := range object {
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return nil, false
}

func isZero(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case json.Number:
		return sameNumber(v, "0")
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// sameJSON compares what JSON means: numbers by value, moments by the instant, null and an empty list alike.
func sameJSON(a, b any) bool {
	switch x := a.(type) {
	case json.Number:
		y, ok := b.(json.Number)
		return ok && sameNumber(x, y)
	case string:
		y, ok := b.(string)
		return ok && (x == y || sameMoment(x, y))
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return len(x) == 0 && b == nil
		}
		for i := range x {
			if !sameJSON(x[i], y[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return len(x) == 0 && b == nil
		}
		for k, v := range x {
			if other, found := y[k]; !found || !sameJSON(v, other) {
				return false
			}
		}
		return true
	case nil:
		return b == nil || isZero(b) && !isScalar(b)
	}
	return reflect.DeepEqual(a, b)
}

func isScalar(v any) bool {
	switch v.(type) {
	case []any, map[string]any:
		return false
	}
	return true
}

func sameNumber(a, b json.Number) bool {
	const mostDigits = 400 // an exponent of a million would be a number of a million digits
	x, okX := new(big.Float).SetPrec(512).SetString(string(a))
	y, okY := new(big.Float).SetPrec(512).SetString(string(b))
	return a == b || okX && okY && !x.IsInf() && len(a) < mostDigits && len(b) < mostDigits && x.Cmp(y) == 0
}

// sameMoment reports whether two texts are the same instant: Postgres and Go write zones differently.
func sameMoment(a, b string) bool {
	x, errX := moment(a)
	y, errY := moment(b)
	return errX == nil && errY == nil && x.Equal(y)
}

func moment(s string) (t time.Time, err error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err = time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return t, err
}
