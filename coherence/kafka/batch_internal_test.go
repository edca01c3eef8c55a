package kafka

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"
)

// recordBatch is a batch at an offset, with attributes beside those of the compression, of a producer.
func recordBatch(t testing.TB, base int64, attributes protocol.Attributes, producer int64, values ...[]byte) []byte {
	t.Helper()
	rs := make([]protocol.Record, len(values))
	for i, v := range values {
		rs[i] = protocol.Record{Value: protocol.NewBytes(v), Time: time.UnixMilli(5)}
	}
	set := protocol.RecordSet{Version: 2, Attributes: attributes, Records: protocol.NewRecordReader(rs...)}
	var out bytes.Buffer
	if _, err := set.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	b := out.Bytes()[4:]
	binary.BigEndian.PutUint64(b, uint64(base))
	binary.BigEndian.PutUint16(b[21:], uint16(attributes))
	binary.BigEndian.PutUint64(b[43:], uint64(producer))
	sum(b)
	return b
}

func sum(b []byte) {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
}

// seen is what a reading of data gives.
type seen struct {
	values []string
	lost   []error
	next   int64
}

func readAll(t testing.TB, from int64, aborted []abortedTxn, data []byte) (s seen) {
	t.Helper()
	rd := &reading{next: from, aborted: aborted,
		record: func(r *record) error { s.values = append(s.values, string(r.value.data)); return nil },
		lost:   func(_, _ int64, err error) error { s.lost = append(s.lost, err); return nil }}
	if err := rd.read(data); err != nil {
		t.Fatal(err)
	}
	s.next = rd.next
	return s
}

// TestReading_NextIsBehindControlRecords: a reader that went on at the last record it saw asked for a control record
// again and again.
func TestReading_NextIsBehindControlRecords(t *testing.T) {
	const txn, control = protocol.Transactional, protocol.Control
	data := slices.Concat(
		recordBatch(t, 0, txn, 7, []byte("aborted")),
		recordBatch(t, 1, 0, -1, []byte("plain")),
		recordBatch(t, 2, txn|control, 7, nil), // the abort
		recordBatch(t, 3, txn, 7, []byte("committed")),
		recordBatch(t, 4, txn|control, 7, nil), // the commit
	)
	s := readAll(t, 0, []abortedTxn{{7, 0}}, data)
	if !slices.Equal(s.values, []string{"plain", "committed"}) || s.next != 5 || len(s.lost) > 0 {
		t.Errorf("%+v", s)
	}
	if s := readAll(t, 4, nil, data); len(s.values) > 0 || s.next != 5 {
		t.Errorf("from the trailing control record on: %+v", s)
	}
}

// TestReading_CompactionLeavesGaps: an offset that is not there is no loss.
func TestReading_CompactionLeavesGaps(t *testing.T) {
	trailing := recordBatch(t, 10, 0, -1, []byte("b"))
	binary.BigEndian.PutUint32(trailing[23:], 5) // its last records are gone; it still ends at 15
	sum(trailing)
	s := readAll(t, 2, nil, slices.Concat(recordBatch(t, 4, 0, -1, []byte("a")), trailing))
	if !slices.Equal(s.values, []string{"a", "b"}) || s.next != 16 || len(s.lost) > 0 {
		t.Errorf("%+v", s)
	}
}

// TestReading_DamagedBatches are given up one by one; none stops the partition, or panics.
func TestReading_DamagedBatches(t *testing.T) {
	after := recordBatch(t, 9, 0, -1, []byte("after"))
	for name, damage := range map[string]func(b []byte){
		"a wrong checksum":  func(b []byte) { b[17] ^= 1 },
		"an old format":     func(b []byte) { b[16] = 1 },
		"unknown codec":     func(b []byte) { b[22] = 6; sum(b) },
		"not gzip":          func(b []byte) { b[22] = 1; sum(b) },
		"not zstd":          func(b []byte) { b[22] = 4; sum(b) },
		"not snappy":        func(b []byte) { b[22] = 2; sum(b) },
		"not lz4":           func(b []byte) { b[22] = 3; sum(b) },
		"many records":      func(b []byte) { binary.BigEndian.PutUint32(b[57:], 1<<30); sum(b) },
		"a long record":     func(b []byte) { b[61] = 0xfe; sum(b) },
		"a negative record": func(b []byte) { b[61] = 0x01; sum(b) },
	} {
		b := recordBatch(t, 0, 0, -1, []byte("value"))
		damage(b)
		s := readAll(t, 0, nil, slices.Concat(b, after))
		if len(s.lost) != 1 || len(s.values) == 0 || s.values[len(s.values)-1] != "after" || s.next != 10 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func FuzzReading(f *testing.F) {
	f.Add(recordBatch(f, 3, protocol.Gzip, -1, []byte("a"), []byte("b")))
	f.Add(recordBatch(f, 3, protocol.Transactional, 4, []byte("a")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= batchHeader {
			sum(b)
		}
		rd := &reading{record: func(*record) error { return nil }, lost: func(int64, int64, error) error { return nil }}
		_ = rd.read(b)
	})
}
