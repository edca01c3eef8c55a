package suite

import (
	"context"
	"fmt"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

// kafkaTables measures propagation through Kafka and adds its tables and figures to the section.
func (e *Env) kafkaTables(ctx context.Context, n int, s *measure.Section) error {
	r, err := e.measureKafka(ctx, n)
	if err != nil {
		return fmt.Errorf("through Kafka: %w", err)
	}
	base := [2][]float64{r.plainFirst, r.plainLast}
	t := measure.Table{Title: "Kafka only: from the answer to the commit until no instance serves the old value",
		Columns: propagationColumns("produce-to-consume")}
	for _, x := range []struct {
		name string
		xs   []float64
		base [2][]float64
	}{
		{"Kafka's own produce-to-consume, one consumer", r.plainFirst, noBase},
		{"  the last consumer (one for each instance)", r.plainLast, noBase},
		{"commit to the first read of the new value", r.newRead, base},
		{"  to the last read of the old value", r.oldRead, base},
		{"the relay's produce request to the first read of the new value", r.produced, base},
	} {
		t.Rows = append(t.Rows, propagationRow(x.name, x.xs, x.base))
	}
	s.Tables = append(s.Tables, t, kafkaSteps(r))
	s.Figures["kafka"] = quantile(r.newRead, 0.99) / quantile(r.plainFirst, 0.99)
	s.Figures["kafka_produced"] = quantile(r.produced, 0.99) / quantile(r.plainFirst, 0.99)
	if r.failedReads > 0 {
		s.Figures["kafka_failed_reads"] = float64(r.failedReads)
	}
	return nil
}

func kafkaSteps(r kafkaTimes) measure.Table {
	t := measure.Table{Title: "Where the time goes between the commit and the last instance",
		Columns: []string{"", "p50", "p99", "p99.9", "max"}}
	for _, x := range []struct {
		name string
		xs   []float64
	}{
		{"the transaction, until the answer to its commit", r.transaction},
		{"until the relay is notified (negative: before the answer)", r.woken},
		{"until it produces: one query of the outbox, and the rest of a round under way", r.sent},
		{"from producing to the acknowledgement", r.acknowledged},
		{"from producing to the delivery on the last instance", r.delivered},
		{"from the delivery to the first read of the new value", r.noticed},
		{"Kafka's own: from producing to the acknowledgement", r.plainAcknowledged},
	} {
		t.Rows = append(t.Rows, propagationRow(x.name, x.xs, noBase)[:5])
	}
	return t
}
