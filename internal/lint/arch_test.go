package lint_test

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// arrow says what the packages at a path, and below it, may import of this module. The longest path that fits a
// package counts.
type arrow struct {
	from string
	to   []string // paths; "x/..." is x and everything below it
}

// arrows is the one direction of imports. A package that no line fits fails, so that a new one has its place decided
// here.
//
//	cmd, internal/product, benchmarks      programs
//	nearcache   coherence/relay            who uses the engine
//	internal/fence   internal/l1   tier    the engine, and its public door for programs without a cache
//	internal/l2
//	coherence                              types that everybody shares; it imports nothing
var arrows = []arrow{
	{"internal/ablate", nil},
	{"internal/wallclock", nil},
	{"internal/lease", nil},
	{"internal/version", nil},
	{"internal/audit", []string{"coherence"}},
	{"coherence", nil},
	{"coherence/debezium", []string{"coherence"}},
	{"coherence/internal/tailing", []string{"coherence", "internal/ablate"}},
	{"coherence/kafka", []string{"coherence", "coherence/internal/tailing", "internal/ablate"}},
	{"coherence/nats", []string{"coherence", "coherence/internal/tailing", "internal/ablate"}},
	{"coherence/postgres", []string{"coherence", "internal/ablate", "internal/lease"}},
	{"coherence/sqlite", []string{"coherence", "internal/ablate"}},
	{"coherence/mysql", []string{"coherence", "internal/ablate", "internal/lease"}},
	{"coherence/sourcetest", []string{"coherence"}},
	{"coherence/eventstest", []string{"coherence"}},
	{"coherence/relay", []string{"coherence", "tier", "internal/l2", "internal/ablate"}},
	{"tier", []string{"coherence", "internal/l2"}},
	{"internal/l1", nil},
	{"internal/l2", []string{"coherence", "internal/ablate"}},
	{"internal/fence", []string{"coherence", "internal/l2", "internal/ablate"}},
	{"nearcache", []string{"coherence", "tier", "internal/fence", "internal/l1", "internal/l2", "internal/ablate",
		"internal/wallclock", "internal/audit", "internal/version"}},
	{"nearcache/sqlload", []string{"nearcache"}},
	{"nearcache/otel", []string{"coherence"}},
	{"nearcache/codec/protobuf", nil},
	{"nearcache/codec/msgpack", nil},
	{"nearcache/codec/compress", []string{"nearcache"}},
	{"nearcache/nearcachetest", []string{"nearcache", "coherence"}},
	{"internal/services", []string{"nearcache/nearcachetest"}},
	{"internal/services/local", nil},
	{"internal/services/conformance", []string{"internal/services/servicestest", "nearcache/nearcachetest"}},
	{"internal/services/servicestest", []string{"internal/services/local"}},
	{"internal/demo", []string{"internal/product", "internal/product/page", "nearcache", "coherence", "tier"}},
	{"internal/product", []string{"internal/product/...", "internal/demo", "internal/services", "internal/version",
		"nearcache", "nearcache/otel", "coherence/...", "tier"}},
	{"internal/copier", []string{"coherence", "internal/fence", "internal/l2", "internal/ablate"}},
	{"internal/operator", []string{"internal/audit", "internal/copier", "internal/product/...", "internal/version",
		"internal/l2", "nearcache", "coherence/...", "tier"}},
	{"internal/testkit", []string{"coherence", "internal/l2", "internal/services/servicestest",
		"nearcache/nearcachetest"}},
	{"internal/tools", []string{"internal/services/local"}},
	{"internal/tools/compat", []string{"internal/services/local", "nearcache", "coherence"}},
	{"internal/tools/sizing", []string{"nearcache", "coherence/postgres"}},
	{"internal/explore", []string{"internal/ablate"}},
	{"internal/lint", nil},
	{"internal/chaos", []string{
		"internal/chaos/history", "internal/services/local", "internal/ablate", "internal/wallclock", "internal/l2",
		"nearcache",
		"coherence/...", "tier",
	}},
	{"internal/chaos/history", nil},
	{"internal/tools/chaos", []string{"internal/chaos", "internal/services/local"}},
	{"internal/e2e", []string{"internal/services/...", "nearcache/...", "coherence/...", "tier"}},
	{"cmd", []string{"internal/product/app", "internal/operator"}},
	{"docs/examples", []string{"nearcache", "coherence/...", "tier"}},
}

func TestArch_ImportsPointOneWay(t *testing.T) {
	for _, p := range golist(t, "./...") {
		rule, found := ruleFor(p.rel())
		if !found {
			t.Errorf("%s: no line of arrows says what it may import", p.rel())
			continue
		}
		for _, imported := range p.Imports {
			rel, ours := strings.CutPrefix(imported, module+"/")
			if ours && !slices.ContainsFunc(rule.to, func(to string) bool { return within(rel, to) }) {
				t.Errorf("%s imports %s; it may import only %v", p.rel(), rel, rule.to)
			}
		}
	}
}

func ruleFor(rel string) (rule arrow, found bool) {
	for _, a := range arrows {
		if within(rel, a.from+"/...") && len(a.from) > len(rule.from) {
			rule, found = a, true
		}
	}
	return rule, found
}

// within reports whether a path is pattern, or below it where pattern ends in "/...".
func within(rel, pattern string) bool {
	dir, tree := strings.CutSuffix(pattern, "/...")
	return rel == dir || tree && strings.HasPrefix(rel, dir+"/")
}

// vendors says which non-test files may import a vendor's library, so that replacing it is a change in one place.
var vendors = []struct {
	library string
	by      []string // files, or directories as "x/..."
}{
	{"github.com/dgraph-io/ristretto", []string{"internal/l1/..."}},
	// Config.Redis is rueidis's own struct, so a program that fills it in imports rueidis. Only internal/l2 sends
	// commands.
	{"github.com/redis/rueidis", []string{
		"internal/l2/...", "tier/tier.go", "nearcache/config.go", "nearcache/nearcachetest/...",
		"internal/product/app/...", "internal/demo/...", "internal/chaos/...", "internal/testkit/...",
		"internal/operator/...", "internal/tools/compat/...", "internal/tools/sizing/...",
		"docs/examples/...",
	}},
	{"github.com/segmentio/kafka-go", []string{
		"coherence/kafka/...", "internal/services/servicestest/...", "internal/chaos/...",
		"internal/product/app/endpoint/kafka.go", "internal/operator/...",
	}},
	{"github.com/nats-io", []string{"coherence/nats/...", "internal/chaos/...",
		"internal/product/app/endpoint/nats.go", "internal/services/natstest/..."}},
	{"go.opentelemetry.io", []string{"nearcache/otel/...", "internal/product/app/telemetry/..."}},
	{"github.com/spf13/cobra", []string{"internal/operator/..."}},
	{"github.com/jackc/pgx", []string{
		"coherence/postgres/...", "internal/product/...", "internal/chaos/...", "internal/services/servicestest/...",
		"internal/operator/...", "internal/tools/compat/...", "internal/tools/sizing/...",
		"docs/examples/...",
	}},
	{"github.com/go-sql-driver/mysql", []string{"internal/chaos/...", "internal/services/servicestest/...",
		"docs/examples/..."}},
	{"modernc.org/sqlite", []string{"internal/services/..."}},
	{"google.golang.org/protobuf", []string{"nearcache/codec/protobuf/...", "internal/operator/payload.go"}},
	{"github.com/vmihailenco/msgpack", []string{"nearcache/codec/msgpack/...", "internal/operator/payload.go"}},
	// kafka-go decompresses a batch without a limit, so coherence/kafka does it itself, within one.
	{"github.com/klauspost/compress", []string{"nearcache/codec/compress/...", "coherence/kafka/batch.go",
		"internal/operator/payload.go"}},
	{"github.com/alicebob/miniredis", []string{"nearcache/nearcachetest/..."}},
	{"github.com/twmb/franz-go", []string{"nearcache/nearcachetest/..."}},
	{"github.com/Shopify/toxiproxy", []string{"internal/chaos/proxy.go"}},
	{"github.com/rs/zerolog", []string{"internal/chaos/proxy.go"}},
	{"github.com/anishathalye/porcupine", []string{"internal/chaos/history/linear.go"}},
}

func TestArch_VendorsAreImportedInFewPlaces(t *testing.T) {
	for _, p := range golist(t, "./...") {
		for _, name := range p.GoFiles {
			file := path.Join(p.rel(), name)
			for _, imported := range imports(t, path.Join(p.Dir, name)) {
				for _, v := range vendors {
					allowed := func(by string) bool { return within(file, by) }
					if within(imported, v.library+"/...") && !slices.ContainsFunc(v.by, allowed) {
						t.Errorf("%s imports %s; only %v may", file, imported, v.by)
					}
				}
			}
		}
	}
}

// optional are the libraries of parts that a program may do without, of drivers and of fakes.
var optional = []string{
	"github.com/segmentio", "github.com/jackc", "modernc.org", "github.com/alicebob", "github.com/twmb",
	"github.com/stretchr", "github.com/anishathalye", "github.com/Shopify", "go.opentelemetry.io", "testing",
	"github.com/vmihailenco", "github.com/klauspost", "github.com/nats-io",
	"github.com/spf13", "github.com/cpuguy83", // of the operator's tool
	"github.com/google/go-cmp", // for tests, as it says itself
	module + "/nearcache/codec",
}

// links says which of those a program links for importing a package.
var links = map[string][]string{
	"tier":               nil,
	"coherence":          nil,
	"coherence/relay":    nil,
	"nearcache":          nil,
	"coherence/sqlite":   nil,
	"coherence/kafka":    {"github.com/segmentio", "github.com/klauspost"}, // kafka-go compresses
	"coherence/nats":     {"github.com/nats-io", "github.com/klauspost"},   // nats.go compresses WebSockets
	"coherence/postgres": {"github.com/jackc"},

	"nearcache/otel":           {"go.opentelemetry.io"},
	"nearcache/codec/protobuf": {module + "/nearcache/codec"},
	"nearcache/codec/msgpack":  {module + "/nearcache/codec", "github.com/vmihailenco"},
	"nearcache/codec/compress": {module + "/nearcache/codec", "github.com/klauspost"},
}

func TestArch_PackagesLinkOnlyTheirOwn(t *testing.T) {
	for rel, wanted := range links {
		for _, p := range golist(t, "./"+rel) {
			for _, dep := range p.Deps {
				for _, o := range optional {
					if within(dep, o+"/...") && !slices.Contains(wanted, o) {
						t.Errorf("%s links %s", rel, dep)
					}
				}
			}
		}
	}
}

// testOnly are libraries of tests: no package links one, and no command.
var testOnly = []string{"github.com/google/go-cmp"}

func TestArch_NothingLinksTestLibraries(t *testing.T) {
	for _, p := range golist(t, "./...") {
		for _, dep := range p.Deps {
			for _, o := range testOnly {
				if within(dep, o+"/...") {
					t.Errorf("%s links %s, which is for tests", p.rel(), dep)
				}
			}
		}
	}
}

func TestArch_CommandsLinkNoTestHarness(t *testing.T) {
	for _, p := range golist(t, "./cmd/...") {
		for _, dep := range p.Deps {
			rel, _ := strings.CutPrefix(dep, module+"/")
			if dep == "testing" || within(rel, "internal/services/servicestest") || within(rel, "internal/services/local") {
				t.Errorf("%s links %s", p.rel(), dep)
			}
		}
	}
}
