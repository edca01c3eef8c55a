package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// reasons are those of a program's /status, by code.
func (p *program) reasons() map[string]bool {
	p.t.Helper()
	r, err := do(p.t.Context(), "GET", p.url+"/status", "")
	if err != nil || r.status != 200 {
		p.t.Fatalf("/status: got %d %s and error %v", r.status, r.body, err)
	}
	var status struct {
		Reasons []struct {
			Code    string
			Unready bool
			Since   time.Time
			Detail  string
		}
	}
	if err := json.Unmarshal([]byte(r.body), &status); err != nil {
		p.t.Fatalf("got error %v for %s, want a status in JSON", err, r.body)
	}
	codes := map[string]bool{}
	for _, reason := range status.Reasons {
		if reason.Detail == "" || reason.Since.IsZero() {
			p.t.Errorf("reason %+v", reason)
		}
		codes[reason.Code] = reason.Unready
	}
	return codes
}

func (p *program) ready() bool {
	r, err := do(p.t.Context(), "GET", p.url+"/readyz", "")
	return err == nil && r.status == 200
}

// TestChangeByHand_IsWithinTheBound: an UPDATE by psql counts, so that no read with a bound, and no fresh one, misses
// it.
func TestChangeByHand_IsWithinTheBound(t *testing.T) {
	w := newWorld(t)
	s := w.start("product-server", "RELAY=true")
	s.mustPut("p", "one")
	const bound = 250 * time.Millisecond
	for _, name := range []string{"two", "three", "four"} {
		s.fromL1("p")
		out, err := exec.Command("psql", "-q", w.env["DATABASE_URL"], "-c",
			"update products set name = '"+name+"' where id = 'p'").CombinedOutput()
		if err != nil {
			t.Fatalf("psql: got error %v and output %s, want no error", err, out)
		}
		if got := s.get("p", "Nearcache-Fresh", "?1"); got.status != 200 || !strings.Contains(got.body, name) {
			t.Errorf("a fresh read: %d %s", got.status, got.body)
		}
		<-time.After(bound + 10*time.Millisecond) // what is committed is older than the bound now
		if got := s.get("p", "Nearcache-Max-Staleness", "0.25"); got.status != 200 || !strings.Contains(got.body, name) {
			t.Errorf("a read with a bound: %d %s %v", got.status, got.body, got.header)
		}
	}
}

// TestReadiness_TurnsBeforeTheListenerCloses: after SIGTERM the server answers for a while, and says that it is not
// ready.
func TestReadiness_TurnsBeforeTheListenerCloses(t *testing.T) {
	w := newWorld(t)
	s := w.start("product-server", "SHUTDOWN_DELAY_MS=3000")
	s.mustPut("p", "one")
	testkit.Eventually(t, "it is ready", s.ready)
	began := time.Now()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "readiness turns", func() bool { return !s.ready() })
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("readiness turned after %v", d)
	}
	if got := s.get("p"); got.status != 200 {
		t.Errorf("while draining: %d", got.status)
	}
	if r, err := do(t.Context(), "GET", s.url+"/healthz", ""); err != nil || r.status != 200 {
		t.Errorf("it is alive: %d %v", r.status, err)
	}
	<-s.done
	if d := time.Since(began); d < 3*time.Second || s.err != nil {
		t.Errorf("it ended after %v: %v", d, s.err)
	}
	// Ctrl-C comes from a terminal: there is nobody to wait for.
	s = w.start("product-server", "SHUTDOWN_DELAY_MS=600000")
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-s.done
	if s.err != nil {
		t.Errorf("after SIGINT: %v", s.err)
	}
}

// cable is a TCP connection to a service that can be cut for one program alone.
type cable struct {
	listen net.Listener
	mu     sync.Mutex
	cut    bool
	open   map[net.Conn]bool
}

// newCable leads to a service.
func newCable(t *testing.T, to string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listen: l, open: map[net.Conn]bool{}}
	t.Cleanup(func() { _ = l.Close(); c.set(true) })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			service, err := net.Dial("tcp", to)
			if err != nil || !c.add(from, service) {
				_ = from.Close()
				if service != nil {
					_ = service.Close()
				}
				continue
			}
			copyInto := func(a, b net.Conn) { _, _ = io.Copy(a, b); _ = a.Close(); _ = b.Close() }
			go copyInto(from, service)
			go copyInto(service, from)
		}
	}()
	return c
}

func (c *cable) add(conns ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		c.open[conn] = true
	}
	return !c.cut
}

// set cuts the cable, or mends it.
func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	if cut {
		for conn := range c.open {
			_ = conn.Close()
		}
		clear(c.open)
	}
}

// TestReadiness_OfOneInstance: the one that alone cannot reach the database answers more errors than its neighbours,
// and is not ready; when the database is closed to all, all stay ready and serve what they have.
func TestReadiness_OfOneInstance(t *testing.T) {
	w := newWorld(t)
	pg := servicestest.StartPostgres(t)
	w.env["DATABASE_URL"] = pg.URL
	through, err := url.Parse(pg.URL)
	if err != nil {
		t.Fatal(err)
	}
	link := newCable(t, through.Host)
	through.Host = link.listen.Addr().String()
	whole, alone := w.start("product-server", "RELAY=true"), w.start("product-server", "DATABASE_URL="+through.String())
	whole.mustPut("p", "one")
	for _, s := range []*program{whole, alone} {
		testkit.Eventually(t, "it is ready", s.ready)
		s.fromL1("p")
	}
	link.set(true)
	testkit.Eventually(t, "the instance that is cut off is not ready", func() bool { return !alone.ready() })
	if unready := alone.reasons()["database_unreachable"]; !unready {
		t.Errorf("got the reasons %v, want database_unreachable", alone.reasons())
	}
	if !whole.ready() {
		t.Error("its neighbour is not ready either")
	}
	link.set(false)
	testkit.Eventually(t, "it is ready again", alone.ready)
	pg.Kill()
	for _, s := range []*program{whole, alone} {
		testkit.Eventually(t, "it notices", func() bool { _, is := s.reasons()["database_unreachable"]; return is })
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); <-time.After(50 * time.Millisecond) {
		for _, s := range []*program{whole, alone} {
			if !s.ready() {
				t.Fatalf("the database is closed to all, and an instance is not ready: %v", s.reasons())
			}
			if got := s.get("p"); got.status != 200 {
				t.Fatalf("what is cached: %d", got.status)
			}
		}
	}
}

// TestHealth_OfRelayAndWorker: they say why they cannot do their job.
func TestHealth_OfRelayAndWorker(t *testing.T) {
	w := newWorld(t)
	pg := servicestest.StartPostgres(t)
	w.env["DATABASE_URL"] = pg.URL
	relay, worker := w.start("outbox-relay"), w.start("invalidation-worker")
	for _, p := range []*program{relay, worker} {
		testkit.Eventually(t, "it is ready", p.ready)
		if r, err := do(t.Context(), "GET", p.url+"/healthz", ""); err != nil || r.status != 200 {
			t.Errorf("/healthz: %d %v", r.status, err)
		}
		if r, err := do(t.Context(), "GET", p.url+"/nowhere", ""); err != nil || r.status != 404 ||
			r.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("/nowhere: %d %v", r.status, err)
		}
	}
	testkit.Eventually(t, "the relay leads", func() bool {
		r, err := do(t.Context(), "GET", relay.url+"/status", "")
		return err == nil && strings.Contains(r.body, `"leads":true`)
	})
	pg.Kill()
	testkit.Eventually(t, "the relay is not ready without its database", func() bool {
		return !relay.ready() &&
			relay.reasons()["database_unreachable"]
	})
	if !worker.ready() {
		t.Errorf("the worker needs no database: %v", worker.reasons())
	}
	w.redis.Kill()
	for _, p := range []*program{relay, worker} {
		testkit.Eventually(t, "it is not ready without Redis", func() bool {
			return !p.ready() && p.reasons()["redis_unreachable"]
		})
	}
	w.redis.Restart()
	pg.Restart()
	for _, p := range []*program{relay, worker} {
		testkit.Eventually(t, "it is ready again", p.ready)
		p.interrupt()
	}
	lost := w.start("invalidation-worker", "KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1")
	testkit.Eventually(t, "a worker without Kafka is not ready", func() bool {
		return !lost.ready() &&
			lost.reasons()["worker_topic"]
	})
}

// TestDeadline_OfRequests: with the row locked, and with Postgres frozen, every request is answered within its time,
// and a write that was refused happens at no later time.
func TestDeadline_OfRequests(t *testing.T) {
	w := newWorld(t)
	pg := servicestest.StartPostgres(t)
	w.env["DATABASE_URL"] = pg.URL
	s := w.start("product-server", "REQUEST_TIMEOUT_MS=1000")
	s.mustPut("p", "one")
	const slack = 2 * time.Second // a write tells Redis besides
	within := func(why, method, path, body string, status int, outcome string) {
		t.Helper()
		began := time.Now()
		got, err := do(t.Context(), method, s.url+path, body)
		if d := time.Since(began); err != nil || d > time.Second+slack {
			t.Errorf("%s: %s %s after %v: %v", why, method, path, d, err)
		}
		var p struct{ Outcome, Detail string }
		if err := json.Unmarshal([]byte(got.body), &p); err != nil || got.status != status || p.Outcome != outcome {
			t.Errorf("%s: %s %s: %d %s, want %d and outcome %q", why, method, path, got.status, got.body, status, outcome)
		}
	}
	const body = `{"name":"two","price":1}`
	lock, err := w.database().Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(`select from products where id = 'p' for update`); err != nil {
		t.Fatal(err)
	}
	within("a locked row", "PUT", "/products/p", body, 504, "not-committed")
	within("a locked row", "DELETE", "/products/p", "", 504, "not-committed")
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if got := s.get("p", "Nearcache-Fresh", "?1"); got.status != 200 || !strings.Contains(got.body, "one") ||
		got.version != 1 {
		t.Errorf("a write that timed out was done: %d %s", got.status, got.body)
	}
	lock, err = w.database().Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(`lock table products in access exclusive mode`); err != nil {
		t.Fatal(err)
	}
	within("a locked table", "GET", "/products", "", 504, "")
	within("a locked table", "GET", "/products/other", "", 504, "")
	within("a locked table", "POST", "/products", `{"id":"q","name":"two","price":1}`, 504, "not-committed")
	if got := s.get("p"); got.status != 200 {
		t.Errorf("what is cached: %d", got.status)
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	v := s.mustPut("p", "three").version
	s.fromL1("p")
	thaw := pg.Freeze()
	within("Postgres frozen", "PUT", "/products/p", body, 504, "not-committed")
	within("Postgres frozen", "DELETE", "/products/p", "", 504, "not-committed")
	within("Postgres frozen", "POST", "/products", `{"id":"r","name":"two","price":1}`, 504, "not-committed")
	within("Postgres frozen", "GET", "/products", "", 504, "")
	within("Postgres frozen", "GET", "/products/another", "", 504, "")
	if got := s.get("p"); got.status != 200 || !s.ready() {
		t.Errorf("what is cached: %d; ready: %v", got.status, s.ready())
	}
	thaw()
	testkit.Eventually(t, "the server answers again", func() bool { return s.get("another").status == 404 })
	if got := s.get("p", "Nearcache-Fresh", "?1"); got.status != 200 || got.version != v || !strings.Contains(got.body,
		"three") {
		t.Errorf("a write that timed out was done: %d %s", got.status, got.body)
	}
}

// TestPrefix_SeparatesTwoSystems on one Redis.
func TestPrefix_SeparatesTwoSystems(t *testing.T) {
	w := newWorld(t)
	a := w.start("product-server", "RELAY=true", "REDIS_PREFIX=shop-a", "KAFKA_BOOTSTRAP_SERVERS=")
	b := w.start("product-server", "RELAY=true", "REDIS_PREFIX=shop-b", "KAFKA_BOOTSTRAP_SERVERS=",
		"DATABASE_URL="+servicestest.Postgres(t))
	for i, s := range []*program{a, b} {
		name := []string{"of a", "of b"}[i]
		s.mustPut("p", name)
		s.fromL1("p")
	}
	for range 30 {
		for s, name := range map[*program]string{a: "of a", b: "of b"} {
			if got := s.get("p", "Nearcache-Max-Staleness", "0.5"); got.status != 200 || !strings.Contains(got.body, name) {
				t.Fatalf("%d %s, want %s", got.status, got.body, name)
			}
		}
	}
	for _, prefix := range []string{"shop-a", "shop-b"} {
		if keys := w.redis.Do("KEYS", prefix+":*"); !strings.Contains(keys, "product:p") {
			t.Errorf("prefix %s: got the keys %s, want one of product p", prefix, keys)
		}
	}
	if keys := w.redis.Do("KEYS", "nc:*"); strings.TrimSpace(keys) != "" {
		t.Errorf("keys of the default prefix: %s", keys)
	}
}

// TestPrefix_OfAnotherSystemIsRefused by name: by the server, and by a relay, which applies nothing.
func TestPrefix_OfAnotherSystemIsRefused(t *testing.T) {
	w := newWorld(t)
	w.env["KAFKA_BOOTSTRAP_SERVERS"] = ""
	a := w.start("product-server", "RELAY=true")
	a.mustPut("p", "of a")
	other := servicestest.Postgres(t)
	env := append(os.Environ(), "REDIS_URL="+w.env["REDIS_URL"], "DATABASE_URL="+other, "KAFKA_BOOTSTRAP_SERVERS=")
	code, _, errOut := once(t, env, "product-server")
	if code == 0 || !strings.Contains(errOut, "belongs to the system") {
		t.Errorf("the server of another system: %d %s", code, errOut)
	}
	relay := w.start("outbox-relay", "DATABASE_URL="+other)
	testkit.Eventually(t, "the relay says whose prefix it is", func() bool {
		relay.mu.Lock()
		defer relay.mu.Unlock()
		return strings.Contains(relay.log.String(), "belongs to the system")
	})
	v := a.mustPut("p", "of a, again").version
	a.fromL1("p")
	if got := a.get("p", "Nearcache-Max-Staleness", "1"); got.status != 200 || got.version != v {
		t.Errorf("the first system: %d %s", got.status, got.body)
	}
	testkit.Eventually(t, "the relay is not ready", func() bool { return relay.reasons()["relay_behind"] })
}

// once runs a program that ends by itself.
func once(t *testing.T, env []string, name string, args ...string) (code int, out, errOut string) {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, name), args...)
	cmd.Env = env
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

// TestPrograms_SayWhatIsWrong: help is no failure, settings that cannot work end with 2, and nothing shows a password.
func TestPrograms_SayWhatIsWrong(t *testing.T) {
	const secret = "hunter2"
	env := []string{"DATABASE_URL=postgres://u:" + secret + "@127.0.0.1:1/d", "REDIS_URL=redis://:" + secret +
		"@127.0.0.1:1", "KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1"}
	for _, name := range []string{"product-server", "outbox-relay", "invalidation-worker"} {
		for _, help := range []string{"-h", "--help"} {
			if code, out, errOut := once(t, env, name, help); code != 0 || errOut != "" || !strings.Contains(out, "REDIS_URL") ||
				strings.Contains(out, secret) {
				t.Errorf("%s %s: %d\n%s%s", name, help, code, out, errOut)
			}
		}
		for _, bad := range [][]string{{"-redis", "redis://u:" + secret + "@h:port"}, {"-redis=redis://u:" + secret + "@"},
			{"stray"}, {"-nonsense"}} {
			if code, out, errOut := once(t, env, name, bad...); code != 2 || out != "" || !strings.Contains(errOut,
				"bad configuration") || strings.Contains(errOut, secret) {
				t.Errorf("%s %q: %d\n%s%s", name, bad, code, out, errOut)
			}
		}
	}
	if code, _, errOut := once(t, []string{"DATABASE_URL=sqlite:" + filepath.Join(t.TempDir(), "x.db")},
		"product-server"); code != 2 || !strings.Contains(errOut, "REDIS_URL") {
		t.Errorf("a database and no Redis: %d %s", code, errOut)
	}
}

// TestLogs_ShowNoPassword of services that are away, and few lines of requests that fail.
func TestLogs_ShowNoPassword(t *testing.T) {
	const secret = "hunter2"
	w := newWorld(t)
	s := w.start("product-server", "RELAY=true", "DATABASE_URL=postgres://u:"+secret+"@127.0.0.1:1/d",
		"REDIS_URL=redis://u:"+secret+"@127.0.0.1:1",
		"KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1")
	for range 300 {
		if got := s.get("p"); got.status != 503 {
			t.Fatalf("got the status %d and %s, want 503", got.status, got.body)
		}
	}
	if s.ready() || !s.reasons()["nothing_reachable"] {
		t.Errorf("with nothing to answer from: %v", s.reasons())
	}
	status, err := do(t.Context(), "GET", s.url+"/status", "")
	if err != nil {
		t.Fatal(err)
	}
	s.interrupt()
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.Contains(s.log.String()+status.body, secret) {
		t.Errorf("%s\n%s", tail(s.log.String(), 2000), status.body)
	}
	if n := strings.Count(s.log.String(), "a request failed"); n == 0 || n > 60 {
		t.Errorf("%d lines of 300 requests that failed", n)
	}
}

// TestEmbedded_SaysSo: with no setting at all nobody must take it for a real one.
func TestEmbedded_SaysSo(t *testing.T) {
	w := &world{t: t, env: map[string]string{"DATABASE_URL": "", "REDIS_URL": "", "REDIS_HOST": "",
		"KAFKA_BOOTSTRAP_SERVERS": "", "SHUTDOWN_DELAY_MS": "0", "ADMIN_LISTEN_ADDR": "api"}}
	s := w.start("product-server")
	testkit.Eventually(t, "it is ready", s.ready)
	if _, is := s.reasons()["embedded_services"]; !is {
		t.Errorf("got the reasons %v, want embedded_services", s.reasons())
	}
	if r, err := do(t.Context(), "GET", s.url+"/status", ""); err != nil || !strings.Contains(r.body,
		`"services":"embedded"`) {
		t.Errorf("got %s and error %v, want embedded services", r.body, err)
	}
	s.mu.Lock()
	said := s.log.String()
	s.mu.Unlock()
	if !strings.Contains(said, "level=WARN") || !strings.Contains(said, "NO SERVICE IS CONFIGURED") {
		t.Errorf("got the log %s, want a warning that no service is configured", said)
	}
	s.interrupt()
}
