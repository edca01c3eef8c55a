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
	"sync"
)

// crew are processes of this very program, each with a part of the load. They are told what to do line by line on their
// standard input and answer with a line of JSON; they end when it is closed.
type crew struct {
	hands []*hand
}

type hand struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// hire starts n processes with a role and its configuration and returns when all of them are ready.
func (e *Env) hire(ctx context.Context, n int, role string, config any) (*crew, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	c := &crew{}
	for range n {
		cmd := exec.CommandContext(ctx, self, "worker", role)
		cmd.Stderr = e.Log
		in, err := cmd.StdinPipe()
		if err == nil {
			var out io.ReadCloser
			if out, err = cmd.StdoutPipe(); err == nil {
				if err = cmd.Start(); err == nil {
					c.hands = append(c.hands, &hand{cmd, in, bufio.NewReaderSize(out, 1<<20)})
				}
			}
		}
		if err != nil {
			c.dismiss()
			return nil, err
		}
	}
	if err := c.tell(string(b)); err != nil {
		c.dismiss()
		return nil, err
	}
	return c, nil
}

// tell has all of them do something, and waits for it.
func (c *crew) tell(order string) error {
	var ignored []json.RawMessage
	return c.ask(order, &ignored)
}

// ask is tell, for answers: answers points to a slice.
func (c *crew) ask(order string, answers any) error {
	lines := make([]json.RawMessage, len(c.hands))
	errs := make([]error, len(c.hands))
	var wg sync.WaitGroup
	for i, h := range c.hands {
		wg.Go(func() {
			if _, errs[i] = fmt.Fprintln(h.in, order); errs[i] == nil {
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
func (c *crew) dismiss() {
	for _, h := range c.hands {
		_ = h.in.Close()
	}
	for _, h := range c.hands {
		_ = h.cmd.Wait()
	}
}

// Work is what a process of a crew does: the first line is its configuration, each further one an order.
func Work(ctx context.Context, role string, in io.Reader, out io.Writer) error {
	if role != "fresh" {
		return fmt.Errorf("suite: there is no role %q", role)
	}
	lines := bufio.NewReader(in)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	var p profile
	if err := json.Unmarshal(first, &p); err != nil {
		return err
	}
	w, err := newFreshWorker(ctx, p)
	if err != nil {
		return err
	}
	defer w.close()
	answer := json.NewEncoder(out)
	if err := answer.Encode(tally{}); err != nil {
		return err
	}
	for {
		order, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := answer.Encode(w.do(ctx, order[:len(order)-1])); err != nil {
			return err
		}
	}
}
