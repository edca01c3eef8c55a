//go:build unix

package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// RedisDo sends one command to the Redis at addr over a connection of its own, as redis-cli does, and returns the
// reply as redis-cli prints it to a pipe: a nil as "", the elements of an array on a line each. An error reply is an
// error. Without a deadline in ctx it gives up after 5 s.
func RedisDo(ctx context.Context, addr string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("local: redis: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", fmt.Errorf("local: redis: %w", err)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(conn, b.String()); err != nil {
		return "", fmt.Errorf("local: redis: %w", err)
	}
	reply, err := readReply(bufio.NewReader(conn))
	if err != nil {
		return "", fmt.Errorf("local: redis: %s: %w", args[0], err)
	}
	return reply, nil
}

// readReply reads one RESP2 reply.
func readReply(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return "", errors.New("an empty line where a reply was expected")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+', ':':
		return rest, nil
	case '-':
		return "", errors.New(rest)
	}
	n, err := strconv.Atoi(rest)
	if err != nil {
		return "", fmt.Errorf("a reply of unknown kind %q", line)
	}
	switch {
	case n < 0:
		return "", nil
	case kind == '$':
		b := make([]byte, n+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return "", err
		}
		return string(b[:n]), nil
	case kind == '*':
		elements := make([]string, n)
		for i := range elements {
			if elements[i], err = readReply(r); err != nil {
				return "", err
			}
		}
		return strings.Join(elements, "\n"), nil
	}
	return "", fmt.Errorf("a reply of unknown kind %q", line)
}

// RedisMajor is the major version of the server that StartRedis starts, 0 if there is none or it does not say.
func RedisMajor(ctx context.Context) int {
	path, err := findRedis()
	if err != nil {
		return 0
	}
	return redisMajor(ctx, path)
}

var redisVersion = regexp.MustCompile(`v=(\d+)`)

// redisMajor is the major version of the redis-server at path, 0 if it does not say.
func redisMajor(ctx context.Context, path string) int {
	out, _ := exec.CommandContext(ctx, path, "--version").Output()
	if m := redisVersion.FindSubmatch(out); m != nil {
		n, _ := strconv.Atoi(string(m[1]))
		return n
	}
	return 0
}
