package sourcetest

import (
	"testing"
	"time"
)

// SetPatience shortens the wait for what a broken source never does.
func SetPatience(t *testing.T, d time.Duration) {
	before := patience
	patience = d
	t.Cleanup(func() { patience = before })
}
