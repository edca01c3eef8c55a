package lint_test

import (
	"go/ast"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documents reads every Markdown file of the repository. The benchmarks' report is generated.
func documents(t *testing.T) map[string]document {
	t.Helper()
	docs := map[string]document{}
	walk(t, func(rel string) {
		if strings.HasSuffix(rel, ".md") && rel != "benchmarks/REPORT.md" {
			docs[rel] = parseMarkdown(string(read(t, rel)))
		}
	})
	if len(docs) < 20 {
		t.Fatalf("only %d documents found: this shows nothing", len(docs))
	}
	return docs
}

func TestDocs_LinksLeadSomewhere(t *testing.T) {
	docs := documents(t)
	docs["benchmarks/REPORT.md"] = parseMarkdown(string(read(t, "benchmarks/REPORT.md")))
	for rel, d := range docs {
		for _, link := range d.links {
			if strings.HasPrefix(link, "https://") || strings.HasPrefix(link, "mailto:") {
				continue
			}
			target, anchor, _ := strings.Cut(link, "#")
			file := rel
			if target != "" {
				file = path.Join(path.Dir(rel), target)
			}
			if _, err := os.Stat(filepath.Join(root(t), file)); err != nil {
				t.Errorf("%s: %s: no such file", rel, link)
			} else if anchor != "" && !docs[file].anchors[anchor] {
				t.Errorf("%s: %s: no such heading", rel, link)
			}
		}
	}
}

func TestDocs_IndexHasEveryDocument(t *testing.T) {
	docs := documents(t)
	linked := map[string]bool{"docs/README.md": true}
	for _, index := range []string{"docs/README.md", "docs/internals/adr/README.md"} {
		for _, link := range docs[index].links {
			target, _, _ := strings.Cut(link, "#")
			linked[path.Join(path.Dir(index), target)] = true
		}
	}
	for rel := range docs {
		if strings.HasPrefix(rel, "docs/") && !linked[rel] {
			t.Errorf("%s: no link in docs/README.md leads to it", rel)
		}
	}
}

// A test that names a race by its number, R17 for example, refers to the catalogue.
func TestDocs_CitedRacesAreInTheCatalogue(t *testing.T) {
	number := regexp.MustCompile(`\bR[0-9]{1,2}\b`)
	catalogue := string(read(t, "docs/internals/races.md"))
	cited := map[string]string{}
	walk(t, func(rel string) {
		if !strings.HasSuffix(rel, ".go") || strings.HasPrefix(rel, "internal/lint/") {
			return
		}
		_, f := parse(t, rel)
		for _, group := range f.Comments {
			for _, n := range number.FindAllString(group.Text(), -1) {
				cited[n] = rel
			}
		}
	})
	if len(cited) < 10 {
		t.Errorf("only %d races are cited: this shows nothing", len(cited))
	}
	for n, rel := range cited {
		if !strings.Contains(catalogue, "\n| "+n+" |") {
			t.Errorf("%s cites %s, which docs/internals/races.md does not have", rel, n)
		}
	}
}

func TestDocs_ReadmeHasTheExample(t *testing.T) {
	example := "```go\n" + string(read(t, "docs/examples/redis-only/main.go")) + "```\n"
	if !strings.Contains(string(read(t, "README.md")), example) {
		t.Error("the program in README.md is not docs/examples/redis-only/main.go")
	}
}

func TestDocs_MakeTargetsExist(t *testing.T) {
	target := regexp.MustCompile(`\bmake (?:-s )?([a-z][a-z-]*)`)
	makefile := "\n" + string(read(t, "Makefile"))
	found := 0
	for rel, d := range documents(t) {
		for _, line := range d.code {
			for _, m := range target.FindAllStringSubmatch(line, -1) {
				found++
				if !strings.Contains(makefile, "\n"+m[1]+":") {
					t.Errorf("%s: %q: the Makefile has no such target", rel, strings.TrimSpace(line))
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d targets found: this shows nothing", found)
	}
}

func TestDocs_MetricsExist(t *testing.T) {
	name := regexp.MustCompile(`\bnearcache_[a-z0-9_]+`)
	reference := string(read(t, "docs/reference/metrics.md"))
	others := []string{"nearcache_versions", "nearcache_invalidation_worker"} // a table, a consumer group
	for rel, d := range documents(t) {
		for _, line := range d.code {
			for _, metric := range name.FindAllString(line, -1) {
				if !strings.Contains(reference, "| `"+metric+"` |") && !slices.Contains(others, metric) {
					t.Errorf("%s: %s is not in docs/reference/metrics.md", rel, metric)
				}
			}
		}
	}
}

// The page of reasons has every code that a client can report. Codes are string constants in these files.
func TestDocs_ReasonsPageHasEveryCode(t *testing.T) {
	page := string(read(t, "docs/reference/reasons.md"))
	var codes []string
	for file, marks := range map[string][]string{
		"nearcache/reasons.go":   {"reason", "= \""},
		"internal/l2/fault.go":   {"Code: \""},
		"coherence/abilities.go": {"Finding", "= \""},
	} {
		before := len(codes)
		for _, line := range strings.Split(string(read(t, file)), "\n") {
			last := marks[len(marks)-1]
			_, after, found := strings.Cut(line, last)
			if code, _, closed := strings.Cut(after, "\""); found && closed && strings.Contains(line, marks[0]) {
				codes = append(codes, code)
			}
		}
		if len(codes) == before {
			t.Errorf("no code found in %s: this shows nothing", file)
		}
	}
	for _, code := range codes {
		if !strings.Contains(page, "\n| `"+code+"` |") {
			t.Errorf("the reason %s is not in docs/reference/reasons.md", code)
		}
	}
}

// Documents name packages' declarations as Go does: nearcache.NewCache.
func TestDocs_NamedDeclarationsExist(t *testing.T) {
	dirs := map[string]string{
		"nearcache": "nearcache", "nearcachetest": "nearcache/nearcachetest", "tier": "tier", "coherence": "coherence",
		"kafka": "coherence/kafka", "postgres": "coherence/postgres", "sqlite": "coherence/sqlite",
		"relay": "coherence/relay", "sourcetest": "coherence/sourcetest", "eventstest": "coherence/eventstest",
	}
	declared := map[string][]string{}
	for name, dir := range dirs {
		declared[name] = exportedNames(t, dir)
	}
	qualified := regexp.MustCompile(`\b([a-z]+)\.([A-Z]\w*)`)
	found := 0
	for rel, d := range documents(t) {
		if rel == "CHANGELOG.md" || rel == "benchmarks/NOTES.md" {
			continue // what was, and kafka-go's kafka
		}
		for _, line := range d.code {
			for _, m := range qualified.FindAllStringSubmatch(line, -1) {
				names, ours := declared[m[1]]
				if !ours {
					continue
				}
				found++
				if !slices.Contains(names, m[2]) {
					t.Errorf("%s: %s: package %s has no %s", rel, m[0], m[1], m[2])
				}
			}
		}
	}
	if found < 40 {
		t.Errorf("only %d names found: this shows nothing", found)
	}
}

func exportedNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	for _, f := range goFiles(t, dir) {
		for _, decl := range f.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Recv == nil {
					names = append(names, decl.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						names = append(names, spec.Name.Name)
					case *ast.ValueSpec:
						for _, id := range spec.Names {
							names = append(names, id.Name)
						}
					}
				}
			}
		}
	}
	return names
}

func goFiles(t *testing.T, dir string) (files []*ast.File) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(root(t), dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		if !strings.HasSuffix(file, "_test.go") {
			_, f := parse(t, path.Join(dir, filepath.Base(file)))
			files = append(files, f)
		}
	}
	return files
}

// The page of options has a section for each struct that a user fills in, with a row for each field.
func TestDocs_OptionsPageHasEveryField(t *testing.T) {
	page := parseMarkdown(string(read(t, "docs/reference/options.md")))
	for _, s := range []struct {
		dir, name string
		sections  []string
	}{
		{"nearcache", "Config", []string{"Config: one per client"}},
		{"nearcache", "Options", []string{"Loading", "Lifetime and staleness", "Keys and values", "Memory"}},
		{"nearcache", "Refresh", []string{"Refresh"}},
		{"nearcache", "FailSafe", []string{"FailSafe"}},
		{"nearcache", "Warm", []string{"Warm"}},
		{"nearcache", "Audit", []string{"Audit"}},
		{"nearcache", "ReadOptions", []string{"ReadOptions: one per read"}},
		{"nearcache", "Entry", []string{"Entry: what a Loader returns"}},
		{"coherence/relay", "Relay", []string{"Relay"}},
	} {
		fields := structFields(t, s.dir, s.name)
		var rows []string
		for _, section := range s.sections {
			for _, line := range page.sections[section] {
				if cells := strings.Split(line, "|"); len(cells) > 2 && strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
					_, names := withoutSpans(cells[1])
					rows = append(rows, names...)
				}
			}
		}
		if len(fields) == 0 || len(rows) == 0 {
			t.Errorf("%s: %d fields, %d rows: this shows nothing", s.name, len(fields), len(rows))
		}
		for _, f := range fields {
			if !slices.Contains(rows, f) {
				t.Errorf("%s.%s has no row in docs/reference/options.md", s.name, f)
			}
		}
		for _, r := range rows {
			if !slices.Contains(fields, r) {
				t.Errorf("docs/reference/options.md: %s has no field %s", s.name, r)
			}
		}
	}
}

func structFields(t *testing.T, dir, name string) (fields []string) {
	t.Helper()
	for _, f := range goFiles(t, dir) {
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != name {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, field := range s.Fields.List {
					for _, id := range field.Names {
						if id.IsExported() {
							fields = append(fields, id.Name)
						}
					}
				}
			}
			return false
		})
	}
	return fields
}

// The page about the programs has every command of the operator's tool, with its flags, as the tool itself lists them.
func TestDocs_CommandsAreInTheReference(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "run", "./cmd/nearcache", "reference")
	cmd.Dir = root(t)
	want, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(want), "\n### nearcache "); n < 15 {
		t.Fatalf("only %d commands found: this shows nothing", n)
	}
	if !strings.HasSuffix(string(read(t, "docs/reference/cli.md")), "-->\n\n"+string(want)) {
		t.Error("docs/reference/cli.md does not end with what `go run ./cmd/nearcache reference` prints")
	}
}
