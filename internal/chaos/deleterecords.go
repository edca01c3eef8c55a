//go:build unix

package chaos

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// deleteRecords deletes what lies before an offset of each partition, as retention does: Kafka's DeleteRecords in
// version 1, which kafka-go does not speak.
func deleteRecords(ctx context.Context, broker, topic string, before map[int]int64) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", broker)
	if err != nil {
		return fmt.Errorf("chaos: delete records: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return fmt.Errorf("chaos: delete records: %w", err)
	}
	const apiKey, version = 21, 1
	be := binary.BigEndian
	text := func(b []byte, s string) []byte { return append(be.AppendUint16(b, uint16(len(s))), s...) }
	b := be.AppendUint16(nil, apiKey)
	b = be.AppendUint16(b, version)
	b = be.AppendUint32(b, 1) // correlation
	b = text(b, "chaos")
	b = be.AppendUint32(b, 1) // topics
	b = text(b, topic)
	b = be.AppendUint32(b, uint32(len(before)))
	for part, offset := range before {
		b = be.AppendUint32(b, uint32(part))
		b = be.AppendUint64(b, uint64(offset))
	}
	b = be.AppendUint32(b, 5000) // timeout in ms
	if _, err := conn.Write(append(be.AppendUint32(nil, uint32(len(b))), b...)); err != nil {
		return fmt.Errorf("chaos: delete records: %w", err)
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return fmt.Errorf("chaos: delete records: %w", err)
	}
	answer := make([]byte, be.Uint32(size[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return fmt.Errorf("chaos: delete records: %w", err)
	}
	// correlation, throttle time, topics, name, partitions, and for each: index, low watermark, error code
	const fixed = 4 + 4 + 4 + 2
	at := fixed + len(topic) + 4
	if len(answer) != at+len(before)*(4+8+2) {
		return errors.New("chaos: delete records: an answer of another shape")
	}
	for ; at < len(answer); at += 4 + 8 + 2 {
		if code := be.Uint16(answer[at+12:]); code != 0 {
			return fmt.Errorf("chaos: delete records: partition %d: error %d", be.Uint32(answer[at:]), code)
		}
	}
	return nil
}
