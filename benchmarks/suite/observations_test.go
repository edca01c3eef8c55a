package suite

import (
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// TestObservations_TakeTheLastProcess plays two processes, through two mappings of one file.
func TestObservations_TakeTheLastProcess(t *testing.T) {
	file := filepath.Join(t.TempDir(), "observations")
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
			t.Errorf("got write %d announced, want 7", got)
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
	// Only one process has received a push, so there is no last one.
	if want := (observation{oldRead: 300, newRead: 500, push: 100, pushLast: -1, event: -1, start: begun}); s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
	if s.oldRead, s.newRead = 900, 500; s.upper() != 900 {
		t.Errorf("an old value after the new one: got the upper bound %v, want 900", s.upper())
	}
	failed := errors.New("no write")
	if _, err := driver.observe(8, func() (int64, error) { return 0, failed }); !errors.Is(err, failed) {
		t.Errorf("got error %v, want that of the write", err)
	}
	if got := atomic.LoadUint64(process.at(0, obsNewRead)); got != 0 {
		t.Errorf("got the time %d of the write before, want 0", got)
	}
}
