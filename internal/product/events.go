package product

import (
	"fmt"
	"time"

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

func encodeEvent(m coherence.Message) ([]byte, error) {
	if m.Barrier != nil {
		return coherence.EncodeJSON(m, nil)
	}
	if m.Event.Namespace != Namespace { // a tag's
		return coherence.EncodeJSON(m, nil)
	}
	t, ok := typeOf[m.Event.Op]
	if !ok {
		t = typeUpdated
	}
	return coherence.EncodeJSON(m, map[string]string{"type": t, "product_id": m.Event.Key})
}

func decodeEvent(b []byte) (coherence.Message, error) {
	var w struct {
		Barrier   bool       `json:"barrier"`
		Type      string     `json:"type"`
		ProductID string     `json:"product_id"`
		Namespace string     `json:"namespace"`
		Timestamp *time.Time `json:"timestamp"`
	}
	if err := coherence.UnmarshalObject(b, &w); err != nil {
		return coherence.Message{}, err
	}
	if w.Barrier || w.Namespace != "" && w.Namespace != Namespace {
		return coherence.DecodeJSON(b)
	}
	var op coherence.Op
	for o, t := range typeOf {
		if t == w.Type {
			op = o
		}
	}
	if op == "" {
		return coherence.Message{}, fmt.Errorf("%w: type %q", coherence.ErrMalformed, w.Type)
	}
	if why := CheckID(w.ProductID); why != "" {
		return coherence.Message{}, fmt.Errorf("%w: product_id %s", coherence.ErrMalformed, why)
	}
	if w.Namespace == "" {
		e := coherence.Event{Namespace: Namespace, Key: w.ProductID, Op: op}
		if w.Timestamp != nil {
			e.Time = *w.Timestamp
		}
		return coherence.Message{Event: e}, nil
	}
	m, err := coherence.DecodeJSON(b)
	if err == nil && m.Event.Key != w.ProductID {
		return m, fmt.Errorf("%w: product_id %q, but the key is %q", coherence.ErrMalformed, w.ProductID, m.Event.Key)
	}
	return m, err
}
