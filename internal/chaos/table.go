//go:build unix

package chaos

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nearcache/nearcache-go/internal/chaos/history"
)

// Failures are the reasons why a run does not pass.
func (o *Outcome) Failures() (out []string) {
	r := o.Report
	if o.BrokeOff != nil {
		out = append(out, fmt.Sprintf("the run broke off: %v", o.BrokeOff))
	}
	if n := r.Total.Broke(); n > 0 {
		out = append(out, fmt.Sprintf("%d violations", n))
	}
	if len(r.Linear.Illegal) > 0 {
		out = append(out, fmt.Sprintf("Fresh reads and writes of %d keys are not linearizable: %v", len(r.Linear.Illegal),
			r.Linear.Illegal))
	}
	if share := r.Quiet.Share(history.L1); share < o.Config.MinShare {
		out = append(out, fmt.Sprintf("L1 served %.1f%% of the reads without faults, at least %.0f%% are asked for",
			100*share, 100*o.Config.MinShare))
	}
	for _, u := range o.Unrecovered {
		out = append(out, "the gate did not open in time after "+u)
	}
	for _, d := range o.Differs {
		if !o.expected(d) {
			out = append(out, "the auditor found "+d)
		}
	}
	return append(out, o.Failed...)
}

// expected reports whether the run has planted what the auditor found: rows that are changed while the trigger is
// disabled. Of a row that was deleted then nothing is left that says so.
func (o *Outcome) expected(difference string) bool {
	of := strings.HasPrefix(difference, "change_uncounted") ||
		strings.HasPrefix(difference, "unknown") && strings.Contains(difference, "was changed and not counted")
	return of &&
		slices.ContainsFunc(o.History.Windows, func(w history.Window) bool {
			return strings.Contains(w.Fault, "trigger disabled")
		})
}

// shown is how many violations are printed in full.
const shown = 5

// Print writes the table, and what was found.
func (o *Outcome) Print(w io.Writer) {
	r := o.Report
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "fault\ttimes\treads\terrors\t")
	for g := range history.Guarantees {
		fmt.Fprintf(t, "%v\t", g)
	}
	fmt.Fprintf(t, "stalest\tplain\tL1\tL2\tsource\trecover\t\n")
	for _, row := range r.Rows {
		printRow(t, &row)
	}
	printRow(t, &r.Quiet)
	printRow(t, &r.Total)
	_ = t.Flush()
	fmt.Fprintf(w, "stalest: of reads with a bound, which is %v; plain: of reads without one; "+
		"recover: from the heal until every instance proves the bound again\n", o.Config.Bound)
	fmt.Fprintf(w, "%d reads checked and %d writes committed in %v (%.0f reads and %.1f writes a second); "+
		"L1 served %.1f%% of the reads while there was no fault\n",
		r.Total.Checked, o.Writes, round(o.Took), float64(r.Total.Checked)/o.Took.Seconds(),
		float64(o.Writes)/o.Took.Seconds(), 100*r.Quiet.Share(history.L1))
	l := r.Lag
	fmt.Fprintf(w, "Λ, from a commit's acknowledgement to an instance's proof, without faults: "+
		"p50 %v, p99 %v, p99.9 %v, max %v (%d); Δ is %v\n",
		round(l.P50), round(l.P99), round(l.P999), round(l.Max), l.Samples, o.Config.Bound)
	fmt.Fprintf(w, "porcupine: %d operations on %d keys, %d keys not linearizable, %d undecided\n", r.Linear.Operations,
		r.Linear.Keys, len(r.Linear.Illegal), r.Linear.Undecided)
	if o.Audited > 0 {
		fmt.Fprintf(w, "auditor: %d reads of the bounded cache compared with the source, %d differ for %v or longer\n",
			o.Audited, len(o.Differs), o.Config.Bound)
	}
	wt := o.History.Waiting
	fmt.Fprintf(w, "wait: no read longer than %v while Redis and the source answered, "+
		"which was %.0f%% of the time, nor ever longer than %v more; longest without a reason %v\n",
		wt.Slack, 100*r.Answered, wt.Deadline, round(r.Longest))
	for i, v := range r.Violations {
		if i == shown {
			fmt.Fprintf(w, "... and %d more\n", r.Total.Broke()-i)
			break
		}
		fmt.Fprint(w, "VIOLATION ")
		o.History.Timeline(w, v, 2*o.Config.Bound)
	}
	for _, f := range o.Failures() {
		fmt.Fprintf(w, "FAILED: %s\n", f)
	}
}

func printRow(w io.Writer, r *history.Row) {
	fmt.Fprintf(w, "%s\t%d\t%d\t%d\t", r.Fault, r.Times, r.Checked, r.Errors)
	for g := range history.Guarantees {
		fmt.Fprintf(w, "%d\t", r.Broken[g])
	}
	fmt.Fprintf(w, "%v\t%v\t", ms(r.Stalest), ms(r.Lagging))
	for _, t := range []history.Tier{history.L1, history.L2, history.Source} {
		fmt.Fprintf(w, "%.1f%%\t", 100*r.Share(t))
	}
	fmt.Fprintf(w, "%v\t\n", ms(r.Recover))
}

func ms(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0fms", float64(d)/1e6)
}
