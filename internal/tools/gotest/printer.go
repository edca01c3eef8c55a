package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// needs begins the message of a skip that strict mode does not accept; package servicestest words it.
const needs = "needs a real"

// event is a line of go test -json; see go doc test2json.
type event struct {
	Action, Package, Test, Output string
}

// test names a test of a package.
type test struct{ pkg, name string }

// printer turns the events of go test -json back into what go test prints.
type printer struct {
	w       io.Writer
	verbose bool

	pending map[test][]string // the output of tests that run, in order
	started map[string][]test // the tests of a package that run, in order
	failed  map[test][]string // what failed subtests said, under their top test
	refused []string          // the skips that strict mode does not accept
}

// read prints events until r ends.
func (p *printer) read(r io.Reader) error {
	p.pending, p.failed, p.started = map[test][]string{}, map[test][]string{}, map[string][]test{}
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			p.line(line)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read go test's output: %w", err)
		}
	}
}

func (p *printer) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil {
		_, _ = p.w.Write(line) // not an event: go's own words
		return
	}
	at := test{e.Package, e.Test}
	switch e.Action {
	case "run":
		p.started[e.Package] = append(p.started[e.Package], at)
	case "build-output":
		_, _ = io.WriteString(p.w, e.Output)
	case "output":
		if e.Test != "" && !p.verbose {
			p.pending[at] = append(p.pending[at], e.Output)
			return
		}
		// For a package without tests, and in verbose mode, go test says the same.
		if e.Test != "" && strings.Contains(e.Output, needs) {
			p.pending[at] = append(p.pending[at], e.Output)
		}
		if e.Test == "" && e.Output == "PASS\n" && !p.verbose {
			return
		}
		_, _ = io.WriteString(p.w, e.Output)
	case "pass", "fail", "skip":
		p.end(e, at)
	}
}

// end is the end of a test, or of a package when the event names no test.
func (p *printer) end(e event, at test) {
	if e.Test == "" {
		// Tests that have no end of their own were cut off: a panic, a time-out, os.Exit. The package's own lines
		// came first; there is no better place.
		if e.Action == "fail" {
			for _, cut := range p.started[e.Package] {
				p.flush(cut)
			}
		}
		delete(p.started, e.Package)
		return
	}
	text := strings.Join(p.pending[at], "")
	switch i := strings.Index(text, needs); {
	case e.Action == "fail":
		p.flush(at)
	case e.Action == "skip" && i >= 0:
		reason, _, _ := strings.Cut(text[i:], "\n")
		p.refused = append(p.refused, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason))
	case e.Action == "skip":
		p.flush(at) // unlike go test: a skip that nobody sees is a test that nobody has
	}
	delete(p.pending, at)
}

// flush prints what the test has said, its headline first, without the lines that go test has only in verbose mode.
// That of a subtest waits for its top test, to be printed below it.
func (p *printer) flush(at test) {
	if p.verbose {
		return
	}
	var head, body []string
	for _, line := range p.pending[at] {
		switch t := strings.TrimSpace(line); {
		case strings.HasPrefix(t, "=== "):
		case strings.HasPrefix(t, "--- "):
			head = append(head, line)
		default:
			body = append(body, line)
		}
	}
	delete(p.pending, at)
	said := append(head, body...)
	if top, _, sub := strings.Cut(at.name, "/"); sub {
		at.name = top
		p.failed[at] = append(p.failed[at], said...)
		return
	}
	said = append(said, p.failed[at]...)
	delete(p.failed, at)
	for _, line := range said {
		_, _ = io.WriteString(p.w, line)
	}
}

// printRefused prints the skips that strict mode does not accept, as go test prints a failure.
func (p *printer) printRefused() {
	fmt.Fprintf(p.w, "--- FAIL: %d tests skipped that must not here:\n", len(p.refused))
	for _, line := range p.refused {
		fmt.Fprintln(p.w, "   ", line)
	}
	fmt.Fprintln(p.w, "FAIL")
}
