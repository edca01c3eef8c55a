package testkit

import (
	"testing"
	"time"
)

// patience is long, because a test must not depend on the speed of the machine. Only a test that fails waits this long.
const patience = time.Minute

// Eventually waits until ok returns true, and fails the test if it does not. what names the condition in the failure.
// In a bubble of testing/synctest it waits in fake time.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		<-tick.C
	}
}
