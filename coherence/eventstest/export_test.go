package eventstest

import (
	"testing"
	"time"
)

// SetPatience shortens the wait for what a broken channel never does.
func SetPatience(t *testing.T, d time.Duration) {
	before := patience
	patience = d
	t.Cleanup(func() { patience = before })
}

// IsCut is for a channel without connections.
func (l *Line) IsCut() bool { return l.isCut() }
