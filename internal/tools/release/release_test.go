package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCheckVersion(t *testing.T) {
	for version, ok := range map[string]bool{
		"v0.1.0": true, "v1.20.3": true,
		"": false, "0.1.0": false, "v0.1": false, "v01.0.0": false, "v1.0.0-rc1": false, "v0.1.0 ": false,
	} {
		if err := checkVersion(version); (err == nil) != ok {
			t.Errorf("%q: got %v, want ok=%v", version, err, ok)
		}
	}
}

func TestCloseUnreleased(t *testing.T) {
	day := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	got, err := closeUnreleased("# Log\n\n## Unreleased\n\n- new\n\n## v0.1.0 - 2026-11-01\n\n- old\n", "v0.2.0", day)
	want := "# Log\n\n## Unreleased\n\n## v0.2.0 - 2026-12-01\n\n- new\n\n## v0.1.0 - 2026-11-01\n\n- old\n"
	if err != nil || got != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, got, want)
	}
}

func TestCloseUnreleased_Refuses(t *testing.T) {
	for name, test := range map[string]struct{ text, version, want string }{
		"no section":         {"# Log\n", "v0.1.0", "no section Unreleased"},
		"nothing to release": {"## Unreleased\n\n## v0.1.0 - 2026-11-01\n\n- old\n", "v0.2.0", "lists nothing"},
		"released already":   {"## Unreleased\n\n- new\n\n## v0.1.0 - 2026-11-01\n", "v0.1.0", "already"},
	} {
		_, err := closeUnreleased(test.text, test.version, time.Now())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.want)
		}
	}
}

func TestRun_RefusesWhatIsNotCommittedAndTagsThatExist(t *testing.T) {
	dir := t.TempDir()
	do := func(args ...string) {
		t.Helper()
		author := []string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}
		cmd := exec.Command("git", append(author, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	do("init", "-q")
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(dir, "v0.1.0", releaseHere); err == nil || !strings.Contains(err.Error(), "not committed") {
		t.Errorf("got %v, want a complaint about what is not committed", err)
	}
	do("add", ".")
	do("commit", "-qm", "file: add")
	do("tag", "-a", "v0.1.0", "-m", "v0.1.0")
	if err := run(dir, "v0.1.0", releaseHere); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("got %v, want a complaint about the tag", err)
	}
	if err := run(dir, "v0.2.0", releaseHere); err == nil || !strings.Contains(err.Error(), "CHANGELOG.md") {
		t.Errorf("got %v, want a complaint about the change log", err)
	}
}
