//go:build unix

package local

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// postgresSettings are those of a test bench: one server carries the tests of many packages at once, and what is
// acknowledged survives a kill of the server, though not a crash of the machine. (With synchronous_commit off it
// would survive neither, and gain nothing beside fsync off.) There is no Unix socket: its path is limited to some 100
// bytes, and clients use TCP.
var postgresSettings = []string{
	"listen_addresses=127.0.0.1",
	"unix_socket_directories=",
	"fsync=off",
	"full_page_writes=off",
	"max_connections=300",
	"wal_level=logical",
	"shared_buffers=64MB",
	"dynamic_shared_memory_type=mmap", // no POSIX segments to leak when killed
	"autovacuum_naptime=10min",
	"log_min_messages=warning",
}

// StartPostgres makes a database cluster under dir, which must exist, and starts PostgreSQL on it with extra settings
// ("name=value") over those of a test bench. Its user is postgres, without a password. PostgreSQL refuses to run as
// root, so for root it runs as the account postgres (or nobody), and its data is in the system's directory for
// temporary files where that account cannot reach dir; Server.Dir says where. The error wraps ErrMissing if
// PostgreSQL is not installed.
func StartPostgres(ctx context.Context, dir string, l Launch, settings ...string) (*Server, error) {
	bin, err := findPostgres()
	if err != nil {
		return nil, err
	}
	cred, err := unprivileged()
	if err != nil {
		return nil, err
	}
	if cred != nil {
		if !reachable(dir) {
			if dir, err = os.MkdirTemp("", "nearcache-postgres-"); err != nil {
				return nil, fmt.Errorf("local: start postgres: %w", err)
			}
		}
		if err := os.Chown(dir, int(cred.Uid), int(cred.Gid)); err != nil {
			return nil, fmt.Errorf("local: start postgres: %w", err)
		}
	}
	data := filepath.Join(dir, "data")
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); err != nil {
		init := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "--pgdata", data, "--username=postgres",
			"--auth=trust",
			"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
		init.Dir = dir
		init.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
		if out, err := init.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("local: initdb: %w: %s", err, strings.TrimSpace(string(out)))
		}
	}
	return start(ctx, spec{
		name: "postgres",
		path: filepath.Join(bin, "postgres"),
		args: func(port int) []string {
			args := []string{"-D", data, "-p", strconv.Itoa(port)}
			for _, s := range append(append([]string{}, postgresSettings...), settings...) {
				args = append(args, "-c", s)
			}
			return args
		},
		check:  checkPostgres,
		cred:   cred,
		stop:   syscall.SIGINT,  // "fast": ends the sessions; SIGTERM waits for the clients to leave
		death:  syscall.SIGQUIT, // "immediate"
		linger: "pre-existing shared memory block",
		// A locale that the machine lacks must not keep it from starting.
		env: []string{"LC_ALL=C"},
	}, dir, l)
}

// StartStandby copies a running server that StartPostgres started and starts PostgreSQL on the copy, as a standby that
// streams from it. Its data is in the system's directory for temporary files; Server.Dir says where.
func StartStandby(ctx context.Context, primary *Server, l Launch, settings ...string) (*Server, error) {
	bin, err := findPostgres()
	if err != nil {
		return nil, err
	}
	cred, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "nearcache-postgres-")
	if err != nil {
		return nil, fmt.Errorf("local: start a standby: %w", err)
	}
	host, port, err := net.SplitHostPort(primary.Addr)
	if err == nil && cred != nil {
		err = os.Chown(dir, int(cred.Uid), int(cred.Gid))
	}
	if err != nil {
		return nil, fmt.Errorf("local: start a standby: %w", err)
	}
	backup := exec.CommandContext(ctx, filepath.Join(bin, "pg_basebackup"), "--pgdata", filepath.Join(dir, "data"),
		"--host", host, "--port", port, "--username=postgres", "--checkpoint=fast", "--write-recovery-conf", "--no-sync")
	backup.Dir = dir
	backup.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	if out, err := backup.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("local: pg_basebackup: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return StartPostgres(ctx, dir, l, settings...)
}

// PostgresURL is the address of a database of a server that StartPostgres started.
func PostgresURL(addr, database string) string {
	return "postgres://postgres@" + addr + "/" + database + "?sslmode=disable"
}

// checkPostgres reads the status line that PostgreSQL keeps in its data directory. Unlike a connection to the port
// it cannot be another server's.
func checkPostgres(_ context.Context, s *Server) error {
	b, err := os.ReadFile(filepath.Join(s.Dir, "data", "postmaster.pid"))
	if err != nil {
		return err
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) < 8 || strings.TrimSpace(lines[0]) != strconv.Itoa(s.Pid()) || strings.TrimSpace(lines[7]) != "ready" {
		return fmt.Errorf("local: postgres is not ready")
	}
	return nil
}

// unprivileged is the account that PostgreSQL runs as; nil: this process's, which is not root's.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("local: PostgreSQL does not run as root, and there is neither an account postgres nor nobody")
}

// reachable reports whether every account may pass through dir's parents.
func reachable(dir string) bool {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	for at := filepath.Dir(dir); ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if at == filepath.Dir(at) {
			return true
		}
	}
}
