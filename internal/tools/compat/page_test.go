package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The page's table is one that make compat wrote, it has every mode, and the page names the command.
func TestPage_HasAGeneratedTable(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	before, inside, after, err := split(page)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := parse(inside)
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, r := range rows {
		for _, c := range r.Cells {
			if c.State == works {
				tried++
			}
		}
	}
	if len(rows) < 5 || tried < 20 {
		t.Errorf("got %d servers and %d cells that say yes: make compat has not filled the table", len(rows), tried)
	}
	if !strings.Contains(before+after, "make compat") {
		t.Error("the page does not name make compat")
	}
	for _, m := range modes {
		if !strings.Contains(after, "\n| "+m.name+" |") {
			t.Errorf("the page does not say what the mode %s is", m.name)
		}
	}
}

func TestTable_IsReadBackAsWritten(t *testing.T) {
	var full table
	for _, name := range []string{"Redis 7.0.15", "Valkey 9.1.2"} {
		r := row{Server: name}
		for i, m := range modes {
			state := []string{works, refused, fails, untried}[i%4]
			r.Cells = append(r.Cells, cell{m.name, state, "because of " + m.name})
		}
		full = append(full, r)
	}
	text := strings.TrimSpace(full.markdown())
	got, err := parse(text)
	if err != nil || len(got) != len(full)+len(others) {
		t.Fatalf("got %d rows and error %v", len(got), err)
	}
	for i, r := range full {
		if got[i].line() != r.line() {
			t.Errorf("got %s, want %s", got[i].line(), r.line())
		}
	}
	for name, edited := range map[string]string{
		"another word":   strings.Replace(text, "| yes |", "| surely |", 1),
		"a cell less":    strings.Replace(text, "| Redis 7.0.15 | yes |", "| Redis 7.0.15 |", 1),
		"another mode":   strings.Replace(text, "| single |", "| alone |", 1),
		"nothing at all": "",
	} {
		if _, err := parse(edited); err == nil {
			t.Errorf("%s: it is taken for a generated table", name)
		}
	}
	again := full.with(row{"Valkey 9.1.2", []cell{{modes[0].name, fails, "now"}}}).with(row{"Redict 7.3.6", nil})
	if len(again) != 3 || again[0].Server != "Redict 7.3.6" || again[2].Cells[0].State != fails ||
		again[2].Cells[1] != full[1].Cells[1] {
		t.Errorf("got %+v, want one cell changed and one row more", again)
	}
	file := filepath.Join(t.TempDir(), "results.json")
	if err := again.save(file); err != nil {
		t.Fatal(err)
	}
	if got := load(file); got.markdown() != again.markdown() {
		t.Errorf("got %s, want what was saved", got.markdown())
	}
	if err := full.failed(); err == nil || !strings.Contains(err.Error(), "Valkey 9.1.2") {
		t.Errorf("got error %v, want the cells that say no", err)
	}
}

// A cell says yes only if tests ran, none failed, and the program ended well.
func TestOutcome(t *testing.T) {
	const passed = "=== RUN   TestA\n--- PASS: TestA (0.01s)\nPASS\n"
	for name, c := range map[string]struct {
		out       string
		ok        bool
		state     string
		whyBegins string
	}{
		"passed": {passed, true, works, ""},
		"failed": {"--- FAIL: TestA (0.1s)\n    --- FAIL: TestA/real (0.1s)\nFAIL\n", false, fails,
			"1 failed: TestA/real"},
		"skipped": {"    a_test.go:7: there is no such server\n--- SKIP: TestA (0.00s)\nPASS\n", true, untried,
			"there is no such"},
		"a part skipped": {"--- PASS: TestA (0.01s)\n    a_test.go:7: there is none\n    --- SKIP: TestA/real (0.0s)\n",
			true, untried, "there is none"},
		"no tests":           {"testing: warning: no tests to run\nPASS\n", true, fails, "1 failed: no test fits"},
		"died":               {"panic: test timed out after 5m0s\n", false, fails, "the tests ended"},
		"one of two skipped": {passed + passed + "    a_test.go:7: why\n--- SKIP: TestB (0.00s)\n", true, works, ""},
	} {
		var o outcome
		o.read(c.out, c.ok)
		if state, why := o.state(); state != c.state || !strings.HasPrefix(why, c.whyBegins) {
			t.Errorf("%s: got %q because %q, want %q because %q", name, state, why, c.state, c.whyBegins)
		}
	}
}

func TestVersions_AreSortedByNumber(t *testing.T) {
	for _, c := range [][2]string{{"Redis 6.2.5", "Redis 6.2.14"}, {"Redis 8.2.3", "Valkey 8.1.1"},
		{"Redict 7.3.6", "Redis 6.0.16"}} {
		if compareNames(c[0], c[1]) >= 0 {
			t.Errorf("%s does not come before %s", c[0], c[1])
		}
	}
}
