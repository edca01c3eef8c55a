//go:build unix

package local

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// StartTwemproxy starts a proxy of Redis servers (host:port) in dir, which must exist. It hashes keys by their tags,
// and knows neither RESP3 nor HELLO. The error wraps ErrMissing if there is no nutcracker.
func StartTwemproxy(ctx context.Context, dir string, l Launch, servers ...string) (*Server, error) {
	path, err := exec.LookPath("nutcracker")
	if err != nil {
		return nil, missing("nutcracker", "nutcracker")
	}
	file := filepath.Join(dir, "nutcracker.yml")
	conf := "proxy:\n  listen: 127.0.0.1:0\n  hash: fnv1a_64\n  hash_tag: \"{}\"\n  distribution: ketama\n" +
		"  redis: true\n  servers:\n"
	for _, s := range servers {
		conf += "   - " + s + ":1\n"
	}
	return start(ctx, spec{
		name: "twemproxy",
		path: path,
		args: func(port int) []string {
			stats, _ := freePort() // on 0 it does not start, and another is tried
			_ = os.WriteFile(file, []byte(strings.Replace(conf, ":0", ":"+strconv.Itoa(port), 1)), 0o600)
			return []string{"-c", file, "-o", filepath.Join(dir, "nutcracker.log"), "-a", "127.0.0.1", "-s", strconv.Itoa(stats)}
		},
		check: func(ctx context.Context, s *Server) error {
			var d net.Dialer
			c, err := d.DialContext(ctx, "tcp", s.Addr)
			if err != nil {
				return fmt.Errorf("local: twemproxy: %w", err)
			}
			return c.Close()
		},
		stop:  syscall.SIGTERM,
		death: syscall.SIGKILL,
	}, dir, l)
}
