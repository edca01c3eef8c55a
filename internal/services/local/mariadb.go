//go:build unix

package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// mariadbSettings are those of a test bench. What is acknowledged survives a kill of the server, though not a crash of
// the machine. The socket's path is relative to the data directory, since an absolute one is limited to some 100 bytes.
var mariadbSettings = []string{
	"--bind-address=127.0.0.1",
	"--socket=mariadb.sock",
	"--skip-name-resolve",
	"--innodb-flush-log-at-trx-commit=2",
	"--innodb-flush-method=nosync",
	"--innodb-doublewrite=OFF",
	"--sync-frm=OFF",
	"--innodb-buffer-pool-size=64M",
	"--innodb-log-file-size=32M",
	"--max-connections=400",
	"--performance-schema=OFF",
}

// StartMariaDB makes a data directory under dir, which must exist, and starts MariaDB on it with extra settings
// ("--name=value") over those of a test bench. Its user is root, without a password. The error wraps ErrMissing if
// MariaDB is not installed.
func StartMariaDB(ctx context.Context, dir string, l Launch, settings ...string) (*Server, error) {
	server, install, err := findMariaDB()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	user := []string{}
	if os.Geteuid() == 0 { // it refuses to run as root unless it is told to
		user = append(user, "--user=root")
	}
	if _, err := os.Stat(filepath.Join(data, "mysql")); err != nil {
		args := append([]string{"--no-defaults", "--datadir=" + data, "--auth-root-authentication-method=normal",
			"--skip-test-db", "--skip-name-resolve"}, user...)
		if out, err := exec.CommandContext(ctx, install, args...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("local: %s: %w: %s", filepath.Base(install), err, strings.TrimSpace(string(out)))
		}
	}
	return start(ctx, spec{
		name: "mariadb",
		path: server,
		args: func(port int) []string {
			args := append([]string{"--no-defaults", "--datadir=" + data, "--port=" + strconv.Itoa(port),
				"--pid-file=" + filepath.Join(dir, "mariadb.pid")}, user...)
			return append(append(args, mariadbSettings...), settings...)
		},
		check: checkMariaDB,
		stop:  syscall.SIGTERM,
		death: syscall.SIGKILL,
	}, dir, l)
}

// MariaDBDSN is the address of a database of a server that StartMariaDB started, as github.com/go-sql-driver/mysql
// reads it.
func MariaDBDSN(addr, database string) string { return "root@tcp(" + addr + ")/" + database }

// checkMariaDB reads the process id that the server has written, and then waits for its greeting.
func checkMariaDB(ctx context.Context, s *Server) error {
	b, err := os.ReadFile(filepath.Join(s.Dir, "mariadb.pid"))
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(b)) != strconv.Itoa(s.Pid()) {
		return errors.New("local: mariadb is not ready")
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	// The fifth byte of the greeting is the protocol's version; an error has 255 there.
	var greeting [5]byte
	if _, err := conn.Read(greeting[:]); err != nil || greeting[4] != 10 {
		return fmt.Errorf("local: mariadb does not greet (%w)", errors.Join(err))
	}
	return nil
}
