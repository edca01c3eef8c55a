package product

import (
	"fmt"
	"strings"

	"github.com/nearcache/nearcache-go/coherence"
)

// The types of events on the products' topic.
const (
	typeCreated = "PRODUCT_CREATED"
	typeUpdated = "PRODUCT_UPDATED"
	typeDeleted = "PRODUCT_DELETED"
)

var typeOf = map[coherence.Op]string{coherence.OpCreated: typeCreated, coherence.OpUpdated: typeUpdated,
	coherence.OpDeleted: typeDeleted}

// EventCodec is how events look on the products' topic, which services in other languages share: "type" and
// "product_id" beside the fields of the near cache's own format. An event that has only those two is valid and has no
// version.
func EventCodec() coherence.EventCodec {
	return coherence.EventCodec{Encode: encodeEvent, Decode: decodeEvent}
}

func encodeEvent(e coherence.Event) ([]byte, error) {
	if e.Namespace != Namespace { // a tag's
		return coherence.EncodeJSON(e, nil)
	}
	t, ok := typeOf[e.Op]
	if !ok {
		t = typeUpdated
	}
	return coherence.EncodeJSON(e, map[string]string{"type": t, "product_id": e.Key})
}

// AlsoUpdated is a second message for the events that create or delete a product: the same change as a
// PRODUCT_UPDATED. It is for consumers of the topic that know no other type. It has no sequence number, and the
// version of the event that it follows, so the near cache's own readers find it known. It is what
// kafka.PublisherConfig.Also takes.
func AlsoUpdated(e coherence.Event) ([]byte, error) {
	if e.Namespace != Namespace || e.Op != coherence.OpCreated && e.Op != coherence.OpDeleted {
		return nil, nil
	}
	e.Op, e.Seq, e.Fields = coherence.OpUpdated, 0, nil
	return encodeEvent(e)
}

// decodeEvent needs a type and a product_id, and refuses nothing for what else there is. A type of products' that is
// not known here invalidates, as an update does.
func decodeEvent(r coherence.Record) ([]coherence.Event, error) {
	if r.Value == nil {
		return coherence.DecodeRecord(r)
	}
	e, err := decodeValue(r.Value)
	if err != nil {
		return nil, err
	}
	return []coherence.Event{e}, nil
}

func decodeValue(b []byte) (e coherence.Event, err error) {
	o, err := coherence.ParseObject(b)
	if err != nil {
		return e, err
	}
	namespace, _ := o.Text("namespace")
	kind, _ := o.Text("type")
	op, ok := opOf(kind)
	if namespace != "" && namespace != Namespace && (!ok || !o.Has("product_id")) {
		return coherence.DecodeJSON(b)
	}
	if !ok {
		return e, fmt.Errorf("%w: type %q", coherence.ErrMalformed, kind)
	}
	id, _ := o.Text("product_id")
	if why := CheckID(id); why != "" {
		return e, fmt.Errorf("%w: product_id %s", coherence.ErrMalformed, why)
	}
	if namespace == Namespace {
		e, err = coherence.DecodeJSON(b)
		switch {
		case err == nil && e.Key != id:
			return e, fmt.Errorf("%w: product_id %q, but the key is %q", coherence.ErrMalformed, id, e.Key)
		case err == nil:
			return e, nil
		}
	}
	// The fields of the near cache's format are not there, or are another program's that have the same names.
	return coherence.Event{Namespace: Namespace, Key: id, Op: op, Time: o.Time("timestamp")}, nil
}

func opOf(kind string) (coherence.Op, bool) {
	kind = strings.ToUpper(strings.TrimSpace(kind))
	for op, t := range typeOf {
		if t == kind {
			return op, true
		}
	}
	return coherence.OpUpdated, strings.HasPrefix(kind, "PRODUCT_")
}
