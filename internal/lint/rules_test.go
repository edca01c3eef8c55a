package lint_test

import (
	"go/parser"
	"go/token"
	"testing"
)

// The rules are tried on what they must find and must leave alone: a rule that finds nothing anywhere looks like a
// clean repository.

func TestSleeps_AreFoundOutsideBubbles(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		want int
	}{
		"plain":          {`func TestA(t *testing.T) { time.Sleep(1) }`, 1},
		"in a goroutine": {`func TestA(t *testing.T) { go func() { time.Sleep(1) }() }`, 1},
		"handed on":      {`var pause = time.Sleep`, 1},
		"in a bubble":    {`func TestA(t *testing.T) { synctest.Test(t, func(t *testing.T) { time.Sleep(1) }) }`, 0},
		"before a bubble": {`func TestA(t *testing.T) {
			time.Sleep(1); synctest.Test(t, func(t *testing.T) { synctest.Wait() }) }`, 1},
		"in a bubble's helper": {`func settle() { time.Sleep(1); synctest.Wait() }`, 0},
		"in the package's bubble": {`func inBubble(t *testing.T, f func()) { synctest.Test(t, func(t *testing.T) { f() }) }
			func TestA(t *testing.T) { inBubble(t, func() { time.Sleep(1) }) }`, 0},
		"in a bubble that is none": {`func inBubble(t *testing.T, f func()) { f() }
			func TestA(t *testing.T) { inBubble(t, func() { time.Sleep(1) }) }`, 1},
		"somebody else's method": {`func TestA(t *testing.T) { clock.Sleep(1) }`, 0},
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "a_test.go", "package a\n"+test.body, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(sleeps(f)); got != test.want {
			t.Errorf("%s: found %d sleeps, want %d", name, got, test.want)
		}
	}
}

func TestMachinePath_IsTold(t *testing.T) {
	for line, want := range map[string]bool{
		`dir := "/home/ann/src"`:          true,
		`/root/go/bin`:                    true,
		`see (/Users/ann)`:                true,
		`GET /products/42 HTTP/1.1`:       false,
		`https://example.com/home/page`:   false,
		`"$dir/work/file"`:                false,
		`/usr/lib/postgresql/15/bin`:      false,
		"the path is relative: ./work/it": false,
	} {
		if got := machinePath.MatchString(line); got != want {
			t.Errorf("%q: %v, want %v", line, got, want)
		}
	}
}

func TestArrows_LongestPathCounts(t *testing.T) {
	for rel, want := range map[string]string{
		"coherence":                "coherence",
		"coherence/kafka":          "coherence/kafka",
		"coherence/kafka/wire":     "coherence/kafka",
		"coherence/other":          "coherence",
		"internal/tools/services":  "internal/tools",
		"nearcache/nearcachetest":  "nearcache/nearcachetest",
		"internal/product/httpapi": "internal/product",
	} {
		if rule, found := ruleFor(rel); !found || rule.from != want {
			t.Errorf("%s: rule of %q (%v), want that of %q", rel, rule.from, found, want)
		}
	}
	if rule, found := ruleFor("tierless"); found {
		t.Errorf("tierless: rule of %q, want none", rule.from)
	}
}
