package lint_test

import (
	"go/ast"
	"path"
	"regexp"
	"strings"
	"testing"
)

// command is a go test in a document: its -run or -bench, and its packages.
var command = regexp.MustCompile("`go test [^`]*(?:-run|-bench) '?([^' `]+)'?((?: -count \\d+)?(?: \\./[a-z0-9/]+)+)`")

// A claim whose command runs no test is no claim. go test itself would call that a success.
func TestClaims_HaveTests(t *testing.T) {
	funcs := map[string][]string{} // test and benchmark functions by directory
	walk(t, func(rel string) {
		if !strings.HasSuffix(rel, "_test.go") {
			return
		}
		_, f := parse(t, rel)
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil {
				funcs[path.Dir(rel)] = append(funcs[path.Dir(rel)], fn.Name.Name)
			}
		}
	})
	found := 0
	for _, doc := range []string{"README.md", "docs/internals/architecture.md", "docs/reference/metrics.md"} {
		for _, m := range command.FindAllStringSubmatch(string(read(t, doc)), -1) {
			found++
			for _, run := range strings.Split(m[1], `\|`) { // escaped in a table
				if !matchesOne(t, run, m[2], funcs) {
					t.Errorf("%s: %s: no test of%s is called like %q", doc, m[0], m[2], run)
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d commands found: this shows nothing", found)
	}
}

func matchesOne(t *testing.T, run, pkgs string, funcs map[string][]string) bool {
	t.Helper()
	re, err := regexp.Compile(run)
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range strings.Fields(pkgs) {
		for _, name := range funcs[strings.TrimPrefix(pkg, "./")] {
			if (strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Benchmark")) && re.MatchString(name) {
				return true
			}
		}
	}
	return false
}
