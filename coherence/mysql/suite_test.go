package mysql_test

import (
	"context"
	"testing"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/sourcetest"
)

func harness(t *testing.T) sourcetest.Harness {
	b := open(t)
	return sourcetest.Harness{
		Source: b.Source,
		Begin: func(ctx context.Context) (sourcetest.Tx, error) {
			begun, err := b.db.BeginTx(ctx, nil)
			return tx{begun, b.Source}, err
		},
		Reopen:      func(context.Context) (coherence.Source, error) { return b.another(t, openDB(t, b.dsn)), nil },
		Another:     func(context.Context) (coherence.Source, error) { return open(t).Source, nil },
		NewTimeline: b.NewTimeline,
		Depose:      b.depose,
	}
}

func TestSource_Conforms(t *testing.T) {
	for _, c := range sourcetest.Checks() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			c.Run(t, harness(t))
		})
	}
}
