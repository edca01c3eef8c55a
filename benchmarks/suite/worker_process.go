package suite

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"

	"github.com/nearcache/nearcache-go/benchmarks/fleet"
)

// workerGroup is a number of processes of this program, each with a part of the load. A process reads commands line by
// line from its standard input, answers each with a line of JSON, and ends when its input is closed.
type workerGroup struct {
	processes []*workerProcess
}

type workerProcess struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startWorkers starts n processes with a role and returns when all are ready. config returns the configuration of the
// i-th process.
func (e *Env) startWorkers(ctx context.Context, n int, role string, config func(i int) any) (*workerGroup, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return e.startProgram(ctx, self, n, role, config)
}

// startProgram is startWorkers of another program that understands the same commands.
func (e *Env) startProgram(ctx context.Context, program string, n int, role string, config func(i int) any) (
	*workerGroup, error) {
	c := &workerGroup{}
	commands := make([]string, n)
	for i := range n {
		b, err := json.Marshal(config(i))
		if err != nil {
			c.stop()
			return nil, err
		}
		commands[i] = string(b)
		p, err := startProcess(ctx, program, role, e.Log)
		if err != nil {
			c.stop()
			return nil, err
		}
		c.processes = append(c.processes, p)
	}
	var ready []json.RawMessage
	if err := c.send(commands, &ready); err != nil {
		c.stop()
		if c.exited(fleet.ExitNotReady) {
			err = fmt.Errorf("%w (%w)", fleet.ErrNotReady, err)
		}
		return nil, err
	}
	return c, nil
}

func startProcess(ctx context.Context, program, role string, log io.Writer) (*workerProcess, error) {
	cmd := exec.CommandContext(ctx, program, "worker", role)
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &workerProcess{cmd, in, bufio.NewReaderSize(out, 1<<20)}, cmd.Start()
}

// run sends a command to all processes and waits until they have done it.
func (c *workerGroup) run(command string) error {
	var ignored []json.RawMessage
	return c.collect(command, &ignored)
}

// collect is run, and stores the answers. answers points to a slice.
func (c *workerGroup) collect(command string, answers any) error {
	return c.send(slices.Repeat([]string{command}, len(c.processes)), answers)
}

// send sends each process a command of its own.
func (c *workerGroup) send(commands []string, answers any) error {
	lines := make([]json.RawMessage, len(c.processes))
	errs := make([]error, len(c.processes))
	var wg sync.WaitGroup
	for i, h := range c.processes {
		wg.Go(func() {
			if _, errs[i] = fmt.Fprintln(h.in, commands[i]); errs[i] == nil {
				lines[i], errs[i] = h.out.ReadBytes('\n')
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("suite: a worker: %w", err)
	}
	all, err := json.Marshal(lines)
	if err != nil {
		return err
	}
	return json.Unmarshal(all, answers)
}

// pids are the ids of the processes.
func (c *workerGroup) pids() (ids []int) {
	for _, p := range c.processes {
		ids = append(ids, p.cmd.Process.Pid)
	}
	return ids
}

// exited reports whether a process has ended with an exit code. The processes must have been stopped.
func (c *workerGroup) exited(code int) bool {
	return slices.ContainsFunc(c.processes, func(p *workerProcess) bool { return p.cmd.ProcessState.ExitCode() == code })
}

// stop ends the processes and waits for them.
func (c *workerGroup) stop() {
	for _, h := range c.processes {
		_ = h.in.Close()
	}
	for _, h := range c.processes {
		_ = h.cmd.Wait()
	}
}

// worker runs in a worker process. It is closed when there are no more commands.
type worker interface {
	do(ctx context.Context, command string) (answer any, err error)
	close()
}

// roles are the kinds of worker processes. Each makes a worker of a configuration.
var roles = map[string]func(ctx context.Context, config []byte) (worker, error){
	"fresh":       role(newFreshWorker),
	"propagation": role(newObserver),
	"channels":    role(newChannelWorker),
	"catalog":     role(newCatalogWorker),
	"stampede":    role(newStampedeWorker),
}

// role decodes a configuration and makes a worker of it.
func role[C any, W worker](make func(context.Context, C) (W, error)) func(context.Context, []byte) (worker, error) {
	return func(ctx context.Context, config []byte) (worker, error) {
		var c C
		if err := json.Unmarshal(config, &c); err != nil {
			return nil, err
		}
		return make(ctx, c)
	}
}

// Work is the main function of a worker process. The first line of its input is its configuration, each further line a
// command.
func Work(ctx context.Context, name string, in io.Reader, out io.Writer) error {
	open, ok := roles[name]
	if !ok {
		return fmt.Errorf("suite: unknown role %q", name)
	}
	lines := bufio.NewReader(in)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	w, err := open(ctx, first)
	if err != nil {
		return err
	}
	defer w.close()
	answers := json.NewEncoder(out)
	if err := answers.Encode(struct{}{}); err != nil {
		return err
	}
	for {
		command, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		answer, err := w.do(ctx, command[:len(command)-1])
		if err != nil {
			return err
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
}
