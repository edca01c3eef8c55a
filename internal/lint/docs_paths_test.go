package lint_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A source file that names a page leads its reader there.
func TestDocs_PagesNamedInSourcesExist(t *testing.T) {
	page := regexp.MustCompile(`(?:^|[\s(])(docs/[\w./-]+\.md)\b`)
	found := 0
	walk(t, func(rel string) {
		ext := filepath.Ext(rel)
		if ext != ".go" && ext != ".sql" && ext != ".sh" && ext != ".yml" && filepath.Base(rel) != "Makefile" {
			return
		}
		for _, m := range page.FindAllStringSubmatch(string(read(t, rel)), -1) {
			found++
			if _, err := os.Stat(filepath.Join(root(t), m[1])); err != nil {
				t.Errorf("%s names %s, which does not exist", rel, m[1])
			}
		}
	})
	if found < 10 {
		t.Errorf("only %d pages are named in sources: this shows nothing", found)
	}
}

// Two headings of one name, or two rows of one option, are two places that can contradict each other.
func TestDocs_SayThingsOnce(t *testing.T) {
	for _, rel := range []string{"README.md", "docs/README.md", "docs/reference/options.md"} {
		section, seen := "", map[string]bool{}
		for line := range strings.Lines(string(read(t, rel))) {
			name := ""
			switch {
			case strings.HasPrefix(line, "#"):
				section, name = strings.TrimSpace(line), strings.TrimSpace(line)
			case strings.HasPrefix(line, "| `"):
				name = section + " " + strings.Split(line, "|")[1]
			default:
				continue
			}
			if seen[name] {
				t.Errorf("%s: %s is there twice", rel, strings.TrimSpace(name))
			}
			seen[name] = true
		}
	}
}
