package debezium

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/nearcache/nearcache-go/coherence"
)

// document is what Connect's JSON converter wrote: a value, and its schema if schemas are enabled.
type document struct {
	value  json.RawMessage
	schema *schema // nil: none
}

// schema is Connect's schema of a value.
type schema struct {
	Type   string   `json:"type"`
	Name   string   `json:"name"` // of a logical type
	Field  string   `json:"field"`
	Fields []schema `json:"fields"`
}

// field is the schema of a field, nil if it is not known.
func (s *schema) field(name string) *schema {
	if s == nil {
		return nil
	}
	for i := range s.Fields {
		if s.Fields[i].Field == name {
			return &s.Fields[i]
		}
	}
	return nil
}

// parse takes a value from beside its schema. A row may have columns of these names, so a schema must be one.
func parse(b []byte) document {
	b = bytes.TrimSpace(b)
	o := object(b)
	inner, ok := o["payload"]
	raw, has := o["schema"]
	if !ok || !has || len(o) != 2 {
		return document{value: b}
	}
	if string(raw) == "null" {
		return document{value: bytes.TrimSpace(inner)}
	}
	var s schema
	if json.Unmarshal(raw, &s) != nil || s.Type == "" {
		return document{value: b}
	}
	return document{value: bytes.TrimSpace(inner), schema: &s}
}

// object is what a field holds, nil if that is no object.
func object(raw json.RawMessage) coherence.Object {
	o, err := coherence.ParseObject(raw)
	if err != nil {
		return nil
	}
	return o
}

// keyOf is the cache's key of a record's key: the text of its fields in their order, or of a value that stands alone,
// as the keys of the outbox event router do. Bytes that are no JSON are text.
func keyOf(b []byte) (string, error) {
	if b == nil {
		return "", malformed("the record has no key: give the table a primary key, or name columns in Table.Key")
	}
	d := parse(b)
	switch {
	case !json.Valid(d.value):
		return string(b), nil
	case d.value[0] != '{':
		s := &schema{Fields: []schema{{}}}
		if d.schema != nil {
			s.Fields[0] = schema{Type: d.schema.Type, Name: d.schema.Name}
		}
		return columns(coherence.Object{"": d.value}, []string{""}, s)
	}
	names, err := fieldsOf(d.value)
	if err != nil {
		return "", err
	}
	return columns(object(d.value), names, d.schema)
}

// fieldsOf are an object's fields, in order.
func fieldsOf(raw []byte) (names []string, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil {
		return nil, malformed("%w", err)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, malformed("%w", err)
		}
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			return nil, malformed("%w", err)
		}
		names = append(names, name.(string))
	}
	if len(names) == 0 {
		return nil, malformed("the record's key is empty")
	}
	return names, nil
}

// columns is the key that some columns of a row make.
func columns(row coherence.Object, names []string, s *schema) (string, error) {
	parts := make([]string, len(names))
	for i, name := range names {
		part, err := text(row, name, s.field(name))
		if err != nil {
			return "", err
		}
		parts[i] = part
	}
	return coherence.CompositeKey(parts...), nil
}

// text is what a column reads in SQL: a string, a number, true or false. Other types look otherwise in JSON than in
// SQL, a date as a number of days for example; the schema says which they are, if there is one.
func text(row coherence.Object, name string, s *schema) (string, error) {
	raw, ok := row[name]
	switch {
	case !ok:
		return "", malformed("there is no column %.60q in the row", name)
	case s != nil && s.Name == "io.debezium.data.Uuid":
	case s != nil && (s.Type == "bytes" || strings.HasPrefix(s.Name, "io.debezium.") ||
		strings.HasPrefix(s.Name, "org.apache.kafka.connect.data.")):
		return "", malformed("column %.60q is written as %s %s, which is not its text in SQL: set decimal.handling.mode, "+
			"binary.handling.mode or a converter so that it is a string", name, s.Type, s.Name)
	}
	if v := string(raw); v == "true" || v == "false" {
		return v, nil
	}
	if v, ok := row.Text(name); ok {
		return v, nil
	}
	return "", malformed("column %.60q has no text: %.60s", name, raw)
}
