package suite

import (
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// TestBoard_TakesTheLastProcess has two processes' parts played on one board, through two mappings of its file.
func TestBoard_TakesTheLastProcess(t *testing.T) {
	file := filepath.Join(t.TempDir(), "board")
	driver, err := openObservations(file, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer unmapFile(driver.words)
	process, err := openObservations(file, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer unmapFile(process.words)

	begun := time.Now().UnixNano()
	at := func(p, what int, after uint64) { atomic.StoreUint64(process.at(p, what), uint64(begun)+after) }
	s, err := driver.observe(7, func() (int64, error) {
		if got := process.awaited(); got != 7 {
			t.Errorf("write %d is announced, want 7", got)
		}
		at(0, obsOldRead, 300)
		at(0, obsNewRead, 500)
		at(1, obsNewRead, 200)
		at(0, obsPush, 100)
		for p := range 2 {
			atomic.StoreUint64(process.at(p, obsReady), 7)
		}
		return begun, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// Only one process has heard a push, so there is no last one.
	if want := (observation{oldRead: 300, newRead: 500, push: 100, pushLast: -1, event: -1, start: begun}); s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
	if s.oldRead, s.newRead = 900, 500; s.upper() != 900 {
		t.Errorf("an old value that came back after the new one: upper %v, want 900", s.upper())
	}
	failed := errors.New("no write")
	if _, err := driver.observe(8, func() (int64, error) { return 0, failed }); !errors.Is(err, failed) {
		t.Errorf("error %v, want the write's", err)
	}
	if got := atomic.LoadUint64(process.at(0, obsNewRead)); got != 0 {
		t.Errorf("moments of the write before are still there: %d", got)
	}
}
