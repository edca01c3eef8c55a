//go:build unix

package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/nearcache/nearcache-go/internal/services/local"
)

// process is a running member of the fleet. It ends when this one does: its standard input is closed then, and where
// the operating system can, the kernel also ends it with its parent.
type process struct {
	name  string
	spec  spec
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{}
	log   string

	mu   sync.Mutex
	last status
	sent int // commands
}

// start runs this program again in a role, on a host; nil is the machine itself.
func start(name string, s spec, logPath string, on *host) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("chaos: %w", err)
	}
	role, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("chaos: %w", err)
	}
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("chaos: %w", err)
	}
	defer logFile.Close()
	p := &process{name: name, spec: s, cmd: on.command(exe), ended: make(chan struct{}), log: logPath}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+string(role))
	p.cmd.Stderr = logFile
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt in a terminal is the controller's to handle
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("chaos: %w", err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("chaos: %w", err)
	}
	if err := local.StartBound(p.cmd); err != nil {
		return nil, fmt.Errorf("chaos: start %s: %w", name, err)
	}
	go func() {
		defer close(p.ended)
		for in := bufio.NewScanner(out); in.Scan(); {
			var st status
			if json.Unmarshal(in.Bytes(), &st) != nil {
				continue
			}
			p.mu.Lock()
			p.last = st
			p.mu.Unlock()
		}
		_ = p.cmd.Wait()
	}()
	return p, nil
}

// status is the last that it said.
func (p *process) status() status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// alive reports whether it runs.
func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// signal sends a signal to it alone.
func (p *process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("chaos: signal %s: %w", p.name, err)
	}
	return nil
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// stop closes its standard input, and kills it if it is not gone in time.
func (p *process) stop(grace time.Duration) {
	_ = p.stdin.Close()
	select {
	case <-p.ended:
	case <-time.After(grace):
		p.kill()
	}
}

// send gives a command, and returns how many there were.
func (p *process) send(cmd string) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := io.WriteString(p.stdin, cmd+"\n"); err != nil {
		return 0, fmt.Errorf("chaos: %s: %w", p.name, err)
	}
	p.sent++
	return p.sent, nil
}

// await waits until the n-th command was carried out.
func (p *process) await(ctx context.Context, n int) error {
	return until(ctx, 20*time.Second, p.name+" carries out its command",
		func() bool { return p.status().Done >= n || !p.alive() })
}

// until polls; what it waits for must come within d.
func until(ctx context.Context, d time.Duration, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("chaos: not in %v: %s", d, what)
		case <-t.C:
		}
	}
	return nil
}
