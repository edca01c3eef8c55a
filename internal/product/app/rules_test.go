package app_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const operations = "../../../docs/operations/"

// ruleFile is a file of rules for Prometheus.
type ruleFile struct {
	Groups []struct {
		Rules []struct {
			Record, Alert, Expr string
			Annotations         map[string]string
		}
	}
}

func readRules(t *testing.T) (f ruleFile) {
	t.Helper()
	b, err := os.ReadFile(operations + "rules.yml")
	if err == nil {
		err = yaml.Unmarshal(b, &f)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// metricName finds names of metrics and of recording rules, with their selector if they have one.
var (
	metricName = regexp.MustCompile(`\b(nearcache[_:][a-z0-9_:]+)(?:\{([^}]*)\})?`)
	selected   = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	grouped    = regexp.MustCompile(`\b(?:by|without)\s*\(([^)]*)\)`)
)

// known is what expressions may use: labels by the name of a metric or a recording rule.
type known map[string][]string

// knownTo are the registered metrics, and the recording rules with the labels that they are grouped by.
func knownTo(t *testing.T, rules ruleFile) known {
	k := known{}
	for name, labels := range registered(t) {
		k[name] = strings.Split(labels, ", ")
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Record != "" {
				k[r.Record] = strings.Split(grouped.FindStringSubmatch(r.Expr)[1], ", ")
			}
		}
	}
	return k
}

// check fails for a metric or a label that does not exist.
func (k known) check(t *testing.T, where, expr string) {
	t.Helper()
	of := []string{"job", "instance", "le"}
	for _, m := range metricName.FindAllStringSubmatch(expr, -1) {
		name := m[1]
		labels, ok := k[name]
		if !ok {
			labels, ok = k[strings.TrimSuffix(name, "_bucket")]
		}
		if !ok {
			t.Errorf("%s: there is no metric %s", where, name)
		}
		of = append(of, labels...)
		for _, l := range selected.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(labels, l[1]) && l[1] != "job" && l[1] != "instance" {
				t.Errorf("%s: %s has no label %s", where, name, l[1])
			}
		}
	}
	for _, g := range grouped.FindAllStringSubmatch(expr, -1) {
		for _, l := range strings.Split(g[1], ",") {
			if !slices.Contains(of, strings.TrimSpace(l)) {
				t.Errorf("%s: no metric of it has the label %s", where, strings.TrimSpace(l))
			}
		}
	}
}

func TestRules_UseWhatIsRegistered(t *testing.T) {
	rules := readRules(t)
	k := knownTo(t, rules)
	runbooks, err := os.ReadFile(operations + "alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(operations + "rules_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	alerts := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			k.check(t, r.Record+r.Alert, r.Expr)
			if r.Alert == "" {
				continue
			}
			alerts++
			if !strings.Contains(string(runbooks), "\n## "+r.Alert+"\n") ||
				!strings.HasSuffix(r.Annotations["runbook_url"], "docs/operations/alerts.md#"+strings.ToLower(r.Alert)) {
				t.Errorf("%s has no runbook in alerts.md, or does not lead to it", r.Alert)
			}
			for _, way := range []string{" fires", " does not fire"} {
				if !strings.Contains(string(tests), "name: "+r.Alert+way+"\n") {
					t.Errorf("rules_test.yml has no test that %s%s", r.Alert, way)
				}
			}
		}
	}
	if alerts < 15 || strings.Count(string(runbooks), "\n## ") != alerts {
		t.Errorf("%d alerts and %d runbooks", alerts, strings.Count(string(runbooks), "\n## "))
	}
}

func TestRules_FireAndDoNotFire(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	for _, args := range [][]string{{"check", "rules", "rules.yml"}, {"test", "rules", "rules_test.yml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = operations
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// dashboard is what of Grafana's schema the tests look at.
type dashboard struct {
	UID           string `json:"uid"`
	SchemaVersion int    `json:"schemaVersion"`
	Panels        []struct {
		ID                       int
		Type, Title, Description string
		GridPos                  struct{ X, Y, W, H int }
		Targets                  []struct{ Expr, RefID string }
	}
	Templating struct {
		List []struct{ Name, Type string }
	}
}

func TestDashboard_UsesWhatIsRegistered(t *testing.T) {
	b, err := os.ReadFile(operations + "dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	k := knownTo(t, readRules(t))
	variables := map[string]bool{"__rate_interval": true}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
	}
	used := regexp.MustCompile(`\$\{?([a-z_]+)`)
	for _, m := range used.FindAllStringSubmatch(string(b), -1) {
		if m[1] != "__all" && !variables[m[1]] {
			t.Errorf("the variable $%s is not defined", m[1])
		}
	}
	ids, cells := map[int]bool{}, map[[2]int]string{}
	shown := map[string]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 {
			t.Errorf("the panel %q has no id of its own", p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, taken := cells[[2]int{x, y}]; taken || x >= 24 {
					t.Errorf("the panel %q is outside, or covers %q", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if !slices.Contains([]string{"timeseries", "stat"}, p.Type) || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("the panel %q has the type %q, the description %q and %d targets", p.Title, p.Type, p.Description,
				len(p.Targets))
		}
		for _, target := range p.Targets {
			k.check(t, "panel "+p.Title, target.Expr)
			for _, m := range metricName.FindAllStringSubmatch(target.Expr, -1) {
				shown[m[1]] = true
			}
		}
	}
	if len(shown) < 20 || d.UID == "" || d.SchemaVersion < 36 {
		t.Errorf("%d metrics are shown: %v; uid %q, schema %d", len(shown), slices.Sorted(maps.Keys(shown)), d.UID,
			d.SchemaVersion)
	}
}

// The check itself finds what does not exist.
func TestRules_CheckFindsWhatIsNotThere(t *testing.T) {
	k := known{"nearcache_hits_total": {"cache", "tier"}}
	for expr, bad := range map[string]bool{
		`rate(nearcache_hits_total{tier="l1"}[5m])`:                        false,
		`sum by (cache, instance) (rate(nearcache_hits_total[5m]))`:        false,
		`rate(nearcache_l1_hits_total[5m])`:                                true,
		`rate(nearcache_hits_total{reason="x"}[5m])`:                       true,
		`sum by (channel) (rate(nearcache_hits_total{tier="l1"}[5m]))`:     true,
		`histogram_quantile(0.9, rate(nearcache_hits_seconds_bucket[5m]))`: true,
	} {
		fake := &testing.T{}
		k.check(fake, "it", expr)
		if fake.Failed() != bad {
			t.Errorf("%s: found at fault: %v, want %v", expr, fake.Failed(), bad)
		}
	}
}
