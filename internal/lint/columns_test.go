package lint_test

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// columns is how wide a line may be: two files then fit beside each other.
const columns = 120

// wide are the files, or folders as prefixes, whose lines cannot be broken.
var wide = []string{
	"internal/tools/gotest/printer_test.go", // lines of go test's output
	"docs/examples/ent/ent/",                // ent generates it
}

// A tab is one column. A row of a Markdown table and a badge's link cannot be broken.
func TestSource_LinesFitTheScreen(t *testing.T) {
	longest := map[string]int{}
	walk(t, func(rel string) {
		goFile, markdown := strings.HasSuffix(rel, ".go"), strings.HasSuffix(rel, ".md")
		if !goFile && !markdown {
			return
		}
		for _, prefix := range wide {
			if strings.HasPrefix(rel, prefix) {
				return
			}
		}
		for _, line := range strings.Split(string(read(t, rel)), "\n") {
			unbreakable := strings.HasPrefix(line, "|") || strings.HasPrefix(line, "[!")
			if markdown && unbreakable || goFile && strings.HasPrefix(line, "//go:") {
				continue
			}
			if width := utf8.RuneCountInString(line); width > columns {
				longest[rel]++
			}
		}
	})
	for rel, n := range longest {
		t.Errorf("%s: %d lines of more than %d columns", rel, n, columns)
	}
}
