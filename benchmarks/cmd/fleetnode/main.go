// Command fleetnode is a process of the fleet that the section "scale" measures; bench runs it. See package fleet.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/nearcache/nearcache-go/benchmarks/fleet"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "fleetnode:", err)
		if errors.Is(err, fleet.ErrNotReady) {
			os.Exit(fleet.ExitNotReady)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	if len(os.Args) != 3 || os.Args[1] != "worker" {
		return errors.New("usage: fleetnode worker instances|relay")
	}
	return fleet.Serve(ctx, os.Args[2], os.Stdin, os.Stdout)
}
