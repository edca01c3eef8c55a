package nearcache

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/internal/audit"
)

// auditMetrics are the auditor's collectors.
type auditMetrics struct{ checks, found, undecided *prometheus.CounterVec }

func newAuditMetrics(vec func(name, help string, labels ...string) *prometheus.CounterVec) auditMetrics {
	return auditMetrics{
		checks: vec("audit_checks_total", "Sampled reads that were compared with the source, by what the cache had after "+
			"so long.", "cache", "within", "result"),
		found: vec("audit_inconsistencies_total", "Differences between the cache and the source that lasted for "+
			"Audit.Wait, and damaged records, by cause.", "cache", "cause"),
		undecided: vec("audit_undecided_total",
			"Sampled reads that could not be judged: the source did not answer, or changed too often.", "cache"),
	}
}

// auditBegins makes the series of a cache that is audited, at 0: an alert then sees the first inconsistency.
func (c *cacheMetrics) auditBegins() {
	for _, cause := range audit.Causes() {
		c.auditFound(string(cause))
	}
	c.auditUndecided()
}

func (c *cacheMetrics) auditFound(cause string) prometheus.Counter {
	return c.m.audit.found.WithLabelValues(c.name, cause)
}

func (c *cacheMetrics) auditUndecided() prometheus.Counter {
	return c.m.audit.undecided.WithLabelValues(c.name)
}

func (c *cacheMetrics) auditJudged(within time.Duration, inconsistent bool) prometheus.Counter {
	result := "consistent"
	if inconsistent {
		result = "inconsistent"
	}
	return c.m.audit.checks.WithLabelValues(c.name, auditWithin(within), result)
}

// auditWithin is a scale as metrics and programs name it: "100ms", "1s", "1m".
func auditWithin(d time.Duration) string {
	if d >= time.Minute && d%time.Minute == 0 {
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.String()
}
