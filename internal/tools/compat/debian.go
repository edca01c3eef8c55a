package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// suites are the releases of Debian whose servers are tried, and wanted the packages that have one.
var (
	suites = []string{"bullseye", "bookworm", "trixie", "sid"}
	wanted = []string{"redis-server", "valkey-server", "redict-server"}
)

// keyring is where Debian keeps the keys of its archive. Where it is missing, apt goes by the keys that it trusts.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// fromDebian unpacks every version of the wanted packages that the mirror of the machine's own apt has, with the
// libraries that each needs: a program of a newer release does not run on an older C library. It returns the paths of
// scripts that start them. apt's state for that is below dir; the machine's is not touched.
func fromDebian(ctx context.Context, dir string) (paths []string) {
	apt, err := newApt(ctx, dir)
	if err != nil {
		warn("Debian's servers are not tried: %v", err)
		return nil
	}
	if err := apt.proxy(ctx); err != nil {
		warn("twemproxy is not tried: %v", err)
	}
	for _, name := range wanted {
		for _, version := range apt.versions(ctx, name) {
			// The server depends on the tools of its own version, and the libraries may be of any later release.
			tools := strings.TrimSuffix(name, "-server") + "-tools"
			path, err := apt.unpack(ctx, name, version, tools+"="+version)
			if err != nil {
				warn("%s %s is not tried: %v", name, version, err)
				continue
			}
			paths = append(paths, path)
		}
	}
	return paths
}

// apt is an apt with a state of its own, in which nothing is installed.
type apt struct {
	dir string
	env []string
}

func newApt(ctx context.Context, dir string) (*apt, error) {
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	mirror, err := mirrorOf(ctx)
	if err != nil {
		return nil, err
	}
	signed := ""
	if _, err := os.Stat(keyring); err == nil {
		signed = "[signed-by=" + keyring + "] "
	}
	var sources strings.Builder
	for _, suite := range suites {
		fmt.Fprintf(&sources, "deb %s%s %s main\n", signed, mirror, suite)
	}
	conf := fmt.Sprintf(`Dir::Etc::sourcelist "%[1]s/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "%[1]s/state";
Dir::State::status "%[1]s/status";
Dir::Cache "%[1]s/cache";
Acquire::Languages "none";
APT::Sandbox::User "root";
`, dir)
	for file, text := range map[string]string{"sources.list": sources.String(), "apt.conf": conf, "status": ""} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	a := &apt{dir, []string{"APT_CONFIG=" + filepath.Join(dir, "apt.conf"), "DEBIAN_FRONTEND=noninteractive"}}
	_, err = runQuietly(ctx, dir, a.env, "apt-get", "-q", "update")
	return a, err
}

// mirrorOf is where the machine's own apt finds Debian.
func mirrorOf(ctx context.Context) (uri string, err error) {
	out, err := runQuietly(ctx, "", nil, "apt-get", "indextargets", "--format",
		"$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)", "Created-By: Packages")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != 3 || f[2] != "main" {
			continue
		}
		for _, suite := range append(suites, "stable", "testing", "unstable") {
			if f[1] == suite {
				return strings.TrimSuffix(f[0], "/"), nil
			}
		}
	}
	return "", errors.New("apt knows no mirror of Debian")
}

// versions are those that the mirror has of a package.
func (a *apt) versions(ctx context.Context, name string) (out []string) {
	text, err := runQuietly(ctx, a.dir, a.env, "apt-cache", "madison", name)
	if err != nil {
		warn("%v", err)
	}
	for line := range strings.Lines(text) {
		if f := strings.Split(line, "|"); len(f) == 3 {
			out = append(out, strings.TrimSpace(f[1]))
		}
	}
	return out
}

// proxy has the newest twemproxy found on the PATH, if the machine has none.
func (a *apt) proxy(ctx context.Context) error {
	const name = "nutcracker"
	if _, err := exec.LookPath(name); err == nil {
		return nil
	}
	versions := a.versions(ctx, name)
	if len(versions) == 0 {
		return errors.New("the mirror has none")
	}
	script, err := a.unpack(ctx, name, versions[0])
	if err != nil {
		return err
	}
	bin := filepath.Join(a.dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(script, filepath.Join(bin, name)); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// unpack returns a script that starts the program of a package with its own libraries. With are packages of a version,
// "name=version", to take beside it.
func (a *apt) unpack(ctx context.Context, name, version string, with ...string) (script string, err error) {
	root := filepath.Join(a.dir, name+"-"+strings.NewReplacer(":", "_", "/", "_").Replace(version))
	script = filepath.Join(root, "start")
	if _, err := os.Stat(script); err == nil {
		return script, nil
	}
	archives := filepath.Join(root, "archives")
	if err := os.MkdirAll(filepath.Join(archives, "partial"), 0o755); err != nil {
		return "", err
	}
	args := append([]string{"-q", "-y", "-o", "Dir::Cache::archives=" + archives, "--no-install-recommends",
		"--download-only", "install", name + "=" + version}, with...)
	if _, err := runQuietly(ctx, a.dir, a.env, "apt-get", args...); err != nil {
		return "", err
	}
	debs, _ := filepath.Glob(filepath.Join(archives, "*.deb"))
	for _, deb := range debs {
		if _, err := runQuietly(ctx, root, nil, "dpkg", "-x", deb, "."); err != nil {
			return "", err
		}
	}
	for _, needless := range []string{archives, filepath.Join(root, "usr", "share")} {
		_ = os.RemoveAll(needless)
	}
	loader, err := firstOf(root, "lib*/ld-linux*.so.*", "usr/lib*/ld-linux*.so.*", "lib/*/ld-linux*.so.*",
		"usr/lib/*/ld-linux*.so.*")
	if err != nil {
		return "", err
	}
	program, err := firstOf(root, "usr/bin/"+name, "usr/sbin/"+name)
	if err != nil {
		return "", err
	}
	var libraries []string
	for _, pattern := range []string{"usr/lib/*-linux-gnu*", "lib/*-linux-gnu*"} {
		found, _ := filepath.Glob(filepath.Join(root, pattern))
		libraries = append(libraries, found...)
	}
	text := fmt.Sprintf("#!/bin/sh\nexec '%s' --library-path '%s' '%s' \"$@\"\n", loader, strings.Join(libraries, ":"),
		program)
	return script, os.WriteFile(script, []byte(text), 0o755)
}

// firstOf is the first file that one of the patterns fits.
func firstOf(root string, patterns ...string) (string, error) {
	for _, p := range patterns {
		if found, _ := filepath.Glob(filepath.Join(root, p)); len(found) > 0 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("there is no %s in it", patterns[0])
}
