package nearcache

import (
	"time"

	"github.com/nearcache/nearcache-go/internal/audit"
)

// debugAudit is what the auditor of a cache has found.
type debugAudit struct {
	Wait         float64             `json:"wait_seconds"` // after which a difference is an inconsistency
	Reads        uint64              `json:"reads"`
	Undecided    uint64              `json:"undecided"`
	Inconsistent uint64              `json:"inconsistent"`
	Scales       []audit.ScaleReport `json:"scales"`
	Differences  []debugAuditedDiff  `json:"differences"`
}

type debugAuditedDiff struct {
	debugName
	Tier   string    `json:"tier"`
	Served Version   `json:"served_version"`
	Source Version   `json:"source_version"`
	Seen   time.Time `json:"seen"`
	Lasted float64   `json:"lasted_seconds"` // 0: a damaged record, which was not served
	Cause  string    `json:"cause"`
	Text   string    `json:"text"`
}

// newDebugAudit is nil without an auditor.
func newDebugAudit(s *AuditStatus) *debugAudit {
	if !s.On {
		return nil
	}
	d := &debugAudit{Wait: s.Wait.Seconds(), Reads: s.Reads, Undecided: s.Undecided, Inconsistent: s.Inconsistent,
		Scales: []audit.ScaleReport{}, Differences: []debugAuditedDiff{}}
	for _, sc := range s.Scales {
		d.Scales = append(d.Scales, audit.ScaleReport{Within: sc.Within.Seconds(), Judged: sc.Judged,
			Inconsistent: sc.Inconsistent, Share: sc.Share, Low: sc.Low, High: sc.High, Nines: sc.Nines})
	}
	for i := range s.Differences {
		f := &s.Differences[i]
		d.Differences = append(d.Differences, debugAuditedDiff{debugName: debugNameOf(f.Key), Tier: f.Tier, Served: f.Served,
			Source: f.Source, Seen: f.Seen.UTC(), Lasted: f.Lasted.Seconds(), Cause: f.Cause, Text: f.Text})
	}
	return d
}
