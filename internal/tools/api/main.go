// Command api keeps a listing of everything that other modules can use of this one, so that a review sees each change.
//
//	api           check that docs/api matches the source, and that CHANGELOG.md announces what the baseline lost
//	api -w        write docs/api
//	api -release  write docs/api and docs/api/baseline: users rely on these declarations from now on
//
// A declaration of the baseline that is gone or changed needs an announcement: a line under Unreleased in CHANGELOG.md
// with the word BREAKING and the declaration's name. A new name for a parameter is no change. Before the first
// -release there is no baseline, and nothing to break.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	mode := strings.Join(os.Args[1:], " ")
	var err error
	switch mode {
	case "", "-w", "-release":
		err = run(".", mode)
	default:
		err = errors.New("usage: api [-w | -release]")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(1)
	}
}

func run(root, mode string) error {
	pkgs, err := list(root)
	if err != nil {
		return err
	}
	if len(pkgs) == 0 {
		return errors.New("no package to list")
	}
	current := filepath.Join(root, "docs", "api")
	baseline := filepath.Join(current, "baseline")
	texts := map[string]string{}
	for _, p := range pkgs {
		texts[fileName(p.path, pkgs)] = strings.Join(p.lines, "\n") + "\n"
	}
	if mode != "" {
		if err := replace(current, texts); err != nil {
			return err
		}
	}
	if mode == "-release" {
		return replace(baseline, texts)
	}
	changelog, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	listed, err := load(current)
	if err != nil {
		return err
	}
	promised, err := load(baseline)
	if err != nil {
		return err
	}
	return errors.Join(stale(listed, texts), unannounced(promised, texts, unreleased(string(changelog))))
}

// fileName is the listing's file for a package: its path below the module, with "." for "/".
func fileName(path string, all []listed) string {
	// The module's path is what all of its packages have in common.
	prefix := all[0].path
	for _, p := range all {
		for !strings.HasPrefix(p.path+"/", prefix+"/") {
			prefix = prefix[:strings.LastIndexByte(prefix, '/')]
		}
	}
	rel := strings.TrimPrefix(strings.TrimPrefix(path, prefix), "/")
	if rel == "" {
		rel = path[strings.LastIndexByte(path, '/')+1:]
	}
	return strings.ReplaceAll(rel, "/", ".") + ".txt"
}

// load reads the listings in a directory, of which there may be none.
func load(dir string) (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		texts[filepath.Base(file)] = string(b)
	}
	return texts, nil
}

// replace writes the listings to a directory and removes those of packages that are no more.
func replace(dir string, texts map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := load(dir)
	if err != nil {
		return err
	}
	for name := range old {
		if _, still := texts[name]; !still {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// stale says where the committed listing is not the source's.
func stale(committed, texts map[string]string) error {
	var diff []string
	for _, line := range missing(committed, texts) {
		diff = append(diff, "  - "+line)
	}
	for _, line := range missing(texts, committed) {
		diff = append(diff, "  + "+line)
	}
	if len(diff) == 0 {
		return nil
	}
	return fmt.Errorf("docs/api is not up to date (make api writes it):\n%s", strings.Join(diff, "\n"))
}

// unannounced lists what the baseline has, the source lacks, and the change log does not announce.
func unannounced(baseline, texts map[string]string, news []string) error {
	var gone []string
	for _, line := range missing(unnamed(baseline), unnamed(texts)) {
		name := subject(line)
		announced := slices.ContainsFunc(news, func(n string) bool {
			return strings.Contains(n, "BREAKING") && regexp.MustCompile(`\b`+regexp.QuoteMeta(name)+`\b`).MatchString(n)
		})
		if !announced {
			gone = append(gone, fmt.Sprintf("  %s\n    add a line with BREAKING and %s to Unreleased in CHANGELOG.md",
				line, name))
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return fmt.Errorf("the baseline has declarations that are gone:\n%s", strings.Join(gone, "\n"))
}

// unnamed are listings without the names of parameters.
func unnamed(texts map[string]string) map[string]string {
	out := map[string]string{}
	for name, text := range texts {
		lines := strings.Split(text, "\n")
		for i, line := range lines {
			lines[i] = withoutNames(line)
		}
		out[name] = strings.Join(lines, "\n")
	}
	return out
}

var declared = regexp.MustCompile(`^\S+: (?:type \w+(?:\[[^\]]*\])?, (\w+)|method \(\*?\w+\) (\w+)|\w+ (\w+))`)

// subject is the name that a listing's line, as missing gives it, is about: the innermost.
func subject(line string) string {
	for _, name := range declared.FindStringSubmatch(line) {
		if name != "" && !strings.Contains(name, ": ") {
			return name
		}
	}
	return line
}

// missing are the lines of a that b lacks, each after its package.
func missing(a, b map[string]string) []string {
	var lines []string
	for name, text := range a {
		have := strings.Split(b[name], "\n")
		for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
			if line != "" && !slices.Contains(have, line) {
				lines = append(lines, strings.TrimSuffix(name, ".txt")+": "+line)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// unreleased are the lines of the change log's section Unreleased.
func unreleased(changelog string) []string {
	var lines []string
	inside := false
	for _, line := range strings.Split(changelog, "\n") {
		if strings.HasPrefix(line, "## ") {
			inside = strings.Contains(strings.ToLower(line), "unreleased")
			continue
		}
		if inside {
			lines = append(lines, line)
		}
	}
	return lines
}
