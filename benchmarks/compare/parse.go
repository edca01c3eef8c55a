// Package compare runs the Go benchmarks of two versions of a package in turns and reports how the versions differ.
//
// A comparison of two runs made one after the other also measures everything that changed on the machine in between.
// Here old and new binaries alternate within minutes, and each ratio is taken between two runs that were neighbours.
package compare

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Results holds the metrics of one run: by benchmark, and then by unit ("ns/op", "cpu-ns/op", "allocs/op").
type Results map[string]map[string]float64

// Parse reads the output of `go test -bench`. Lines that are not results are skipped.
func Parse(r io.Reader) (Results, error) {
	out := Results{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		if _, err := strconv.ParseInt(fields[1], 10, 64); err != nil {
			continue // a log line, or the name of a benchmark whose result follows
		}
		metrics := map[string]float64{}
		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("compare: %q: %w", lines.Text(), err)
			}
			metrics[fields[i+1]] = v
		}
		out[fields[0]] = metrics
	}
	return out, lines.Err()
}

// topLevel returns the names of the top-level benchmarks in the output of `-test.list`.
func topLevel(list string) []string {
	var names []string
	for line := range strings.Lines(list) {
		if name := strings.TrimSpace(line); strings.HasPrefix(name, "Benchmark") {
			names = append(names, name)
		}
	}
	return names
}
