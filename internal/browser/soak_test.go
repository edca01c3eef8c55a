package browser

import (
	"math"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/memory"
	"github.com/chromedp/cdproto/runtime"
)

// TestSoak_TheHeapDoesNotGrow has the page take 60 updates a second for ten minutes, under load, and compares what its
// heap holds at the end with what it held after two minutes. `make page-soak` runs it.
func TestSoak_TheHeapDoesNotGrow(t *testing.T) {
	minutes, err := strconv.Atoi(os.Getenv("NEARCACHE_PAGE_SOAK"))
	if err != nil {
		t.Skip("NEARCACHE_PAGE_SOAK is not set; `make page-soak` sets it to 10")
	}
	s := serve(t, "127.0.0.1:0")
	b := visit(t, s.url, "/demo/?rate=60", wide, 2300, false)
	b.until(allOpen)
	b.click("Compare")
	b.click("Load")
	frames := func() float64 { return value[float64](b, `Number(document.documentElement.dataset.frames)`) }
	// held is the least that the heap has come to after several collections: between each of them and its count, updates
	// arrive, and are on the heap too.
	held := func() (heap float64, nodes int64) {
		heap = math.Inf(1)
		for range 20 {
			call(b, heapprofiler.CollectGarbage, cdp.Empty{})
			heap = min(heap, call(b, runtime.GetHeapUsage, cdp.Empty{}).UsedSize)
		}
		return heap, call(b, memory.GetDOMCounters, cdp.Empty{}).Nodes
	}
	began, first := time.Now(), frames()
	var early float64
	var earlyNodes int64
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for minute := 1; minute <= minutes; minute++ {
		<-tick.C
		heap, nodes := held()
		rate := (frames() - first) / time.Since(began).Seconds()
		t.Logf("minute %2d: heap %.0f KiB, %d nodes, %.1f updates a second so far", minute, heap/1024, nodes, rate)
		if minute == min(2, minutes-1) {
			early, earlyNodes = heap, nodes
		}
		if minute != minutes {
			continue
		}
		if heap > 1.1*early || heap < 0.9*early {
			t.Errorf("the heap went from %.0f to %.0f KiB, want it within a tenth", early/1024, heap/1024)
		}
		if nodes > earlyNodes+earlyNodes/10 {
			t.Errorf("the page went from %d to %d nodes, want it within a tenth", earlyNodes, nodes)
		}
		if rate < 50 {
			t.Errorf("the page took %.1f updates a second, want 60, and at least 50 on a busy machine", rate)
		}
	}
}
