// Package e2e runs the demo's programs as processes of their own on real Redis, Kafka and Postgres, and treats them as
// users, operators and accidents do.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "nearcache-e2e-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "../../cmd/...")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	if redis := os.Getenv(holderEnv); redis != "" {
		os.Exit(holder(redis))
	}
	code := m.Run()
	if dir, err := build(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// world is one set of services that a test's programs share.
type world struct {
	t     *testing.T
	env   map[string]string
	redis *servicestest.RedisProcess
	topic string
}

// newWorld has a Redis of its own, a fresh database, and a fresh topic.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, redis: servicestest.StartRedis(t), env: map[string]string{}}
	brokers := servicestest.Kafka(t)
	w.topic = servicestest.Topic(t, brokers, "products", 4)
	w.env["DATABASE_URL"] = servicestest.Postgres(t)
	w.env["REDIS_URL"] = "redis://" + w.redis.Addr
	w.env["KAFKA_BOOTSTRAP_SERVERS"] = strings.Join(brokers, ",")
	w.env["KAFKA_PRODUCT_TOPIC"] = w.topic
	w.env["KAFKA_GROUP_ID"] = w.topic + "-workers"
	w.env["RELAY"] = "false"
	w.env["ADMIN_LISTEN_ADDR"] = "api" // the tests read metrics and status at the address that they know
	w.env["SHUTDOWN_DELAY_MS"] = "0"
	w.env["FORCED_READS_PER_SECOND"] = "0"
	return w
}

// program is a running process.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	url  string
	done chan struct{}
	err  error

	mu  sync.Mutex
	log bytes.Buffer
}

var urlInLog = regexp.MustCompile(`msg=(?:serving|running).* url=(\S+)`)

// start starts a program with the world's environment and more on top, and waits until it serves.
func (w *world) start(name string, more ...string) *program {
	w.t.Helper()
	dir, err := build()
	if err != nil {
		w.t.Fatal(err)
	}
	p := &program{t: w.t, cmd: exec.Command(filepath.Join(dir, name)), done: make(chan struct{})}
	p.cmd.Env = os.Environ()
	for k, v := range w.env {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.Env = append(p.cmd.Env, more...)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	url := make(chan string, 1)
	go func() {
		for sc := bufio.NewScanner(stderr); sc.Scan(); {
			p.mu.Lock()
			p.log.WriteString(sc.Text() + "\n")
			p.mu.Unlock()
			if m := urlInLog.FindStringSubmatch(sc.Text()); m != nil {
				select {
				case url <- m[1]:
				default:
				}
			}
		}
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	w.t.Cleanup(func() {
		p.kill()
		if w.t.Failed() {
			p.mu.Lock()
			defer p.mu.Unlock()
			w.t.Logf("%s said:\n%s", name, tail(p.log.String(), 4000))
		}
	})
	select {
	case p.url = <-url:
	case <-p.done:
		w.t.Fatalf("%s ended at once: %v", name, p.err)
	case <-time.After(20 * time.Second):
		w.t.Fatalf("%s does not serve", name)
	}
	return p
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// kill is kill -9.
func (p *program) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// interrupt asks it to stop, and wants exit code 0.
func (p *program) interrupt() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		if p.err != nil {
			p.t.Errorf("after SIGTERM: %v", p.err)
		}
	case <-time.After(20 * time.Second):
		p.t.Error("does not stop")
	}
}

// reply is an HTTP answer.
type reply struct {
	status  int
	header  http.Header
	body    string
	version int
}

var httpClient = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

func do(ctx context.Context, method, url, body string, header ...string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := httpClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	r := reply{status: res.StatusCode, header: res.Header, body: string(b)}
	r.version, _ = strconv.Atoi(res.Header.Get("Nearcache-Version"))
	return r, err
}

func (p *program) get(id string, header ...string) reply {
	p.t.Helper()
	r, err := do(p.t.Context(), "GET", p.url+"/products/"+id, "", header...)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func (p *program) put(id, name string, header ...string) reply {
	p.t.Helper()
	r, err := do(p.t.Context(), "PUT", p.url+"/products/"+id, fmt.Sprintf(`{"id":%q,"name":%q,"price":9.90}`, id, name),
		header...)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// mustPut is a put that must succeed.
func (p *program) mustPut(id, name string) reply {
	p.t.Helper()
	r := p.put(id, name)
	if r.status != 200 && r.status != 201 {
		p.t.Fatalf("PUT %s: %d %s", id, r.status, r.body)
	}
	return r
}

// fromL1 reads until L1 answers.
func (p *program) fromL1(id string) {
	p.t.Helper()
	testkit.Eventually(p.t, id+" comes from L1", func() bool {
		return strings.Contains(p.get(id).header.Get("Cache-Status"),
			"detail=L1")
	})
}
