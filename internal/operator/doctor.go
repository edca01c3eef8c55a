package operator

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcache/nearcache-go/internal/product/app/endpoint"
)

// finding is one thing that doctor has looked at.
type finding struct {
	Area  string `json:"area"`  // redis, postgres, kafka or clocks
	Check string `json:"check"` // a stable name
	State string `json:"state"` // ok, warning, wrong or skipped
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"` // what to change
}

// The states.
const (
	stateOK      = "ok"
	stateWarning = "warning" // it works, and costs hits, freshness or safety
	stateWrong   = "wrong"   // it does not work, or loses invalidations
	stateSkipped = "skipped" // it could not be looked at
)

// checkup is one run of doctor.
type checkup struct {
	*tool
	cmd      *cobra.Command
	role     string        // whose rights the database's user needs
	longOpen time.Duration // of a transaction
	area     string
	Findings []finding `json:"findings"`
	Wrong    int       `json:"wrong"`
	Warnings int       `json:"warnings"`
}

// oneLine joins the lines of an error.
var oneLine = strings.NewReplacer(":\n\t", ": ", "\n\t", "; ", "\n", "; ")

func (c *checkup) add(check, state, do, format string, args ...any) {
	switch state {
	case stateWrong:
		c.Wrong++
	case stateWarning:
		c.Warnings++
	}
	text := plain(oneLine.Replace(endpoint.Redact(fmt.Sprintf(format, args...))))
	c.Findings = append(c.Findings, finding{c.area, check, state, text, do})
}

func (c *checkup) ok(check, format string, args ...any) { c.add(check, stateOK, "", format, args...) }
func (c *checkup) warn(check, do, format string, args ...any) {
	c.add(check, stateWarning, do, format, args...)
}
func (c *checkup) wrong(check, do, format string, args ...any) {
	c.add(check, stateWrong, do, format, args...)
}
func (c *checkup) skip(check, format string, args ...any) {
	c.add(check, stateSkipped, "", format, args...)
}

func (t *tool) doctorCommand() *cobra.Command {
	var role string
	var longOpen time.Duration
	cmd := &cobra.Command{Use: "doctor", Short: "Look for what is wrong with Redis, Postgres, Kafka and the clocks",
		Long: `Doctor looks at each service that is configured, and says what to change. It exits with 3 if something
is wrong, and with 0 if there are warnings alone.

Redis: version, role, rights of the user, tracking, with the order of a push and the reply after it tested, size
of the tracking table, memory and eviction, whose data the prefix holds. It writes a key of its own, for a few
seconds. Postgres: version, role of the server, rights of the user, schema, triggers on every table and partition,
columns, size of the outbox, relays, transactions that stay open, sessions in the replica role. Kafka: topics,
partitions, retention, compaction, open transactions, age of the last barrier. Clocks: those of the services
against this machine's.

Run it as the user whose rights are in question; what that user may not look at is skipped, and said.`,
		Args: exactly(0)}
	cmd.Flags().StringVar(&role, "as", "instance", "whose rights the database's user needs: instance or relay")
	cmd.Flags().DurationVar(&longOpen, "long", time.Minute, "how long a transaction may stay open that has written")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if role != "instance" && role != "relay" {
			return usage("--as is %.20q: instance or relay", role)
		}
		if !t.hasRedis() && !t.hasDatabase() && !t.hasKafka() {
			return usage("no service is given: --redis, --database, --kafka, or their variables")
		}
		c := &checkup{tool: t, cmd: cmd, role: role, longOpen: longOpen, Findings: []finding{}}
		for _, area := range []struct {
			name       string
			configured bool
			look       func(context.Context) error
		}{{"redis", t.hasRedis(), c.redis}, {"postgres", t.hasDatabase(), c.postgres}, {"kafka", t.hasKafka(), c.kafka}} {
			c.area = area.name
			if !area.configured {
				c.skip("configured", "it is not configured")
				continue
			}
			ctx, cancel := t.limit(cmd)
			err := area.look(ctx)
			cancel()
			if err != nil {
				return err
			}
		}
		if err := t.show(cmd, c, c.print); err != nil {
			return err
		}
		if c.Wrong > 0 {
			return fmt.Errorf("%w: of %d checks %d failed", errFindings, len(c.Findings), c.Wrong)
		}
		return nil
	}
	return cmd
}

func (c *checkup) print(w io.Writer) {
	marks := map[string]string{stateOK: "ok", stateWarning: "WARNING", stateWrong: "WRONG", stateSkipped: "skipped"}
	for _, f := range c.Findings {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", marks[f.State], f.Area, f.Check, f.Text)
		if f.Do != "" {
			fmt.Fprintf(w, "\t\t\t-> %s\n", f.Do)
		}
	}
	fmt.Fprintf(w, "%d checks, %d wrong, %d warnings\n", len(c.Findings), c.Wrong, c.Warnings)
}

// skewed is how far a clock may differ before it is said.
const skewed = 500 * time.Millisecond

// clock compares a service's clock with this machine's. The answer came within the two moments.
func (c *checkup) clock(theirs, asked, answered time.Time) {
	area := c.area
	defer func() { c.area = area }()
	c.area = "clocks"
	skew := time.Duration(0)
	switch {
	case theirs.Before(asked):
		skew = theirs.Sub(asked)
	case theirs.After(answered):
		skew = theirs.Sub(answered)
	}
	if skew.Abs() <= skewed {
		c.ok(area, "within %v of this machine's", skewed)
		return
	}
	c.warn(area, "run NTP on both; bounds are by each instance's own clock and stay right, expiry and lag do not",
		"it differs from this machine's by %v", skew.Round(time.Millisecond))
}
