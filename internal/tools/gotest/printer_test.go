package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// stream is what go test -json says of two packages: one with a passed, a failed, two skipped tests, and one that
// panics.
const stream = `
{"Action":"start","Package":"m/a"}
{"Action":"run","Package":"m/a","Test":"TestGood"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"    a_test.go:1: chatter\n"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"--- PASS: TestGood (0.00s)\n"}
{"Action":"pass","Package":"m/a","Test":"TestGood"}
{"Action":"run","Package":"m/a","Test":"TestNeedy"}
{"Action":"output","Package":"m/a","Test":"TestNeedy","Output":"=== RUN   TestNeedy\n"}
{"Action":"output","Package":"m/a","Test":"TestNeedy","Output":"    a_test.go:2: needs a real Redis: set NEARCACHE_TEST_REDIS, or run make test\n"}
{"Action":"output","Package":"m/a","Test":"TestNeedy","Output":"--- SKIP: TestNeedy (0.00s)\n"}
{"Action":"skip","Package":"m/a","Test":"TestNeedy"}
{"Action":"run","Package":"m/a","Test":"TestElsewhere"}
{"Action":"output","Package":"m/a","Test":"TestElsewhere","Output":"    a_test.go:3: only on plan9\n"}
{"Action":"output","Package":"m/a","Test":"TestElsewhere","Output":"--- SKIP: TestElsewhere (0.00s)\n"}
{"Action":"skip","Package":"m/a","Test":"TestElsewhere"}
{"Action":"run","Package":"m/a","Test":"TestBad"}
{"Action":"output","Package":"m/a","Test":"TestBad","Output":"=== RUN   TestBad\n"}
{"Action":"run","Package":"m/a","Test":"TestBad/sub"}
{"Action":"output","Package":"m/a","Test":"TestBad/sub","Output":"=== RUN   TestBad/sub\n"}
{"Action":"output","Package":"m/a","Test":"TestBad/sub","Output":"    a_test.go:4: got 1, want 2\n"}
{"Action":"output","Package":"m/a","Test":"TestBad/sub","Output":"    --- FAIL: TestBad/sub (0.00s)\n"}
{"Action":"fail","Package":"m/a","Test":"TestBad/sub"}
{"Action":"output","Package":"m/a","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}
{"Action":"fail","Package":"m/a","Test":"TestBad"}
{"Action":"output","Package":"m/a","Output":"FAIL\n"}
{"Action":"output","Package":"m/a","Output":"FAIL\tm/a\t0.01s\n"}
{"Action":"fail","Package":"m/a"}
{"Action":"run","Package":"m/b","Test":"TestPanics"}
{"Action":"output","Package":"m/b","Test":"TestPanics","Output":"=== RUN   TestPanics\n"}
{"Action":"output","Package":"m/b","Test":"TestPanics","Output":"panic: boom\n"}
{"Action":"output","Package":"m/b","Output":"FAIL\tm/b\t0.01s\n"}
{"Action":"fail","Package":"m/b"}
{"Action":"output","Package":"m/c","Output":"PASS\n"}
{"Action":"output","Package":"m/c","Output":"ok  \tm/c\t0.01s\n"}
{"Action":"pass","Package":"m/c"}
{"ImportPath":"m/d","Action":"build-output","Output":"d.go:1: undefined: x\n"}
not an event
`

func TestPrinter_PrintsWhatGoTestWould(t *testing.T) {
	var out strings.Builder
	p := &printer{w: &out}
	if err := p.read(strings.NewReader(strings.TrimPrefix(stream, "\n"))); err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`--- SKIP: TestElsewhere (0.00s)
    a_test.go:3: only on plan9
--- FAIL: TestBad (0.00s)
    --- FAIL: TestBad/sub (0.00s)
    a_test.go:4: got 1, want 2
FAIL
FAIL|m/a|0.01s
FAIL|m/b|0.01s
panic: boom
ok  |m/c|0.01s
d.go:1: undefined: x
not an event
`, "|", "\t")
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestPrinter_StrictCountsSkipsForServices(t *testing.T) {
	var out strings.Builder
	for _, verbose := range []bool{false, true} {
		p := &printer{w: &out, verbose: verbose}
		if err := p.read(strings.NewReader(stream)); err != nil {
			t.Fatal(err)
		}
		out.Reset()
		p.printRefused()
		if got := len(p.refused); got != 1 {
			t.Errorf("verbose %v: %d tests skipped for want of a service, want 1", verbose, got)
		}
		want := `--- FAIL: 1 tests skipped that must not here:
    m/a TestNeedy: needs a real Redis: set NEARCACHE_TEST_REDIS, or run make test
FAIL
`
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Error(diff)
		}
	}
}
