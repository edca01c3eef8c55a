package servicestest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/nearcache/nearcache-go/internal/services/local"
)

// process is what the private servers have in common. Its methods fail the test instead of returning an error; Kill,
// Stop, Pause and Resume may be called from any goroutine, Restart only from the test's own.
type process struct {
	t testing.TB
	s *local.Server
}

// Pid is the process id, 0 while the server does not run.
func (p *process) Pid() int { return p.s.Pid() }

// Kill ends the server as kill -9 does and returns when it is gone.
func (p *process) Kill() { p.s.Kill() }

// Stop has the server stop in order and returns when it is gone.
func (p *process) Stop() { p.s.Stop() }

// Pause stops the process where it is (SIGSTOP): connections stay open and nothing answers.
func (p *process) Pause() {
	p.t.Helper()
	if err := p.s.Pause(); err != nil {
		p.t.Errorf("servicestest: %v", err)
	}
}

// Resume lets a paused process run on (SIGCONT).
func (p *process) Resume() {
	p.t.Helper()
	if err := p.s.Resume(); err != nil {
		p.t.Errorf("servicestest: %v", err)
	}
}

// Restart starts a killed or stopped server again on the same port and data directory, and returns once it serves.
// One that runs is stopped in order first.
func (p *process) Restart() {
	p.t.Helper()
	if err := p.s.Restart(context.Background()); err != nil {
		p.t.Fatalf("servicestest: %v", err)
	}
}

// adopt ties s to the test, or ends the test: by a skip if the server is not installed.
func adopt(t testing.TB, name, variable string, s *local.Server, err error) process {
	t.Helper()
	if errors.Is(err, local.ErrMissing) {
		t.Skipf("needs a real %s: set %s, or run make test (%v)", name, variable, err)
	}
	if err != nil {
		t.Fatalf("servicestest: %v", err)
	}
	t.Cleanup(s.Discard)
	return process{t: t, s: s}
}

// RedisProcess is a redis-server of the test's own.
type RedisProcess struct {
	process
	Addr string // host:port
}

// StartRedis starts a redis-server for this test alone, with args as on its command line ("--maxmemory", "1mb"), and
// ends it with the test. It has no data at first, keeps none on disk unless args say so, and serves DEBUG. The
// test skips where redis-server is not installed.
func StartRedis(t testing.TB, args ...string) *RedisProcess {
	t.Helper()
	s, err := local.StartRedis(context.Background(), t.TempDir(), local.Launch{}, args...)
	p := adopt(t, "Redis", "NEARCACHE_TEST_REDIS", s, err)
	return &RedisProcess{process: p, Addr: s.Addr}
}

// Do sends the server one command and returns the reply; see RedisDo.
func (p *RedisProcess) Do(args ...string) string {
	p.t.Helper()
	return RedisDo(p.t, p.Addr, args...)
}

// PostgresProcess is a PostgreSQL of the test's own.
type PostgresProcess struct {
	process
	URL string // of an empty database, for a superuser
}

// StartPostgres starts a PostgreSQL for this test alone, with settings ("name=value"), and ends it with the test; it
// takes 1 to 2 s. What was committed survives a Kill and Restart, though not a crash of the machine. The test skips
// where PostgreSQL is not installed.
func StartPostgres(t testing.TB, settings ...string) *PostgresProcess {
	t.Helper()
	dir := t.TempDir()
	s, err := local.StartPostgres(context.Background(), dir, local.Launch{}, settings...)
	p := adopt(t, "Postgres", "NEARCACHE_TEST_POSTGRES", s, err)
	// t.TempDir's parents are closed to the account that PostgreSQL runs as under root, and then its data is elsewhere.
	if s.Dir != dir {
		t.Cleanup(func() { s.Discard(); os.RemoveAll(s.Dir) })
	}
	return &PostgresProcess{process: p, URL: local.PostgresURL(s.Addr, "postgres")}
}

// StartStandby starts a standby that streams from the server, for this test alone. It takes 2 to 3 s.
func (p *PostgresProcess) StartStandby() *PostgresProcess {
	p.t.Helper()
	s, err := local.StartStandby(context.Background(), p.s, local.Launch{})
	standby := adopt(p.t, "Postgres", "NEARCACHE_TEST_POSTGRES", s, err)
	p.t.Cleanup(func() { s.Discard(); os.RemoveAll(s.Dir) })
	return &PostgresProcess{process: standby, URL: local.PostgresURL(s.Addr, "postgres")}
}

// Freeze stops the server and every process of it, sessions included, as a machine that hangs does: connections stay
// open and nothing answers, also on those that are open already. Thaw lets them run on; the end of the test does too.
func (p *PostgresProcess) Freeze() (thaw func()) {
	p.t.Helper()
	p.Pause() // first, so that no further session begins
	pids, err := local.Children(p.Pid())
	if err != nil {
		p.Resume()
		p.t.Skipf("servicestest: the server's processes cannot be listed here: %v", err)
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGSTOP) // one that has just ended need not be stopped
	}
	thaw = sync.OnceFunc(func() {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
		p.Resume()
	})
	p.t.Cleanup(thaw)
	return thaw
}

// MariaDBProcess is a MariaDB of the test's own.
type MariaDBProcess struct {
	process
	DSN string // of no database, for an account with all rights
}

// StartMariaDB starts a MariaDB, or under make mysql a MySQL, for this test alone, with settings ("--name=value"), and
// ends it with the test; it takes 2 to 3 s. What was committed survives a Kill and Restart, though not a crash of the
// machine. The test skips where MariaDB is not installed.
func StartMariaDB(t testing.TB, settings ...string) *MariaDBProcess {
	t.Helper()
	var s *local.Server
	var err error
	if server := os.Getenv("NEARCACHE_TEST_MYSQL"); server != "" { // local.FetchMySQL's directory
		s, err = local.StartMySQL(context.Background(), t.TempDir(), server, local.Launch{}, settings...)
	} else {
		s, err = local.StartMariaDB(context.Background(), t.TempDir(), local.Launch{}, settings...)
	}
	p := adopt(t, "MariaDB", "NEARCACHE_TEST_MARIADB", s, err)
	return &MariaDBProcess{process: p, DSN: local.MariaDBDSN(s.Addr, "")}
}

// KafkaProcess is a Kafka broker of the test's own.
type KafkaProcess struct {
	process
	Brokers []string // bootstrap servers, host:port
}

// StartKafka starts a Kafka broker for this test alone, with settings ("name=value" of server.properties), and ends
// it with the test; it takes some 5 s. The test skips where Java or Kafka's jars (`make services-up` fetches them)
// are missing.
func StartKafka(t testing.TB, settings ...string) *KafkaProcess {
	t.Helper()
	root, err := local.Root(".")
	if err != nil {
		t.Fatalf("servicestest: %v", err)
	}
	jars, _ := local.KafkaJars(filepath.Join(root, ".services"))
	s, err := local.StartKafka(context.Background(), t.TempDir(), jars, local.Launch{}, settings...)
	p := adopt(t, "Kafka", "NEARCACHE_TEST_KAFKA", s, err)
	return &KafkaProcess{process: p, Brokers: []string{s.Addr}}
}

// StartConnect starts a standalone Kafka Connect worker with one connector for this test alone, and ends it with the
// test; it takes some 15 s, and Maven fetches its jars the first time. The test skips where Java is missing.
func StartConnect(t testing.TB, brokers []string, connector map[string]string) {
	t.Helper()
	root, err := local.Root(".")
	if err != nil {
		t.Fatalf("servicestest: %v", err)
	}
	jars, err := local.FetchConnect(context.Background(), filepath.Join(root, ".services"), os.Stderr)
	if err != nil {
		t.Fatalf("servicestest: %v", err)
	}
	dir := t.TempDir()
	s, err := local.StartConnect(context.Background(), dir, jars, local.Launch{}, brokers, connector)
	if err != nil && !errors.Is(err, local.ErrMissing) {
		log, _ := os.ReadFile(filepath.Join(dir, "connect.log"))
		t.Logf("Connect said:\n%s", log[max(0, len(log)-8000):])
	}
	adopt(t, "Kafka Connect", "NEARCACHE_TEST_KAFKA", s, err)
}

// StartTwemproxy starts a proxy of Redis servers for this test alone, and returns its address. The test skips where
// nutcracker is not installed.
func StartTwemproxy(t testing.TB, servers ...string) (addr string) {
	t.Helper()
	s, err := local.StartTwemproxy(context.Background(), t.TempDir(), local.Launch{}, servers...)
	if errors.Is(err, local.ErrMissing) {
		t.Skip(err)
	}
	adopt(t, "twemproxy", "", s, err)
	return s.Addr
}
