// Nearcache is the operator's tool: it shows what a near cache holds, makes every instance drop keys, looks for what is
// wrong, and repairs. nearcache --help lists the commands, docs/reference/cli.md describes them.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/nearcache/nearcache-go/internal/operator"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := operator.Run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
