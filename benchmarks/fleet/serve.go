package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// process is what runs in a process.
type process interface {
	do(ctx context.Context, command string) error
	count() Counts
	close() error
}

// Serve runs a process of a role, "instances" or "relay". The first line of in is its Config, each further line a
// command. It answers the Config with an empty object, and each command with its Counts, as a line of JSON.
func Serve(ctx context.Context, role string, in io.Reader, out io.Writer) (err error) {
	lines := bufio.NewReader(in)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	var c Config
	if err := json.Unmarshal(first, &c); err != nil {
		return err
	}
	p, err := start(ctx, role, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
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
		if err := p.do(ctx, command[:len(command)-1]); err != nil {
			return err
		}
		if err := answers.Encode(p.count()); err != nil {
			return err
		}
	}
}

func start(ctx context.Context, role string, c Config) (process, error) {
	switch role {
	case "instances":
		return startInstances(ctx, c)
	case "relay":
		return startRelay(ctx, c)
	}
	return nil, fmt.Errorf("fleet: unknown role %q", role)
}
