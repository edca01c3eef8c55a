package lint_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A sleep in a test is a guess about the speed of the machine. Inside a synctest bubble time is virtual, and a sleep
// is exact.
func TestSource_TestsSleepOnlyInSynctest(t *testing.T) {
	walk(t, func(rel string) {
		if !strings.HasSuffix(rel, "_test.go") {
			return
		}
		fset, f := parse(t, rel)
		for _, pos := range sleeps(f) {
			t.Errorf("%s: time.Sleep outside synctest.Test: poll with a deadline", at(fset, rel, pos))
		}
	})
}

// bubble is what a package calls its own helpers around synctest.Test: inBubble, inBoundedBubble.
var bubble = regexp.MustCompile(`^in([A-Z]\w*)?Bubble([A-Z]\w*)?$`)

// sleeps are the uses of time.Sleep outside function literals that are passed to synctest.Test or to the package's
// bubbles, and outside functions that call synctest.Wait themselves: those run in the bubble of their caller. A
// bubble that makes none is found itself.
func sleeps(f *ast.File) []token.Pos {
	var found []token.Pos
	for _, decl := range f.Decls {
		if bubbleHelper(decl) {
			continue
		}
		if fn, ok := decl.(*ast.FuncDecl); ok && bubble.MatchString(fn.Name.Name) && !makesBubble(fn) {
			found = append(found, fn.Pos())
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if selects(n.Fun, "synctest", "Test") || isBubble(n.Fun) {
					return false
				}
			case *ast.SelectorExpr:
				if selects(n, "time", "Sleep") {
					found = append(found, n.Pos())
				}
			}
			return true
		})
	}
	return found
}

func makesBubble(decl ast.Decl) (makes bool) {
	ast.Inspect(decl, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			makes = makes || selects(call.Fun, "synctest", "Test") || isBubble(call.Fun)
		}
		return true
	})
	return makes
}

func isBubble(e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	return ok && bubble.MatchString(id.Name)
}

func bubbleHelper(decl ast.Decl) bool {
	calls := false
	ast.Inspect(decl, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if selects(n.Fun, "synctest", "Test") {
				return false
			}
		case *ast.SelectorExpr:
			calls = calls || selects(n, "synctest", "Wait")
		}
		return true
	})
	return calls
}

// selects reports whether e is the expression pkg.name.
func selects(e ast.Expr, pkg, name string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	id, ok := sel.X.(*ast.Ident)
	return ok && id.Name == pkg && sel.Sel.Name == name
}

// The repository is read on other machines than the one it was written on.
var machinePath = regexp.MustCompile(`(^|[^\w.$}-])/(home|root|Users|work|mnt|opt)/[\w.-]+`)

func TestSource_NamesNoMachine(t *testing.T) {
	walk(t, func(rel string) {
		if strings.HasPrefix(rel, "internal/lint/") {
			return
		}
		content := read(t, rel)
		if bytes.IndexByte(content, 0) >= 0 {
			return // not text
		}
		for i, line := range bytes.Split(content, []byte("\n")) {
			if found := machinePath.Find(line); found != nil {
				t.Errorf("%s:%d: a path of somebody's machine: %s", rel, i+1, bytes.TrimSpace(found))
			}
		}
	})
}

// A note to oneself is a promise to nobody. What is left to do is an issue.
var note = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)

func TestSource_HasNoNotesToSelf(t *testing.T) {
	walk(t, func(rel string) {
		if !strings.HasSuffix(rel, ".go") || strings.HasPrefix(rel, "internal/lint/") {
			return
		}
		for i, line := range bytes.Split(read(t, rel), []byte("\n")) {
			if note.Match(line) {
				t.Errorf("%s:%d: %s", rel, i+1, bytes.TrimSpace(line))
			}
		}
	})
}

// A linter is silenced only with the name of its check and the reason.
func TestSource_SilencesLintersWithReasons(t *testing.T) {
	silence := regexp.MustCompile(`^//\s*(nolint|lint:ignore|lint:file-ignore)`)
	reasoned := regexp.MustCompile(`^//lint:(file-)?ignore \S+ \S+ \S+`)
	walk(t, func(rel string) {
		if !strings.HasSuffix(rel, ".go") {
			return
		}
		fset, f := parse(t, rel)
		for _, group := range f.Comments {
			for _, c := range group.List {
				if silence.MatchString(c.Text) && !reasoned.MatchString(c.Text) {
					t.Errorf("%s: name the check and give a reason: //lint:ignore SA1234 why", at(fset, rel, c.Pos()))
				}
			}
		}
	})
}

// The library's packages have no state of their own, set nothing up behind their importer's back, and read no
// environment.
func TestSource_LibraryHasNoInitAndReadsNoEnvironment(t *testing.T) {
	walk(t, func(rel string) {
		library := slices.ContainsFunc(
			[]string{"tier/", "coherence/", "nearcache/", "internal/fence/", "internal/l1/", "internal/l2/"},
			func(dir string) bool { return strings.HasPrefix(rel, dir) })
		if !library || !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") {
			return
		}
		fset, f := parse(t, rel)
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					t.Errorf("%s: init", at(fset, rel, n.Pos()))
				}
			case *ast.SelectorExpr:
				for _, name := range []string{"Getenv", "LookupEnv", "Environ", "ExpandEnv"} {
					if selects(n, "os", name) {
						t.Errorf("%s: os.%s", at(fset, rel, n.Pos()), name)
					}
				}
			}
			return true
		})
	})
}

// at is a position as file:line with the file's path in the repository.
func at(fset *token.FileSet, rel string, pos token.Pos) string {
	return fmt.Sprintf("%s:%d", rel, fset.Position(pos).Line)
}
