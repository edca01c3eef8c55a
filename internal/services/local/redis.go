//go:build unix

package local

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

var redisPid = regexp.MustCompile(`process_id:(\d+)`)

// StartRedis starts a redis-server in dir, which must exist. It keeps nothing on disk, serves DEBUG to local clients,
// and takes args, as on its command line ("--maxmemory", "1mb"), over these settings. The error wraps ErrMissing if
// there is no redis-server.
func StartRedis(ctx context.Context, dir string, l Launch, args ...string) (*Server, error) {
	path, err := findRedis()
	if err != nil {
		return nil, err
	}
	// CONFIG REWRITE and the like need a configuration file; nothing here does, so all settings are arguments. Redis
	// 7 guards DEBUG behind a setting that Redis 6 refuses to start with.
	debug := []string{"--enable-debug-command", "local"}
	if redisMajor(ctx, path) < 7 {
		debug = nil
	}
	return start(ctx, spec{
		name: "redis",
		path: path,
		args: func(port int) []string {
			base := []string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir,
				"--save", "", "--appendonly", "no", "--daemonize", "no"}
			return append(append(base, debug...), args...)
		},
		check: checkRedis,
		stop:  syscall.SIGTERM,
		death: syscall.SIGKILL,
	}, dir, l)
}

// checkRedis asks whoever answers on the port for its process id: it may be a stranger's Redis that was there first.
func checkRedis(ctx context.Context, s *Server) error {
	info, err := RedisDo(ctx, s.Addr, "INFO", "server")
	if err != nil {
		// With requirepass, or an ACL, the refusal is an answer too.
		if strings.Contains(err.Error(), "NOAUTH") {
			return nil
		}
		return err
	}
	m := redisPid.FindStringSubmatch(info)
	if m == nil || m[1] != strconv.Itoa(s.Pid()) {
		return fmt.Errorf("local: %s is another server's", s.Addr)
	}
	return nil
}
