//go:build unix

package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// oldestJava is the oldest Java that runs a Kafka 4 broker.
const oldestJava = 17

// ErrMissing is wrapped by every error that says that a program which a server needs is not installed.
var ErrMissing = errors.New("local: not installed")

// missing says what is not there and which Debian package has it.
func missing(what, debian string) error {
	return fmt.Errorf("%w: %s (Debian package %s)", ErrMissing, what, debian)
}

// RedisServer is the environment variable that names the program to start as Redis in place of the redis-server on the
// PATH: Valkey's, for one, or another version. It must have the command line of redis-server.
const RedisServer = "NEARCACHE_REDIS_SERVER"

func findRedis() (string, error) {
	if path := os.Getenv(RedisServer); path != "" {
		if !executable(path) {
			return "", fmt.Errorf("local: %s is %s, which is no program", RedisServer, path)
		}
		return path, nil
	}
	if path, err := exec.LookPath("redis-server"); err == nil {
		return path, nil
	}
	return "", missing("redis-server", "redis-server")
}

// findPostgres is the directory with initdb and postgres, which Debian keeps off the PATH; of several versions the
// newest.
func findPostgres() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			path = target
		}
		if dir := filepath.Dir(path); executable(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	version := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		return n
	}
	sort.Slice(dirs, func(i, j int) bool { return version(dirs[i]) > version(dirs[j]) })
	for _, dir := range dirs {
		if executable(filepath.Join(dir, "initdb")) && executable(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", missing("PostgreSQL's initdb and postgres", "postgresql")
}

// findMariaDB are the paths of the server, which Debian keeps off the PATH of other users, and of what makes its data.
func findMariaDB() (server, install string, err error) {
	for _, path := range []string{"mariadbd", "/usr/sbin/mariadbd"} {
		if server, err = exec.LookPath(path); err == nil {
			break
		}
	}
	if err == nil {
		install, err = exec.LookPath("mariadb-install-db")
	}
	if err != nil {
		return "", "", missing("mariadbd and mariadb-install-db", "mariadb-server-core")
	}
	return server, install, nil
}

var javaVersion = regexp.MustCompile(`version "(\d+)`)

func findJava() (string, error) {
	path, err := exec.LookPath("java")
	if err != nil {
		return "", missing("java, at least "+strconv.Itoa(oldestJava), "default-jre-headless")
	}
	out, err := exec.Command(path, "-version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("local: ask java for its version: %w: %s", err, strings.TrimSpace(string(out)))
	}
	if m := javaVersion.FindSubmatch(out); m != nil {
		if n, err := strconv.Atoi(string(m[1])); err == nil && n < oldestJava {
			return "", missing(fmt.Sprintf("java, at least %d (%s is %d)", oldestJava, path, n), "default-jre-headless")
		}
	}
	return path, nil
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}

// Root is the directory of the checkout that dir is in: the nearest one upwards with a go.mod.
func Root(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("local: no go.mod at or above %s", dir)
		}
	}
}
