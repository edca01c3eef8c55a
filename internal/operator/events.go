package operator

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/product"
)

// decodeRecord reads a record of the events' topic: the near cache's own format, or that of the demo.
func decodeRecord(r coherence.Record) ([]coherence.Event, error) {
	events, err := coherence.DecodeRecord(r)
	if err != nil {
		var demo error
		if events, demo = product.EventCodec().Decode(r); demo != nil {
			return nil, err
		}
	}
	for _, e := range events {
		if err := e.Validate(); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// start is where reading begins: at offsets, or at a moment.
type start struct {
	earliest bool
	moment   time.Time
	offsets  map[int]int64
}

// parseStart reads --from.
func parseStart(s string, now time.Time) (at start, err error) {
	if s == "earliest" {
		return start{earliest: true}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return start{moment: now.Add(-d)}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return start{moment: t}, nil
	}
	at.offsets = map[int]int64{}
	for part := range strings.SplitSeq(s, ",") {
		p, offset, err := parseOffset(part)
		if err != nil || !strings.Contains(part, ":") {
			return start{}, usage("--from is %.60q: earliest, a time such as 2026-11-24T09:30:00Z, how long ago such as "+
				"15m, or PARTITION:OFFSET, several of them separated by commas", s)
		}
		at.offsets[p] = offset
	}
	return at, nil
}

// parseOffset reads PARTITION:OFFSET, or an offset of partition 0.
func parseOffset(s string) (partition int, offset int64, err error) {
	p, o, found := strings.Cut(s, ":")
	if !found {
		p, o = "0", s
	}
	partition, err = strconv.Atoi(p)
	if err == nil {
		offset, err = strconv.ParseInt(o, 10, 64)
	}
	if err != nil || partition < 0 || offset < 0 {
		return 0, 0, fmt.Errorf("%.40q is not PARTITION:OFFSET", s)
	}
	return partition, offset, nil
}
