// Package report writes the report of the benchmarks.
package report

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/suite"
)

// Write reads the results in the directory from, and writes REPORT.md and plots/*.svg to the directory to. If there is
// a NOTES.md in to, the report contains it.
func Write(from, to string) error {
	sections, err := measure.Load(from)
	if err != nil {
		return err
	}
	machine, err := measure.LoadMachine(from)
	if err != nil {
		return fmt.Errorf("report: no results: %w", err)
	}
	slices.SortFunc(sections, func(a, b measure.Section) int { return cmp.Compare(a.Order, b.Order) })
	notes, err := os.ReadFile(filepath.Join(to, "NOTES.md"))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	plots := filepath.Join(to, "plots")
	if err := os.MkdirAll(plots, 0o755); err != nil {
		return err
	}
	for _, s := range sections {
		for _, p := range s.Plots {
			if err := os.WriteFile(filepath.Join(plots, p.File+".svg"), []byte(svg(p)), 0o644); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(filepath.Join(to, "REPORT.md"), []byte(markdown(machine, sections, string(notes))), 0o644)
}

func markdown(m measure.Machine, sections []measure.Section, notes string) string {
	var b strings.Builder
	fmt.Fprint(&b, `# Benchmarks

`+"`make bench`"+` writes this file from results/*.json; do not edit it. Every ratio is of two turns in the same round
of one run. The report shows min, median and max over the interleaved rounds, and the absolute figures. A run in which
the cache under test did not hit is void. Wall time is divided by the operations of all goroutines together: with two
busy cores, it is half the time that an operation takes. Code that runs in this process only is compared by processor
time (user and system, of the whole process), to which other programs on the machine do not add.

    make bench          # everything, then this report
    make bench-quick    # under two minutes: fewer and shorter rounds
    make bench ONLY=hit-peers,l2-hit

`)
	quick := slices.ContainsFunc(sections, func(s measure.Section) bool { return s.Quick })
	if quick {
		fmt.Fprint(&b, "**Some of these results come from a quick run, which only shows that the benchmarks work.**\n\n")
	}
	fmt.Fprint(&b, "## Machine\n\n")
	table(&b, []string{"", ""}, [][]string{{"processor", m.CPU}, {"cores", fmt.Sprint(m.Cores)},
		{"memory", m.Memory}, {"system", m.OS},
		{"Go", m.Go}, {"GOGC", m.GOGC}, {"reading the clock", fmt.Sprintf("%.0f ns", m.ClockNs)}})
	fmt.Fprint(&b, "\nThe servers run on the same cores as the measured code.\n\n## Goals\n\n")
	byID := map[string]measure.Section{}
	for _, s := range sections {
		byID[s.ID] = s
	}
	var rows [][]string
	for _, g := range goals {
		rows = append(rows, g.row(byID))
	}
	table(&b, []string{"figure", "goal", "measured", "reached", "what prevents it"}, rows)
	if notes != "" {
		b.WriteString("\n" + strings.TrimSpace(notes) + "\n")
	}
	for _, s := range sections {
		section(&b, s)
	}
	return b.String()
}

func section(b *strings.Builder, s measure.Section) {
	quick := ""
	if s.Quick {
		quick = " (quick)"
	}
	fmt.Fprintf(b, "\n## %s\n\n", s.Title)
	paragraphs(b, fmt.Sprintf("`%s`%s: %s. It took %.0f s on %s.", s.ID, quick, s.Config, s.Seconds, s.Date))
	if s.Note != "" {
		b.WriteString("\n")
		paragraphs(b, s.Note)
	}
	for _, c := range s.Comparisons {
		by := "wall time"
		if c.CPU {
			by = "processor time"
		}
		fmt.Fprintf(b, "\n**%s** (base: %s; the ratio is of %s)\n\n", c.Title, c.Base, by)
		var rows [][]string
		for _, x := range c.Series {
			wall, cpu, r := measure.Of(x.NsPerOp), measure.Of(x.CPUPerOp), c.Ratio(x.Name)
			rows = append(rows, []string{x.Name, fmt.Sprintf("**%.2f**", r.Median),
				fmt.Sprintf("%.2f .. %.2f", r.Min, r.Max),
				suite.Nanos(wall.Median), suite.Nanos(wall.Min) + " .. " + suite.Nanos(wall.Max),
				suite.Nanos(cpu.Median),
				fmt.Sprintf("%.2f", x.Allocs), fmt.Sprintf("%.2f%%", 100*x.HitRatio)})
		}
		table(b, []string{"", "ratio", "min .. max", "wall time/op", "min .. max", "processor/op", "allocs/op",
			"hits"}, rows)
	}
	for _, t := range s.Tables {
		fmt.Fprintf(b, "\n**%s**\n\n", t.Title)
		table(b, t.Columns, t.Rows)
	}
	for _, p := range s.Plots {
		fmt.Fprintf(b, "\n![%s](plots/%s.svg)\n", p.Title, p.File)
	}
}

// paragraphs writes text in lines of at most 120 columns.
func paragraphs(b *strings.Builder, text string) {
	for i, p := range strings.Split(text, "\n\n") {
		if i > 0 {
			b.WriteString("\n")
		}
		column := 0
		for word := range strings.FieldsSeq(p) {
			switch {
			case column == 0:
			case column+1+len(word) > 120:
				b.WriteString("\n")
				column = 0
			default:
				b.WriteString(" ")
				column++
			}
			b.WriteString(word)
			column += len(word)
		}
		b.WriteString("\n")
	}
}

func table(b *strings.Builder, columns []string, rows [][]string) {
	line := func(cells []string) {
		for i := range cells {
			cells[i] = strings.ReplaceAll(cells[i], "|", `\|`)
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
	line(slices.Clone(columns))
	fmt.Fprint(b, strings.Repeat("|---", len(columns)), "|\n")
	for _, r := range rows {
		line(slices.Clone(r))
	}
}
