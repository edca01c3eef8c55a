package servicestest

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// PgBouncer is a pgbouncer of the test's own.
type PgBouncer struct {
	Addr string // host:port
}

// StartPgBouncer starts a pgbouncer before the server of a Postgres URL, in a pool mode ("session", "transaction",
// "statement") and with settings ("name = value"), and ends it with the test. It lets everybody in, to all databases of
// the server. The test skips where pgbouncer is not installed.
func StartPgBouncer(t testing.TB, server, mode string, settings ...string) *PgBouncer {
	t.Helper()
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		path = "/usr/sbin/pgbouncer"
		if _, err := os.Stat(path); err != nil {
			t.Skip("needs pgbouncer: install it, or run make test")
		}
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	// Not t.TempDir: pgbouncer does not run as root, and its account must reach the file.
	dir, err := os.MkdirTemp("", "pgbouncer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ini := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
* = host=%s port=%s user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
auth_type = any
pool_mode = %s
unix_socket_dir =
max_client_conn = 500
ignore_startup_parameters = extra_float_digits
%s
`, u.Hostname(), u.Port(), u.User.Username(), port, mode, strings.Join(settings, "\n"))
	if err := os.WriteFile(ini, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{ini}
	if os.Getuid() == 0 {
		args = []string{"-u", "nobody", ini}
	}
	cmd := exec.Command(path, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	b := &PgBouncer{Addr: fmt.Sprintf("127.0.0.1:%d", port)}
	for end := time.Now().Add(30 * time.Second); ; <-time.After(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", b.Addr)
		if err == nil {
			_ = conn.Close()
			return b
		}
		if time.Now().After(end) {
			t.Fatalf("servicestest: pgbouncer does not answer: %v", err)
		}
	}
}

// Through is the URL of a database by way of the pgbouncer, with parameters ("name=value").
func (b *PgBouncer) Through(t testing.TB, database string, parameters ...string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = b.Addr
	q := u.Query()
	for _, p := range parameters {
		name, value, _ := strings.Cut(p, "=")
		q.Set(name, value)
	}
	u.RawQuery = q.Encode()
	return u.String()
}
