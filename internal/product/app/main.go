package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/nearcache/nearcache-go/internal/product/app/endpoint"
	"github.com/nearcache/nearcache-go/internal/version"
)

// ErrTerminated is the cause of a context that SIGTERM has ended: whoever stops the program that way, such as an
// orchestrator, may still send requests for a while.
var ErrTerminated = errors.New("SIGTERM")

// errInterrupted is that of SIGINT, which comes from a terminal.
var errInterrupted = errors.New("SIGINT")

// Main runs a program with the process's own arguments and signals, and returns its exit code: 0, 1 for a failure, 2
// for a configuration that cannot work. With --version it prints which build it is.
func Main(program string, run func(context.Context, Config, *slog.Logger) error) int {
	if slices.Contains(os.Args[1:], "--version") || slices.Contains(os.Args[1:], "-version") {
		fmt.Println(version.String(program))
		return 0
	}
	c, err := Parse(program, os.Args[1:], os.Getenv)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Print(Usage(program))
		return 0
	}
	if err != nil {
		return fail(program, err)
	}
	log, err := c.Logger()
	if err != nil {
		return fail(program, fmt.Errorf("%w: %w", ErrUsage, err))
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		s := <-signals
		signal.Stop(signals) // a second signal ends the process
		if s == syscall.SIGTERM {
			cancel(ErrTerminated)
			return
		}
		cancel(errInterrupted)
	}()
	if err := run(ctx, c, log); err != nil {
		return fail(program, err)
	}
	return 0
}

// fail prints why a program ends, and returns its exit code.
func fail(program string, err error) int {
	fmt.Fprintf(os.Stderr, "%s: %s\n", program, endpoint.Redact(err.Error()))
	if errors.Is(err, ErrUsage) {
		fmt.Fprintf(os.Stderr, "%s -h lists the settings\n", program)
		return 2
	}
	return 1
}
