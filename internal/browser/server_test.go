package browser

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program is the product server, which TestMain builds.
var program string

// server is `make demo` in a process of its own.
type server struct {
	url string // of the first instance
	cmd *exec.Cmd
	log *strings.Builder

	stopped bool
}

// patience bounds how long a test waits for one thing.
const patience = 2 * time.Minute

// serve starts the demo. listen is an address, or "127.0.0.1:0".
func serve(t *testing.T, listen string) *server {
	t.Helper()
	s := &server{log: &strings.Builder{}}
	s.cmd = exec.Command(program, "-instances", "3", "-max-staleness", "500", "-listen", listen)
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "KAFKA_") && !strings.HasPrefix(name, "REDIS_") && name != "DATABASE_URL" {
			s.cmd.Env = append(s.cmd.Env, v)
		}
	}
	s.cmd.Stderr = s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.stop(t) })
	found := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if url, ok := strings.CutSuffix(strings.TrimSpace(lines.Text()), "/demo/"); ok {
				found <- url
			}
		}
	}()
	select {
	case s.url = <-found:
	case <-time.After(patience):
		t.Fatalf("the server has not named its page after %v; it logged:\n%s", patience, s.log)
	}
	return s
}

// stop ends the server as Ctrl-C does, and has it end cleanly.
func (s *server) stop(t *testing.T) {
	t.Helper()
	if s.stopped {
		return
	}
	s.stopped = true
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		if ctx.Err() == context.DeadlineExceeded {
			_ = s.cmd.Process.Signal(syscall.SIGKILL)
		}
	})()
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C the server ended with %v; want that it ends cleanly. It logged:\n%s", err, s.log)
	}
}

// TestMain builds the server, and starts one browser for all tests.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "nearcache-browser-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "product-server")
		build := exec.Command("go", "build", "-o", program, "./cmd/product-server")
		build.Dir = "../.."
		if out, err := build.CombinedOutput(); err != nil {
			panic("building the product server: " + string(out))
		}
		defer openBrowser()()
		return m.Run()
	}())
}
