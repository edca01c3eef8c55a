package nearcachetest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// The conformance suite over Source is in coherence/sourcetest. Here is what the suite does not know.

func TestSource_FailsAndComesBack(t *testing.T) {
	src, down := nearcachetest.NewSource(), errors.New("down")
	table := nearcachetest.NewTable[string](src, "product")
	if _, err := table.Put("1", "lamp"); err != nil {
		t.Fatal(err)
	}
	src.Fail(down)
	if _, err := src.Position(t.Context()); !errors.Is(err, down) {
		t.Errorf("Position = %v, want %v", err, down)
	}
	if _, _, _, err := table.Load(t.Context(), "1"); !errors.Is(err, down) {
		t.Errorf("Load = %v, want %v", err, down)
	}
	if _, err := table.Put("1", "desk"); !errors.Is(err, down) {
		t.Errorf("Put = %v, want %v", err, down)
	}
	src.Fail(nil)
	if v, version, ok, err := table.Load(t.Context(), "1"); v != "lamp" || version != 1 || !ok || err != nil {
		t.Errorf("Load = %q, %d, %v, %v, want the value from before", v, version, ok, err)
	}
}

func TestSource_AKeyIsLockedUntilItsTransactionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := nearcachetest.NewSource()
		first := src.Begin()
		if v, err := first.Write(t.Context(), "n", "k", coherence.OpCreated); v != 1 || err != nil {
			t.Fatal(v, err)
		}
		brief, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		second := src.Begin()
		if _, err := second.Write(brief, "n", "k", coherence.OpUpdated); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a write beside an open transaction of the key: %v, want DeadlineExceeded", err)
		}
		got := make(chan coherence.Version)
		go func() {
			v, _ := second.Write(t.Context(), "n", "k", coherence.OpUpdated)
			got <- v
		}()
		synctest.Wait()
		if err := first.Commit(); err != nil {
			t.Fatal(err)
		}
		if v := <-got; v != 2 {
			t.Errorf("the write that waited has version %d, want 2", v)
		}
		second.Rollback()
		if v := src.Write("n", "k", coherence.OpUpdated); v != 2 {
			t.Errorf("after the rollback the next version is %d, want 2", v)
		}
	})
}

func TestTable_LoadSeesValueAndVersionTogether(t *testing.T) {
	table := nearcachetest.NewTable[int](nearcachetest.NewSource(), "n")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 1; i <= 500; i++ {
			if _, err := table.Put("k", i); err != nil {
				t.Error(err)
			}
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if v, version, _, err := table.Load(t.Context(), "k"); err != nil || uint64(version) != uint64(v) {
			t.Fatalf("value %d with version %d, %v", v, version, err)
		}
	}
	if version, err := table.Delete("k"); version != 501 || err != nil {
		t.Errorf("Delete = %d, %v, want 501", version, err)
	}
	if _, version, ok, err := table.Load(t.Context(), "k"); version != 501 || ok || err != nil {
		t.Errorf("after Delete: version %d, %v, %v", version, ok, err)
	}
}
