package lint_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unlinked are the modules that a program which imports nearcache alone does not have in it, whatever go.mod names
// for other packages.
var unlinked = []string{
	"github.com/segmentio/kafka-go", "github.com/jackc/pgx", "github.com/jackc/puddle", "modernc.org/",
	"github.com/alicebob/miniredis", "github.com/twmb/franz-go", "github.com/stretchr/testify",
	"github.com/anishathalye", "github.com/Shopify", "go.opentelemetry.io/", "honnef.co/", "github.com/yuin/gopher-lua",
	"github.com/vmihailenco/", "github.com/klauspost/compress", "github.com/google/go-cmp", module + "/nearcache/codec",
}

// A user's program is a module of its own, which gets this one from a module proxy. That is other than a package in
// this module: what is not packed is missing, and replace directives and the like of go.mod do not count.
func TestScratchModule_BuildsAndLinksOnlyWhatNearcacheNeeds(t *testing.T) {
	dir, gorun := scratchModule(t)
	write(t, filepath.Join(dir, "main.go"), `package main

import (
	"fmt"

	"`+module+`/nearcache"
)

func main() {
	client, err := nearcache.New(nearcache.Config{})
	fmt.Println(client, err)
}
`)
	// -trimpath: else the compiler's cache would know none of the packages, their directories being new.
	gorun("build", "-trimpath", "-o", "scratch", ".")

	modules := gorun("version", "-m", "scratch")
	if !strings.Contains(modules, module) {
		t.Fatalf("the program has no %s in it:\n%s", module, modules)
	}
	deps := gorun("list", "-trimpath", "-deps", ".")
	for _, u := range unlinked {
		for _, line := range strings.Split(modules+deps, "\n") {
			if strings.Contains(line, u) {
				t.Errorf("a program with nearcache alone links %s", strings.TrimSpace(line))
			}
		}
	}
	for _, dep := range strings.Fields(deps) {
		if slices.Contains(engine, strings.TrimPrefix(dep, module+"/")) {
			continue
		}
		if dep == "testing" || strings.HasPrefix(dep, module+"/internal/") ||
			strings.HasPrefix(dep, module+"/nearcache/nearcachetest") {
			t.Errorf("a program with nearcache alone links %s", dep)
		}
	}
}

// scratchModule is a module of a user's, which gets this one from a module proxy, and go within it.
func scratchModule(t *testing.T) (dir string, gorun func(args ...string) string) {
	t.Helper()
	proxy, version := t.TempDir(), "v0.0.0"
	publish(t, proxy, version)
	dir = t.TempDir()
	write(t, filepath.Join(dir, "go.mod"),
		"module example.com/scratch\n\ngo "+goVersion(t)+"\n\nrequire "+module+" "+version+"\n")
	// The other modules come from what this machine has downloaded to build this one, else from where it downloads. A
	// module cache of the test's own: the packed version must not stay in the machine's.
	cache := t.TempDir()
	downloaded := filepath.Join(goenv(t, "GOMODCACHE"), "cache", "download")
	env := append(os.Environ(),
		"GOPROXY=file://"+filepath.ToSlash(proxy)+",file://"+filepath.ToSlash(downloaded)+","+goenv(t, "GOPROXY"),
		"GOMODCACHE="+cache,
		"GOFLAGS=-mod=mod -modcacherw",
		"GOSUMDB=off", "GONOSUMDB=*", "GONOPROXY=none", "GOPRIVATE=", "GOWORK=off", "GOTOOLCHAIN=local",
	)
	gorun = func(args ...string) string {
		t.Helper()
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Env = dir, env
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
		}
		return string(out)
	}
	return dir, gorun
}

// What else an outsider does: write a Source and pass its suite, and open L2 for a worker, with no fake of its own.
func TestScratchModule_SourceAndWorker(t *testing.T) {
	dir, gorun := scratchModule(t)
	write(t, filepath.Join(dir, "scratch_test.go"), `package scratch

import (
	"context"
	"testing"

	"`+module+`/coherence"
	"`+module+`/coherence/sourcetest"
	"`+module+`/nearcache/nearcachetest"
	"`+module+`/tier"
)

// mine is a Source of the user's own: it wraps one, as a Source with tracing would, and loses no ability.
type mine struct{ coherence.Source }

type tx struct{ *nearcachetest.SourceTx }

func (t tx) Commit(context.Context) error   { return t.SourceTx.Commit() }
func (t tx) Rollback(context.Context) error { t.SourceTx.Rollback(); return nil }

func TestSource(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Harness {
		src := nearcachetest.NewSource()
		return sourcetest.Harness{Source: mine{src},
			Begin: func(context.Context) (sourcetest.Tx, error) { return tx{src.Begin()}, nil }}
	})
}

func TestWorker(t *testing.T) {
	redis := nearcachetest.NewRedis(t)
	l2, err := tier.Open(tier.Config{Redis: redis.ClientOption()})
	if err != nil {
		t.Fatal(err)
	}
	defer l2.Close()
	if err := l2.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l2.Apply(t.Context(), coherence.Event{Namespace: "product", Key: "42", Version: 2}); err != nil {
		t.Fatal(err)
	}
}
`)
	gorun("test", "-trimpath", ".")
}

// engine is what nearcache is made of. Without its tag, internal/ablate is constants alone.
var engine = []string{"internal/ablate", "internal/audit", "internal/fence", "internal/l1", "internal/l2",
	"internal/version",
	"internal/wallclock"}

// publish packs this module into dir as a module proxy serves it.
func publish(t *testing.T, dir, version string) {
	t.Helper()
	versions := filepath.Join(dir, filepath.FromSlash(module), "@v")
	if err := os.MkdirAll(versions, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(versions, "list"), version+"\n")
	info := fmt.Sprintf(`{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, version)
	write(t, filepath.Join(versions, version+".info"), info)
	write(t, filepath.Join(versions, version+".mod"), string(read(t, "go.mod")))

	// A directory with a go.mod of its own is another module and not packed.
	others := map[string]bool{}
	walk(t, func(rel string) {
		if path.Base(rel) == "go.mod" && rel != "go.mod" {
			others[path.Dir(rel)] = true
		}
	})
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	walk(t, func(rel string) {
		for other := range others {
			if strings.HasPrefix(rel, other+"/") {
				return
			}
		}
		w, err := z.Create(module + "@" + version + "/" + rel)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(read(t, rel)); err != nil {
			t.Fatal(err)
		}
	})
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(versions, version+".zip"), b.String())
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func goenv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatalf("go env %s: %v", name, err)
	}
	return strings.TrimSpace(string(out))
}

// goVersion is the version that go.mod asks for.
func goVersion(t *testing.T) string {
	t.Helper()
	for _, line := range strings.Split(string(read(t, "go.mod")), "\n") {
		if version, found := strings.CutPrefix(line, "go "); found {
			return strings.TrimSpace(version)
		}
	}
	t.Fatal("go.mod asks for no version of Go")
	return ""
}
