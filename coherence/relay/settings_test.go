package relay_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

func TestRelay_RefusesNumbersThatCannotBe(t *testing.T) {
	for want, r := range map[string]relay.Relay{
		"Batch is -1":     {Batch: -1},
		"Batch is 10001":  {Batch: 10_001},
		"Interval is -1s": {Interval: -time.Second},
		"Keep -1s":        {Keep: -time.Second},
	} {
		r.Source, r.Publisher = newOutbox(), testkit.NewTopic(1)
		if err := r.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run: %v, want an error with %q", err, want)
		}
	}
}
