//go:build unix

package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTries = 4                // how often a server that lost its port to somebody else is started again
	readyAfter = 60 * time.Second // how long a server may take until it serves: a cold JVM on a loaded machine
	stopGrace  = 10 * time.Second // how long a server may take to stop before it is killed
	pollEvery  = 20 * time.Millisecond
)

// spec is what differs between the kinds of server.
type spec struct {
	name  string
	path  string
	args  func(port int) []string              // the command line, made anew for each port that is tried
	check func(context.Context, *Server) error // nil once the server serves; asked again and again
	cred  *syscall.Credential                  // whom it runs as; nil: as this process
	stop  syscall.Signal                       // asks it to stop, in order
	death syscall.Signal                       // ends it when its parent dies
	// linger is what its log says when it did not start because children of a killed predecessor have not noticed yet.
	linger string
	env    []string // beside the environment of this process
}

// Server is one running server. Its methods may be called concurrently; a second Stop or Kill does nothing.
type Server struct {
	Name string // "redis", "twemproxy", "postgres", "mariadb" or "kafka"
	Addr string // host:port, fixed for the server's life: a Restart keeps it
	Dir  string // data directory; Log is in it

	spec   spec
	port   int
	launch Launch

	mu   sync.Mutex
	cmd  *exec.Cmd
	dead chan struct{} // closed when cmd's process has ended and was waited for
}

// Log is the path of the file that has the server's standard output and error.
func (s *Server) Log() string { return filepath.Join(s.Dir, s.Name+".log") }

// Pid is the process id of the running server, 0 when it does not run.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Launch says how a server is started. The zero Launch is an attached server.
type Launch struct {
	// Detached leaves the server running when this process ends. Defaults to false: it ends with this process.
	Detached bool
	// Started is told of the process as soon as there is one, before it serves, so that it can be noted down
	// before anything can go wrong. Defaults to nil: nobody is told.
	Started func(Record)
}

// start runs sp on a free port with dir as its data directory and returns once it serves.
func start(ctx context.Context, sp spec, dir string, l Launch) (*Server, error) {
	var err error
	for range startTries {
		s := &Server{Name: sp.name, Dir: dir, spec: sp, launch: l}
		if s.port, err = freePort(); err != nil {
			return nil, err
		}
		s.Addr = loopback(s.port)
		if err = s.run(ctx); err == nil {
			return s, nil
		}
		if log, _ := os.ReadFile(s.Log()); !bytes.Contains(log, []byte("ddress already in use")) {
			break
		}
	}
	return nil, err
}

// run starts the process on s.port and waits until it serves. A process that fails to is ended.
func (s *Server) run(ctx context.Context) error {
	log, err := os.OpenFile(s.Log(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("local: start %s: %w", s.Name, err)
	}
	defer log.Close()

	cmd := exec.Command(s.spec.path, s.spec.args(s.port)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, log, log
	cmd.Env = append(os.Environ(), s.spec.env...)
	// A process group of its own: Ctrl-C in a terminal goes to the whole foreground group, and would stop the servers
	// before the program that owns them has stopped using them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: !s.launch.Detached, Setsid: s.launch.Detached, Credential: s.spec.cred}
	if !s.launch.Detached {
		bindToParent(cmd.SysProcAttr, s.spec.death)
	}
	onSpawnThread(func() { err = cmd.Start() })
	if err != nil {
		return fmt.Errorf("local: start %s: %w", s.Name, err)
	}
	dead := make(chan struct{})
	go func() { // ends with the process; Stop and Kill wait for it
		_ = cmd.Wait() // most servers end by a signal, so the status says nothing; their log does
		close(dead)
	}()
	s.mu.Lock()
	s.cmd, s.dead = cmd, dead
	s.mu.Unlock()
	if s.launch.Started != nil {
		s.launch.Started(s.record(cmd.Process.Pid))
	}

	if err := s.awaitReady(ctx, dead); err != nil {
		s.Discard()
		return fmt.Errorf("local: start %s: %w; the end of its log:\n%s", s.Name, err, tail(s.Log(), 20))
	}
	return nil
}

func (s *Server) awaitReady(ctx context.Context, dead <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, readyAfter)
	defer cancel()
	for {
		err := s.spec.check(ctx, s)
		if err == nil {
			return nil
		}
		select {
		case <-dead:
			return errors.New("it ended before it served")
		case <-ctx.Done():
			return fmt.Errorf("it did not serve in time (%w): %w", context.Cause(ctx), err)
		case <-time.After(pollEvery):
		}
	}
}

// Stop asks the server to stop in order, kills it if it does not within 10 s, and returns when its process is gone.
func (s *Server) Stop() { s.end(s.spec.stop, stopGrace) }

// Discard ends the server at once, with no more order than it takes to leave nothing behind in the system, and
// returns when its process is gone.
func (s *Server) Discard() { s.end(s.spec.death, stopGrace) }

// Kill ends the server at once, as kill -9 does, and returns when its process is gone.
func (s *Server) Kill() { s.end(syscall.SIGKILL, stopGrace) }

func (s *Server) end(sig syscall.Signal, grace time.Duration) {
	s.mu.Lock()
	cmd, dead := s.cmd, s.dead
	s.cmd = nil
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	cmd.Process.Signal(sig)
	cmd.Process.Signal(syscall.SIGCONT) // a paused process acts on no signal but SIGKILL
	select {
	case <-dead:
	case <-time.After(grace):
		cmd.Process.Kill()
		<-dead
	}
}

// Pause stops the server's process where it is, as a stalled machine would: its connections stay open and say nothing.
// Of a server with several processes (PostgreSQL) only the first is paused: it accepts no new connection.
func (s *Server) Pause() error { return s.signal(syscall.SIGSTOP) }

// Resume lets a paused server run on.
func (s *Server) Resume() error { return s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return fmt.Errorf("local: signal %s: it does not run", s.Name)
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("local: signal %s: %w", s.Name, err)
	}
	return nil
}

// Restart starts a stopped or killed server again, on the same port and data directory, and returns once it serves. A
// server that still runs is stopped in order first.
func (s *Server) Restart(ctx context.Context) error {
	s.Stop()
	for deadline := time.Now().Add(readyAfter); ; {
		err := s.run(ctx)
		if err == nil || s.spec.linger == "" || time.Now().After(deadline) {
			return err
		}
		if log, _ := os.ReadFile(s.Log()); !bytes.Contains(log, []byte(s.spec.linger)) {
			return err
		}
	}
}

// tail is the end of a file, at most n lines, for an error message.
func tail(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
