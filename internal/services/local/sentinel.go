//go:build unix

package local

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// StartSentinel starts a Redis Sentinel in dir, which must exist. It watches the primary under a name, and promotes a
// replica once that many Sentinels have not heard of the primary for down.
func StartSentinel(
	ctx context.Context, dir string, l Launch, name, primary string, quorum int, down time.Duration,
) (*Server, error) {
	path, err := findRedis()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(primary)
	if err != nil {
		return nil, fmt.Errorf("local: %w", err)
	}
	// Sentinel writes what it learns to its file: without one it does not start.
	file := filepath.Join(dir, "sentinel.conf")
	conf := fmt.Sprintf("sentinel monitor %s %s %s %d\nsentinel down-after-milliseconds %s %d\n"+
		"sentinel failover-timeout %s 5000\n", name, host, port, quorum, name, down.Milliseconds(), name)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, fmt.Errorf("local: %w", err)
	}
	return start(ctx, spec{
		name: "sentinel",
		path: path,
		args: func(port int) []string {
			return []string{file, "--sentinel", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir,
				"--daemonize", "no"}
		},
		check: checkRedis,
		stop:  syscall.SIGTERM,
		death: syscall.SIGKILL,
	}, dir, l)
}
