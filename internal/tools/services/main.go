//go:build unix

// Command services starts real Redis, PostgreSQL, MariaDB and Kafka servers for this checkout's tests and stops them
// again.
//
//	services run -- COMMAND [ARGS]    start servers, run the command with NEARCACHE_TEST_* set, stop them; exit as the
//	                                  command did
//	services mysql                    print the directory of a MySQL 8.0, which Maven fetches; in NEARCACHE_TEST_MYSQL
//	                                  it makes run start MySQL in MariaDB's place
//	services up                       start servers that stay, unless they run already
//	services env                      print shell lines that lead tests (NEARCACHE_TEST_*) and the programs to those
//	services down                     stop them, and whatever a killed run left behind
//
// Everything is under the checkout's .services directory. A NEARCACHE_TEST_* variable that is set already names a
// server to use: run then starts none of that kind and leaves that one alone.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nearcache/nearcache-go/internal/services/local"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	code, err := dispatch(ctx, os.Args[1:])
	if ctx.Err() != nil {
		// What failed did so because it was interrupted.
		code, err = 130, errors.New("interrupted; everything that it started is stopped")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "services:", err)
		if errors.Is(err, local.ErrMissing) {
			fmt.Fprintln(os.Stderr, "services: as root on Debian, `make install` installs what is missing;"+
				" elsewhere install it,"+
				" or set NEARCACHE_TEST_REDIS, NEARCACHE_TEST_POSTGRES, NEARCACHE_TEST_MARIADB and NEARCACHE_TEST_KAFKA"+
				" to servers that run already")
		}
		if code == 0 {
			code = 1
		}
	}
	os.Exit(code)
}

func dispatch(ctx context.Context, args []string) (code int, err error) {
	root, err := local.Root(".")
	if err != nil {
		return 1, err
	}
	base := filepath.Join(root, ".services")
	switch {
	case len(args) == 1 && args[0] == "up":
		return 0, up(ctx, base)
	case len(args) == 1 && args[0] == "env":
		return 0, env(base)
	case len(args) == 1 && args[0] == "down":
		return 0, down(base)
	case len(args) == 1 && args[0] == "mysql":
		return 0, mysql(ctx, base)
	case len(args) > 2 && args[0] == "run" && args[1] == "--":
		return run(ctx, base, args[2:])
	}
	return 2, errors.New("usage: services up | env | down | mysql | run -- COMMAND [ARGS]")
}

func mysql(ctx context.Context, base string) error {
	unlock, err := local.Lock(base)
	if err != nil {
		return err
	}
	defer unlock()
	dir, err := local.FetchMySQL(ctx, base, os.Stderr)
	if err == nil {
		fmt.Println(dir)
	}
	return err
}

// run starts servers, runs the command beside them and ends them, however the command ends.
func run(ctx context.Context, base string, command []string) (code int, err error) {
	unlock, err := local.Lock(base)
	if err != nil {
		return 1, err
	}
	_, err = local.Sweep(base)
	jars := ""
	if err == nil && os.Getenv(variables["kafka"]) == "" {
		jars, err = local.FetchKafka(ctx, base, os.Stderr)
	}
	unlock()
	if err != nil {
		return 1, err
	}

	r, err := local.NewRun(base)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, r.Remove()) }()
	began := time.Now()
	settings, err := startAll(ctx, r, jars, attached)
	if err != nil {
		return 1, err
	}
	fmt.Fprintf(os.Stderr, "services: up in %.1f s\n", time.Since(began).Seconds())
	return runCommand(ctx, command, settings)
}

// runCommand runs the command in a process group of its own, so that an interrupt reaches everything it started (go
// test does not pass one on to its tests).
func runCommand(ctx context.Context, command, settings []string) (code int, err error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), settings...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	var waited error
	ended := make(chan struct{})
	go func() {
		waited = cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
		}
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return 130, ctx.Err()
	}
	var exit *exec.ExitError
	if errors.As(waited, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, waited
}
