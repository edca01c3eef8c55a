package suite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// scaleVersion is a version of the library, and the program of the fleet that was built from it.
type scaleVersion struct{ label, program string }

// fleetDirs are the directories of the program of the fleet. An old version is measured by the present tool, so they
// are copied into its tree.
var fleetDirs = []string{"fleet", "cmd/fleetnode"}

// buildVersions builds the fleet from the working tree and, if old is a git reference, from that as well, which then
// comes first. repo is the root of the repository.
func buildVersions(ctx context.Context, repo, old, into string) (all []scaleVersion, err error) {
	if old != "" {
		v, err := buildOld(ctx, repo, old, into)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	v := scaleVersion{program: filepath.Join(into, "fleet-new")}
	if _, err := output(ctx, filepath.Join(repo, "benchmarks"), "go", "build", "-o", v.program,
		"./cmd/fleetnode"); err != nil {
		return nil, err
	}
	commit, err := output(ctx, repo, "git", "rev-parse", "--short", "HEAD")
	if err != nil {
		return nil, err
	}
	v.label = "after (" + commit + ")"
	if old == "" {
		v.label = commit
	}
	return append(all, v), nil
}

func buildOld(ctx context.Context, repo, ref, into string) (v scaleVersion, err error) {
	v.program = filepath.Join(into, "fleet-old")
	tree := filepath.Join(into, "old")
	if _, err := output(ctx, repo, "git", "worktree", "add", "--quiet", "--detach", tree, ref); err != nil {
		return v, err
	}
	defer func() {
		_, removeErr := output(context.WithoutCancel(ctx), repo, "git", "worktree", "remove", "--force", tree)
		err = errors.Join(err, removeErr)
	}()
	commit, err := output(ctx, tree, "git", "rev-parse", "--short", "HEAD")
	if err != nil {
		return v, err
	}
	v.label = "before (" + commit + ")"
	for _, dir := range fleetDirs {
		to := filepath.Join(tree, "benchmarks", filepath.FromSlash(dir))
		if err := os.RemoveAll(to); err != nil {
			return v, err
		}
		if err := os.CopyFS(to, os.DirFS(filepath.Join(repo, "benchmarks", filepath.FromSlash(dir)))); err != nil {
			return v, err
		}
	}
	_, err = output(ctx, filepath.Join(tree, "benchmarks"), "go", "build", "-o", v.program, "./cmd/fleetnode")
	return v, err
}

// output runs a program and returns its standard output. The error holds everything that it wrote.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	var out, all bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, io.MultiWriter(&out, &all), &all
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("suite: %s %s: %w\n%s", name, args[0], err, all.String())
	}
	return strings.TrimSpace(out.String()), nil
}
