// Command release makes a release of this repository, or tries it in a copy.
//
//	release VERSION            change log, API baseline, checks, commit, tag; prints what to push
//	release -dry-run VERSION   the same in a temporary clone, of which nothing remains
//
// A check that fails leaves the repository as it was.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	dryRun := flag.Bool("dry-run", false, "release a temporary clone of the repository")
	flag.Parse()
	do := releaseHere
	if *dryRun {
		do = releaseClone
	}
	if err := run(".", flag.Arg(0), do); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(dir, version string, do func(dir, version string) error) error {
	if err := checkVersion(version); err != nil {
		return err
	}
	if err := checkRepository(dir, version); err != nil {
		return err
	}
	return do(dir, version)
}

// releaseHere releases the repository itself.
func releaseHere(dir, version string) error {
	if err := release(dir, version); err != nil {
		// The repository was clean before.
		return errors.Join(err, git(dir, "reset", "--hard", "--quiet"), git(dir, "clean", "-fdq", "docs/api"))
	}
	fmt.Printf("released %s; now: git push origin %s %s\n", version, branch(dir), version)
	return nil
}

// releaseClone releases a clone, which has everything that is committed and nothing else.
func releaseClone(dir, version string) error {
	tmp, err := os.MkdirTemp("", "release")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	clone := filepath.Join(tmp, "clone")
	if err := git(dir, "clone", "--quiet", ".", clone); err != nil {
		return err
	}
	if err := release(clone, version); err != nil {
		return err
	}
	if err := command(clone, "git", "show", "--stat", "--format=%h %s", version); err != nil {
		return err
	}
	fmt.Printf("dry run: %s would be released; nothing was changed\n", version)
	return nil
}

// release does all of it in dir, whose work tree is clean.
func release(dir, version string) error {
	changelog := filepath.Join(dir, "CHANGELOG.md")
	text, err := os.ReadFile(changelog)
	if err != nil {
		return err
	}
	dated, err := closeUnreleased(string(text), version, time.Now())
	if err != nil {
		return err
	}
	for _, step := range [][]string{
		{"go", "run", "./internal/tools/api"}, // before the change log loses its announcements
		{"go", "run", "./internal/tools/api", "-release"},
	} {
		if err := command(dir, step...); err != nil {
			return err
		}
	}
	if err := os.WriteFile(changelog, []byte(dated), 0o644); err != nil {
		return err
	}
	for _, step := range [][]string{
		{"make", "lint"}, // builds a scratch program against the packed module, among other things
		{"git", "add", "CHANGELOG.md", "docs/api"},
		{"git", "commit", "--quiet", "-m", "release: " + version},
		{"git", "tag", "-a", version, "-m", version},
	} {
		if err := command(dir, step...); err != nil {
			return err
		}
	}
	return nil
}

// checkRepository refuses a tag that exists and changes that are not committed.
func checkRepository(dir, version string) error {
	out, err := exec.Command("git", "-C", dir, "status", "--porcelain").Output()
	if err != nil {
		return fmt.Errorf("git status: %w", err)
	}
	if len(out) > 0 {
		return fmt.Errorf("there are changes that are not committed:\n%s", out)
	}
	if exec.Command("git", "-C", dir, "rev-parse", "--quiet", "--verify", "refs/tags/"+version).Run() == nil {
		return fmt.Errorf("the tag %s exists", version)
	}
	return nil
}

func branch(dir string) string {
	out, err := exec.Command("git", "-C", dir, "branch", "--show-current").Output()
	if err != nil {
		return "main"
	}
	return strings.TrimSpace(string(out))
}

func git(dir string, args ...string) error { return command(dir, append([]string{"git"}, args...)...) }

// command runs a program in dir and shows its output.
func command(dir string, args ...string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return nil
}
