// Command gotest runs go test with its arguments, prints what go test prints, and adds one rule: with -strict as one
// of the arguments, a test that skipped because it "needs a real" service fails the run.
//
// go test without -v does not say that a test skipped, and with -v it says everything. So this asks for the JSON form
// and prints of it what go test would have: the output of tests that failed, and a line for each package.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
	}
	os.Exit(code)
}

func run(args []string) (code int, err error) {
	strict := slices.Contains(args, "-strict")
	args = slices.DeleteFunc(args, func(a string) bool { return a == "-strict" })
	// -v is honoured here: the JSON form always has everything.
	verbose := slices.Contains(args, "-v")

	// go test ends its tests when it is interrupted, and this ends when go test does.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 1, err
	}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	p := &printer{w: os.Stdout, verbose: verbose}
	readErr := p.read(out)
	err = cmd.Wait()

	skipped := len(p.refused)
	switch {
	case skipped == 0:
	case strict:
		p.printRefused()
	default:
		fmt.Fprintf(os.Stderr, "gotest: %d tests skipped for want of a real service; make test runs them\n", skipped)
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1), nil
	case err != nil:
		return 1, err
	case readErr != nil:
		return 1, readErr
	case strict && skipped > 0:
		return 1, nil
	}
	return 0, nil
}
