package coherence

import (
	"bytes"
	"fmt"
	"time"
)

// Record is a message of an event channel as it came, for EventCodec.Decode.
type Record struct {
	Topic     string
	Partition int
	Offset    int64
	Time      time.Time // as the record says, by its producer's clock or the broker's
	Key       []byte    // nil: none
	Value     []byte    // nil: none, as in a tombstone of a compacted topic
	Headers   []Header
}

// Header is a record's header.
type Header struct {
	Key   string
	Value []byte
}

// Header returns the value of the last header of a name, nil if there is none.
func (r Record) Header(name string) []byte {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == name {
			return r.Headers[i].Value
		}
	}
	return nil
}

// DecodeRecord is what an EventCodec decodes with by default. A value is read by DecodeJSON. A record without a value,
// which removes a key from a compacted topic, counts as a delete without a version if its key reads "namespace:key",
// as the keys of a kafka.Publisher do.
func DecodeRecord(r Record) ([]Event, error) {
	if r.Value == nil {
		namespace, key, ok := bytes.Cut(r.Key, []byte(":"))
		e := Event{Namespace: string(namespace), Key: string(key), Op: OpDeleted, Time: r.Time}
		if !ok || e.Validate() != nil {
			return nil, fmt.Errorf("%w: no value, and its key names nothing", ErrMalformed)
		}
		return []Event{e}, nil
	}
	e, err := DecodeJSON(r.Value)
	if err != nil {
		return nil, err
	}
	return []Event{e}, nil
}
