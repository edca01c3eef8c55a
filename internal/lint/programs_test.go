package lint_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRepo_HoldsNoPrograms: a compiled program of 7 MB was once added beside the sources.
func TestRepo_HoldsNoPrograms(t *testing.T) {
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil { // no checkout of git: nothing is tracked
		t.Logf("git ls-files: %v", err)
		return
	}
	for file := range strings.SplitSeq(strings.Trim(string(out), "\x00"), "\x00") {
		if isProgram(filepath.Join(root(t), file)) {
			t.Errorf("%s is a compiled program", file)
		}
	}
}

// isProgram reports whether a file begins as the programs of Linux, macOS and Windows do. A file that is not there was
// removed and is no program.
func isProgram(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 4)
	n, _ := io.ReadFull(f, head)
	for _, magic := range []string{"\x7fELF", "\xcf\xfa\xed\xfe", "\xca\xfe\xba\xbe", "MZ\x90\x00"} {
		if bytes.Equal(head[:n], []byte(magic)) {
			return true
		}
	}
	return false
}

func TestIsProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if !isProgram(self) {
		t.Error("the running test is not found to be a program")
	}
	if isProgram(filepath.Join(root(t), "go.mod")) {
		t.Error("go.mod is found to be a program")
	}
}
