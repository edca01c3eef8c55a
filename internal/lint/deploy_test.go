package lint_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The manifests set variables that the programs read, and probe paths that they serve. `make lint-deploy` checks the
// manifests' own schema.
func TestDeploy_ManifestsFitThePrograms(t *testing.T) {
	reference := string(read(t, "docs/reference/cli.md"))
	variable := regexp.MustCompile(`(?m)^\s+(?:- name: )?([A-Z][A-Z_]+[A-Z])(?::.*)?$`)
	path := regexp.MustCompile(`httpGet: \{path: (/\w+)`)
	others := []string{"GOMEMLIMIT"}
	variables, paths := 0, 0
	walk(t, func(rel string) {
		if !strings.HasPrefix(rel, "deploy/kubernetes/") {
			return
		}
		for _, m := range variable.FindAllStringSubmatch(string(read(t, rel)), -1) {
			variables++
			if !strings.Contains(reference, "| `"+m[1]+"` |") && !slices.Contains(others, m[1]) {
				t.Errorf("%s sets %s, which no program reads", rel, m[1])
			}
		}
		for _, m := range path.FindAllStringSubmatch(string(read(t, rel)), -1) {
			paths++
			if !strings.Contains(reference, "\n| `"+m[1]+"` |") {
				t.Errorf("%s probes %s, which no program serves", rel, m[1])
			}
		}
	})
	if variables < 15 || paths < 7 {
		t.Errorf("only %d variables and %d paths found: this shows nothing", variables, paths)
	}
}

// Alerts are about metrics that exist. `promtool test rules` beside them shows when they fire.
func TestDeploy_AlertsNameMetrics(t *testing.T) {
	reference := string(read(t, "docs/reference/metrics.md"))
	metric := regexp.MustCompile(`\bnearcache_[a-z0-9_]+`)
	found := 0
	for _, line := range strings.Split(string(read(t, "docs/operations/alerts/audit.yml")), "\n") {
		if strings.Contains(line, "record:") || strings.Contains(line, "description:") {
			continue
		}
		for _, name := range metric.FindAllString(line, -1) {
			found++
			if !strings.Contains(reference, "| `"+name+"` |") {
				t.Errorf("%s is not in docs/reference/metrics.md", name)
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d metrics found: this shows nothing", found)
	}
}
