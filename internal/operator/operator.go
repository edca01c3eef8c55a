// Package operator is the operator's tool, cmd/nearcache. Each command has a file of its own.
//
// A command reads what it is to do from its arguments, opens the services that it needs, and prints one result: for
// people, or as one JSON object in a line with --json. A command that changes something prints a plan, and does it
// with --yes alone; install and invalidate do it at once, as their names say.
package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcache/nearcache-go/internal/product/app/endpoint"
)

// The exit codes.
const (
	exitDone     = 0 // all was done
	exitFailed   = 1 // a failure, or something was not reached
	exitUsage    = 2 // the command line cannot work
	exitFindings = 3 // doctor or audit has found something that is wrong
)

var (
	errUsage     = errors.New("usage")
	errUnreached = errors.New("not everything was reached")
	errFindings  = errors.New("something is wrong")
)

// Run runs a command line and returns its exit code. Messages go to errOut, and no message shows a password.
func Run(ctx context.Context, args []string, env func(string) string, out, errOut io.Writer) int {
	cmd := root(env)
	cmd.SetArgs(args)
	cmd.SetOut(out)
	cmd.SetErr(errOut)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	fmt.Fprintln(errOut, "nearcache:", endpoint.Redact(err.Error()))
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintln(errOut, "nearcache --help lists the commands, nearcache COMMAND --help the flags of one")
		return exitUsage
	case errors.Is(err, errFindings):
		return exitFindings
	}
	return exitFailed
}

// usage is an error of the command line.
func usage(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errUsage, fmt.Errorf(format, args...))
}

// show prints a result: as JSON, or by human.
func (t *tool) show(cmd *cobra.Command, result any, human func(w io.Writer)) error {
	if t.json {
		return printJSON(cmd.OutOrStdout(), result)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	human(w)
	return w.Flush()
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// progress says on standard error, once a second at most, how far long work has come.
type progress struct {
	w    io.Writer
	what string
	last time.Time
}

func (t *tool) progress(cmd *cobra.Command, what string) *progress {
	return &progress{w: cmd.ErrOrStderr(), what: what, last: time.Now()}
}

// at notes that so much of all is done.
func (p *progress) at(done, all int64) {
	if time.Since(p.last) < time.Second {
		return
	}
	p.last = time.Now()
	percent := int64(100)
	if all > 0 {
		percent = 100 * done / all
	}
	fmt.Fprintf(p.w, "%s: %d of %d (%d%%)\n", p.what, done, all, percent)
}

// exactly takes n arguments.
func exactly(n int) cobra.PositionalArgs { return between(n, n) }

func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usage("%s: %d arguments are given, and it is: nearcache %s", cmd.Name(), len(args),
				strings.TrimPrefix(cmd.UseLine(), "nearcache "))
		}
		return nil
	}
}

// group is a command that only has commands below it.
func group(use, short, long string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("%s: there is no such command%s", cmd.CommandPath(), meant(cmd, args[0]))
			}
			return usage("%s: a command is needed", cmd.CommandPath())
		}}
	cmd.AddCommand(below...)
	return cmd
}

// meant names commands that are spelled alike. What was given is not shown: it may be a password.
func meant(cmd *cobra.Command, given string) string {
	cmd.SuggestionsMinimumDistance = 2
	alike := cmd.SuggestionsFor(given)
	if len(alike) == 0 {
		return ""
	}
	return "; is it " + strings.Join(alike, " or ") + "?"
}

// ago is a moment as people read it: how long ago, in at most three digits.
func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := time.Since(t)
	if d < 0 {
		return "in " + short(-d)
	}
	return short(d) + " ago"
}

// short is a duration without the digits that nobody reads.
func short(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + short(-d)
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d >= time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(100 * time.Microsecond).String()
}
