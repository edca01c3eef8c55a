package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const before = `package shop

import "context"

const Limit = 3

type Store interface {
	Find(ctx context.Context, id string) (Item, error)
	Close() error
}

type Item struct {
	Name  string
	Notes []func(line string) bool
	price int
}

func (i Item) Price() int      { return i.price }
func (i *Item) SetPrice(p int) { i.price = p }
func (i *Item) hidden()        {}

type Box[T any] struct{ Content T }

func (b Box[T]) Open() T { return b.Content }

func Map[A, B any](in []A, f func(a A) B) []B { return nil }

var ErrGone error

type ID = string
`

func TestList_HasEveryExportedDeclarationWithParameterNames(t *testing.T) {
	root := newModule(t, before)
	if err := run(root, "-w"); err != nil {
		t.Fatal(err)
	}
	got := get(t, root, "docs/api/shop.txt")
	want := strings.TrimPrefix(`
const Limit untyped int = 3
func Map[A any, B any](in []A, f func(a A) B) []B
method (*Item) SetPrice(p int)
method (Box) Open() T
method (Item) Price() int
type Box[T any] struct
type Box[T any], Content T
type ID = string
type Item struct
type Item, Name string
type Item, Notes []func(line string) bool
type Store interface { Close() error; Find(ctx context.Context, id string) (Item, error) }
var ErrGone error
`, "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRun_WantsTheListingUpToDate(t *testing.T) {
	root := newModule(t, before)
	if err := run(root, ""); err == nil {
		t.Error("no listing passes as up to date")
	}
	if err := run(root, "-w"); err != nil {
		t.Fatal(err)
	}
	if err := run(root, ""); err != nil {
		t.Errorf("straight after -w: %v", err)
	}
	put(t, root, "shop/shop.go", before+"\nfunc New() {}\n")
	if err := run(root, ""); err == nil || !strings.Contains(err.Error(), "+ shop: func New()") {
		t.Errorf("a new function: %v", err)
	}
}

func TestRun_AnotherNameForAParameterBreaksNobody(t *testing.T) {
	root := newModule(t, before)
	if err := run(root, "-release"); err != nil {
		t.Fatal(err)
	}
	put(t, root, "shop/shop.go", strings.ReplaceAll(before, "id string", "identity string"))
	if err := run(root, "-w"); err != nil {
		t.Errorf("got %v, want no complaint", err)
	}
}

func TestWithoutNames(t *testing.T) {
	for line, want := range map[string]string{
		`func Map[A any, B any](in []A, f func(a A) B) []B`:  `func Map[A any, B any]([]A, func(A) B) []B`,
		`method (*Item) Pair() (first int, err error)`:       `method (*Item) Pair() (int, error)`,
		`func Pipe(chan int, map[string]func(s string) int)`: `func Pipe(chan int, map[string]func(string) int)`,
		`type Box[K comparable, V any], F func(b Box[K, V])`: `type Box[K comparable, V any], F func(Box[K, V])`,
		`type A interface { Do(v ...string) error }`:         `type A interface { Do(...string) error }`,
		`const Text untyped string = "(a b, c d)"`:           `const Text untyped string = "(a b, c d)"`,
	} {
		if got := withoutNames(line); got != want {
			t.Errorf("%s:\n got %s\nwant %s", line, got, want)
		}
	}
}

func TestRun_WantsWhatIsGoneAnnounced(t *testing.T) {
	for name, test := range map[string]struct {
		old, new, announce string
		compatible         bool
	}{
		"one function more":           {"var ErrGone error", "var ErrGone error\nfunc New() {}", "", true},
		"one field more":              {"Name  string", "Name string; Size int", "", true},
		"one interface method more":   {"Close() error", "Close() error; Len() int", "Store", false},
		"a field gone":                {"Name  string", "", "Name", false},
		"a field of another type":     {"Name  string", "Name []byte", "Name", false},
		"a method gone":               {"func (i Item) Price() int", "func (i Item) cost() int", "Price", false},
		"a method on the pointer":     {"func (i Item) Price() int", "func (i *Item) Price() int", "Price", false},
		"a parameter of another type": {"f func(a A) B", "f func(a A, i int) B", "Map", false},
		"a constraint tightened":      {"[A, B any]", "[A comparable, B any]", "Map", false},
		"a generic type's field gone": {"struct{ Content T }", "struct{ content T }", "Content", false},
	} {
		t.Run(name, func(t *testing.T) {
			root := newModule(t, before)
			if err := run(root, "-release"); err != nil {
				t.Fatal(err)
			}
			after := strings.Replace(before, test.old, test.new, 1)
			if name == "a generic type's field gone" {
				after = strings.ReplaceAll(after, "b.Content", "b.content")
			}
			put(t, root, "shop/shop.go", after)
			err := run(root, "-w")
			if test.compatible {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), "BREAKING and "+test.announce+" to Unreleased") {
				t.Fatalf("unannounced: %v; want it to ask for %s", err, test.announce)
			}
			put(t, root, "CHANGELOG.md",
				"# Changes\n## [Unreleased]\n- BREAKING: something else\n## 1.0\n- BREAKING: "+test.announce+"\n")
			if err := run(root, ""); err == nil {
				t.Error("an announcement of an older release was accepted")
			}
			put(t, root, "CHANGELOG.md", "# Changes\n## [Unreleased]\n- BREAKING: `"+test.announce+"` is other now\n## 1.0\n")
			if err := run(root, ""); err != nil {
				t.Errorf("announced: %v", err)
			}
		})
	}
}

func TestRun_AGonePackageIsGone(t *testing.T) {
	root := newModule(t, before)
	put(t, root, "other/other.go", "package other\n\nfunc Do() {}\n")
	if err := run(root, "-release"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(root, "other")); err != nil {
		t.Fatal(err)
	}
	if err := run(root, "-w"); err == nil || !strings.Contains(err.Error(), "Do") {
		t.Errorf("a package is gone: %v", err)
	}
}

// newModule is a module with one package to import, and some that nobody can.
func newModule(t *testing.T, source string) string {
	t.Helper()
	root := t.TempDir()
	put(t, root, "go.mod", "module example.com/team/goods\n\ngo 1.26\n")
	put(t, root, "shop/shop.go", source)
	put(t, root, "internal/secret/secret.go", "package secret\n\nfunc Secret() {}\n")
	put(t, root, "cmd/shop/main.go", "package main\n\nfunc main() {}\n\nfunc Exported() {}\n")
	put(t, root, "tool.go", "package goods\n")
	return root
}

func put(t *testing.T, root, name, content string) {
	t.Helper()
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, root, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
