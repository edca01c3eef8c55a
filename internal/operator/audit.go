package operator

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/audit"
)

// auditReport is what audit prints.
type auditReport struct {
	Namespace    string              `json:"namespace"`
	Keys         int                 `json:"keys"`       // that were sampled
	Uncached     int                 `json:"uncached"`   // of those, without a record that a cache reads
	Compared     uint64              `json:"compared"`   // records that were compared with the source
	Undecided    uint64              `json:"undecided"`  // that could not be judged
	Unreadable   int                 `json:"unreadable"` // whose payload was not decoded: the version alone was compared
	Inconsistent uint64              `json:"inconsistent"`
	Wait         float64             `json:"wait_seconds"`
	Scales       []audit.ScaleReport `json:"scales"`
	Differences  []auditedDifference `json:"differences"`
}

type auditedDifference struct {
	Key    string            `json:"key"`
	Record coherence.Version `json:"record_version"`
	Source coherence.Version `json:"source_version"`
	Lasted float64           `json:"lasted_seconds"` // 0: a damaged record, which no cache serves
	Cause  string            `json:"cause"`
	Text   string            `json:"text"`
}

func (t *tool) auditCommand() *cobra.Command {
	var o auditOptions
	cmd := &cobra.Command{Use: "audit NAMESPACE", Short: "Compare records in Redis with the rows of the database",
		Long: `Audit takes a sample of a namespace's keys, compares the record of each with its row, and says how consistent
they are within 100 ms, 1 s, 10 s and 1 min. A difference that lasts for --wait is an inconsistency, and is
explained. It changes nothing.

--query selects the rows. Its first column is the key, with the name that the cache gives it. The others are fields
of the value, with the names that they have in the payload: select id, name, price_cents as price from products.
What the payload has besides is not compared. With one further column that is no field, such as a jsonb, the whole
value is compared. The key column should be indexed.

Keys are taken from Redis and from the query, at random. A key without a record is not compared. A payload is
recognised as inspect does; of one that is not decoded the version alone is compared.

It ends when every difference is decided, --within after the last key at most. It exits with 3 if a larger part of
the records than --allow is inconsistent, or if a record is damaged.`,
		Args: exactly(1)}
	f := cmd.Flags()
	f.StringVar(&o.query, "query", "", "the rows: the key, and the fields of its value; required")
	f.IntVar(&o.keys, "keys", 1000, "how many keys are sampled at most")
	f.Float64Var(&o.rate, "rate", 100, "how many keys a second are compared")
	f.DurationVar(&o.wait, "wait", time.Second, "how long a difference lasts before it is an inconsistency: the bound")
	f.DurationVar(&o.within, "within", time.Minute, "the longest time for which the consistency is reported, and "+
		"differences are followed")
	f.Float64Var(&o.allow, "allow", 0, "which part of the records may be inconsistent, from 0 to 1")
	f.StringVar(&o.codec, "codec", "auto", "what the payload is, as of inspect")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := o.check(args[0]); err != nil {
			return err
		}
		ctx, cancel := t.limitIfAsked(cmd)
		defer cancel()
		a, closeIt, err := t.openAudit(ctx, args[0], &o)
		if err != nil {
			return err
		}
		defer closeIt()
		report, err := a.run(ctx, t.progress(cmd, "keys compared"))
		if err != nil {
			return err
		}
		if err := t.show(cmd, report, report.print); err != nil {
			return err
		}
		if n := report.Inconsistent; n > 0 && (report.damaged() || float64(n) > o.allow*float64(report.Compared)) {
			return fmt.Errorf("%w: %d of %d records differ from the source", errFindings, n, report.Compared)
		}
		return nil
	}
	return cmd
}

// auditOptions are audit's flags.
type auditOptions struct {
	query, codec string
	keys         int
	rate, allow  float64
	wait, within time.Duration
}

func (o *auditOptions) check(namespace string) error {
	if err := coherence.CheckName(namespace); err != nil {
		return usage("the namespace %.40q %w", namespace, err)
	}
	switch {
	case o.query == "":
		return usage("audit: --query is needed: the rows that the values are loaded from")
	case o.keys < 1 || o.keys > 1_000_000:
		return usage("--keys is %d: 1 to 1000000", o.keys)
	case !(o.rate > 0 && o.rate <= 10_000):
		return usage("--rate is %v: above 0, and up to 10000", o.rate)
	case !(o.allow >= 0 && o.allow <= 1):
		return usage("--allow is %v: a part, from 0 to 1", o.allow)
	case o.wait < time.Millisecond || o.wait > time.Minute || o.within < time.Millisecond:
		return usage("--wait is %v, and --within %v: from 1ms, and --wait up to 1m", o.wait, o.within)
	}
	return checkCodec(o.codec)
}

// run compares the sampled keys, one after the other.
func (a *auditRun) run(ctx context.Context, p *progress) (*auditReport, error) {
	names, err := a.sample(ctx)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(time.Duration(float64(time.Second) / a.opt.rate))
	defer tick.Stop()
	for i, name := range names {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		for a.engine.Full() { // too many differences to follow: those that are followed end within a minute
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		served, ok, err := a.serve(ctx, name)
		switch {
		case err != nil:
			return nil, err
		case !ok:
			a.uncached++
		default:
			a.engine.Check(ctx, name, served)
		}
		p.at(int64(i+1), int64(len(names)))
	}
	a.engine.Close()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return a.report(len(names)), nil
}

// sample takes keys from Redis and from the query, half of each where there are enough.
func (a *auditRun) sample(ctx context.Context) ([]string, error) {
	inRedis, _, err := namesIn(ctx, a.redis, a.namespace)
	if err != nil {
		return nil, err
	}
	inRows, err := a.rowNames(ctx)
	if err != nil {
		return nil, err
	}
	seen, out := map[string]bool{}, []string{}
	take := func(names []string, most int) {
		for _, i := range rand.Perm(len(names)) {
			if len(out) >= most {
				return
			}
			if !seen[names[i]] {
				seen[names[i]] = true
				out = append(out, names[i])
			}
		}
	}
	take(inRedis, max(a.opt.keys/2, a.opt.keys-len(inRows)))
	take(inRows, a.opt.keys)
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out, nil
}

func (a *auditRun) report(keys int) *auditReport {
	s := a.engine.Summary()
	r := &auditReport{Namespace: a.namespace, Keys: keys, Uncached: a.uncached, Compared: s.Reads, Undecided: s.Undecided,
		Unreadable: len(a.unreadable), Inconsistent: s.Inconsistent, Wait: a.opt.wait.Seconds(),
		Differences: []auditedDifference{}}
	for _, sc := range s.Scales {
		low, high := sc.Interval()
		r.Scales = append(r.Scales, audit.ScaleReport{Within: sc.Within.Seconds(), Judged: sc.Judged,
			Inconsistent: sc.Inconsistent, Share: sc.Share(), Low: low, High: high, Nines: sc.Nines()})
	}
	for i := range s.Differences {
		d := &s.Differences[i]
		r.Differences = append(r.Differences, auditedDifference{d.Key, d.Served.Version, d.Source.Version,
			d.Lasted.Seconds(), string(d.Cause), d.Text})
	}
	return r
}

// damaged reports whether a record is none.
func (r *auditReport) damaged() bool {
	for i := range r.Differences {
		if r.Differences[i].Lasted == 0 {
			return true
		}
	}
	return false
}

func (r *auditReport) print(w io.Writer) {
	fmt.Fprintf(w, "%d keys of %s: %d records compared, %d keys without one, %d undecided\n", r.Keys, r.Namespace,
		r.Compared, r.Uncached, r.Undecided)
	if r.Unreadable > 0 {
		fmt.Fprintf(w, "%d payloads were not decoded, so that their versions alone were compared: see --codec\n",
			r.Unreadable)
	}
	fmt.Fprintf(w, "WITHIN\tCONSISTENT\t95%% CONFIDENCE\tNINES\tINCONSISTENT\n")
	for _, s := range r.Scales {
		fmt.Fprintf(w, "%s\t%.6f\t%.6f to %.6f\t%.1f\t%d of %d\n", short(time.Duration(s.Within*float64(time.Second))),
			s.Share, s.Low, s.High, s.Nines, s.Inconsistent, s.Judged)
	}
	if r.Inconsistent == 0 {
		fmt.Fprintf(w, "no record differs from the source for %s\n", short(time.Duration(r.Wait*float64(time.Second))))
		return
	}
	fmt.Fprintf(w, "%d records differ from the source:\n", r.Inconsistent)
	for i := range r.Differences {
		d := &r.Differences[i]
		fmt.Fprintf(w, "%s\trecord %d, source %d\t%s\n\t%s\n", cut(d.Key, 80), d.Record, d.Source, d.Cause, plain(d.Text))
	}
	if more := int(r.Inconsistent) - len(r.Differences); more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
}

// explained is what audit.Explain makes of what could be found out.
func explained(e *audit.Evidence, name string) (string, audit.Cause, string) {
	cause, text := audit.Explain(e)
	return name, cause, text
}
