// Nearcache is the operator's tool: it shows what Redis holds of a key, makes every instance drop a key, and installs
// the trigger that counts versions. nearcache --help lists the commands, docs/reference/cli.md describes them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/nearcache/nearcache-go/internal/product/app/endpoint"
)

// errUsage is a command line that cannot work.
var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs a command line and returns its exit code: 0, 1 for a failure or for what was not reached, 2 for a command
// line that cannot work.
func run(ctx context.Context, args []string, env func(string) string, out, errOut io.Writer) int {
	cmd := root(env)
	cmd.SetArgs(args)
	cmd.SetOut(out)
	cmd.SetErr(errOut)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(errOut, "nearcache:", endpoint.Redact(err.Error()))
	if errors.Is(err, errUsage) {
		fmt.Fprintln(errOut, "nearcache --help lists the commands, nearcache COMMAND --help the flags of one")
		return 2
	}
	return 1
}
