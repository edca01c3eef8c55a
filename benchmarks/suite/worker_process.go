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
)

// crew are processes of this very program, each with a part of the load. They are told what to do line by line on their
// standard input and answer with a line of JSON; they end when it is closed.
type workerGroup struct {
	processes []*workerProcess
}

type workerProcess struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// hire starts n processes with a role and returns when all of them are ready. config is the i-th one's configuration.
func (e *Env) startWorkers(ctx context.Context, n int, role string, config func(i int) any) (*workerGroup, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &workerGroup{}
	commands := make([]string, n)
	for i := range n {
		b, err := json.Marshal(config(i))
		if err != nil {
			c.stop()
			return nil, err
		}
		commands[i] = string(b)
		cmd := exec.CommandContext(ctx, self, "worker", role)
		cmd.Stderr = e.Log
		in, err := cmd.StdinPipe()
		if err == nil {
			var out io.ReadCloser
			if out, err = cmd.StdoutPipe(); err == nil {
				if err = cmd.Start(); err == nil {
					c.processes = append(c.processes, &workerProcess{cmd, in, bufio.NewReaderSize(out, 1<<20)})
				}
			}
		}
		if err != nil {
			c.stop()
			return nil, err
		}
	}
	var ready []json.RawMessage
	if err := c.send(commands, &ready); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

// tell has all of them do something, and waits for it.
func (c *workerGroup) run(command string) error {
	var ignored []json.RawMessage
	return c.collect(command, &ignored)
}

// ask is tell, for answers: answers points to a slice.
func (c *workerGroup) collect(command string, answers any) error {
	return c.send(slices.Repeat([]string{command}, len(c.processes)), answers)
}

// each tells each of them something of its own.
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

// dismiss ends them and waits.
func (c *workerGroup) stop() {
	for _, h := range c.processes {
		_ = h.in.Close()
	}
	for _, h := range c.processes {
		_ = h.cmd.Wait()
	}
}

// worker is a process's part of a load. It is closed when there are no more orders.
type worker interface {
	do(ctx context.Context, command string) (answer any, err error)
	close()
}

// roles are what a process of a crew can be. Each makes its worker of its configuration.
var roles = map[string]func(ctx context.Context, config []byte) (worker, error){
	"fresh":       role(newFreshWorker),
	"propagation": role(newObserver),
	"scale":       role(newScaleWorker),
	"shop":        role(newCatalogWorker),
	"stampede":    role(newStampedeWorker),
}

// role is a worker made of a configuration of a type of its own.
func role[C any, W worker](make func(context.Context, C) (W, error)) func(context.Context, []byte) (worker, error) {
	return func(ctx context.Context, config []byte) (worker, error) {
		var c C
		if err := json.Unmarshal(config, &c); err != nil {
			return nil, err
		}
		return make(ctx, c)
	}
}

// Work is what a process of a crew does: the first line is its configuration, each further one an order.
func Work(ctx context.Context, name string, in io.Reader, out io.Writer) error {
	open, ok := roles[name]
	if !ok {
		return fmt.Errorf("suite: there is no role %q", name)
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
