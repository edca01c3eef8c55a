package project

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

// The marks around the computed part of the page.
const (
	begin = "<!-- computed by `bench project`; do not edit -->\n"
	end   = "<!-- end of the computed part -->\n"
)

// Section reads the results of the section "scale" from a directory.
func Section(dir string) (measure.Section, error) {
	all, err := measure.Load(dir)
	if err != nil {
		return measure.Section{}, err
	}
	for _, s := range all {
		if s.ID == "scale" {
			return s, nil
		}
	}
	return measure.Section{}, fmt.Errorf("project: %s has no results of the section scale", dir)
}

// Replace replaces the computed part of a page.
func Replace(page string, s measure.Section) (string, error) {
	from, to := strings.Index(page, begin), strings.Index(page, end)
	if from < 0 || to < from {
		return "", fmt.Errorf("project: the page has no line %q, or none %q after it", strings.TrimSpace(begin),
			strings.TrimSpace(end))
	}
	computed, err := Computed(s)
	return page[:from+len(begin)] + "\n" + computed + "\n" + page[to:], err
}

// Write brings the page up to date with the results in a directory.
func Write(results, page string) error {
	s, err := Section(results)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Clean(page))
	if err != nil {
		return err
	}
	text, err := Replace(string(b), s)
	if err != nil {
		return err
	}
	return os.WriteFile(page, []byte(text), 0o644)
}

// projections are the fleets of the page.
var projections = []struct {
	title string
	fleet Fleet
}{
	{"1,000 instances, one Redis, Kafka, nothing written", Fleet{Instances: 1_000, Masters: 1, Kafka: true}},
	{"10,000 instances, one Redis, Kafka, nothing written", Fleet{Instances: 10_000, Masters: 1, Kafka: true}},
	{"1,000 instances, one Redis, Kafka, 1,000 writes/s, 1% held",
		Fleet{Instances: 1_000, Writes: 1_000, Held: 0.01, Masters: 1, Kafka: true}},
	{"1,000 instances, 100 masters, Kafka with 50 partitions, 100,000 writes/s, 0.1% held",
		Fleet{Instances: 1_000, Writes: 100_000, Held: 0.001, Masters: 100, Kafka: true}},
	{"10,000 instances, 100 masters, Kafka with 50 partitions, 100,000 writes/s, 0.1% held",
		Fleet{Instances: 10_000, Writes: 100_000, Held: 0.001, Masters: 100, Kafka: true}},
	{"the same without Kafka on the instances",
		Fleet{Instances: 10_000, Writes: 100_000, Held: 0.001, Masters: 100}},
}

// Computed is the computed part of the page.
func Computed(s measure.Section) (string, error) {
	before, after := Of(s, "before"), Of(s, "after")
	if after == nil {
		return "", fmt.Errorf("project: the section %q has no costs", s.ID)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "### Limits (assumed)\n\n%s\n### Unit costs (measured on %s)\n\n", limits(), s.Date)
	unitTable(&b, before, after)
	for _, p := range projections {
		fmt.Fprintf(&b, "\n### %s (arithmetic)\n\n", strings.ToUpper(p.title[:1])+p.title[1:])
		if err := loadTable(&b, before, after, p.fleet); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// limits are the assumptions as a table.
func limits() string {
	return fmt.Sprintf(`| resource | limit | why |
|---|---|---|
| a Redis master: processor | %s | it runs commands on one core |
| a Redis master: connections | %s | the default of maxclients |
| a Redis master, a Kafka broker: network | %s | 10 Gbit/s |
| Postgres: processor | %s | a large machine |
| Postgres: connections of Sources | %s | more need a pooler |
| Kafka | %.0f brokers of %.0f cores | five partitions on each, with 50 partitions |
| the relay: processor | %s | one goroutine for each channel does most of the work |
| an instance: processor for coherence | %s | what a service may give for it |
`, amount(redisCores, "cores"), thousands(maxClients), amount(networkBytes, "B/s"), amount(postgresCores, "cores"),
		thousands(postgresMost), kafkaBrokers, kafkaCores, amount(relayCores, "cores"), amount(instanceBudget, "cores"))
}

// loadTable writes the loads of a fleet. Those of the old version are beside them where nothing is written.
func loadTable(b *strings.Builder, before, after *Costs, f Fleet) error {
	loads, err := after.Loads(f)
	if err != nil {
		return err
	}
	old := map[string]Load{}
	if before != nil && f.Writes == 0 {
		all, err := before.Loads(f)
		if err != nil {
			return err
		}
		for _, l := range all {
			old[l.Resource] = l
		}
	}
	first := loads[0]
	fmt.Fprintf(b, "Fullest: **%s**, %s of what is assumed.\n\n", first.Resource, percent(first.Share()))
	header := "| resource | load | limit | used |"
	if len(old) > 0 {
		header += " before |"
	}
	fmt.Fprintf(b, "%s what moves it |\n%s\n", header, strings.Repeat("|---", strings.Count(header, "|"))+"|")
	for _, l := range loads {
		limit, used := "", ""
		if l.Limit > 0 {
			limit, used = amount(l.Limit, l.Unit), percent(l.Share())
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |", l.Resource, amount(l.Amount, l.Unit), limit, used)
		if len(old) > 0 {
			o := old[l.Resource]
			text := amount(o.Amount, o.Unit)
			if o.Limit > 0 {
				text += ", " + percent(o.Share())
			}
			fmt.Fprintf(b, " %s |", text)
		}
		fmt.Fprintf(b, " %s |\n", l.Moves)
	}
	return nil
}

func percent(share float64) string {
	switch {
	case share >= 0.1:
		return fmt.Sprintf("%.0f%%", 100*share)
	case share >= 0.001:
		return fmt.Sprintf("%.1f%%", 100*share)
	}
	return "under 0.1%"
}

// amount formats a load with its unit.
func amount(v float64, unit string) string {
	switch {
	case unit == "cores" && v < 0.1:
		return fmt.Sprintf("%.3f cores", v)
	case unit == "cores" && v < 10:
		return fmt.Sprintf("%.2f cores", v)
	case unit == "cores":
		return thousands(v) + " cores"
	case unit == "B/s" && v >= 1e9:
		return fmt.Sprintf("%.3g GB/s", v/1e9)
	case unit == "B/s" && v >= 1e6:
		return fmt.Sprintf("%.3g MB/s", v/1e6)
	case unit == "B/s":
		return fmt.Sprintf("%.3g kB/s", v/1e3)
	}
	return thousands(v) + unit
}

// thousands formats a number of at least 100 with separators, and a smaller one by two digits.
func thousands(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.2g", v)
	}
	digits := fmt.Sprintf("%.0f", v)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
