//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/internal/services/local"
)

// variables are the names under which servicestest looks for each kind of server.
var variables = map[string]string{
	"redis":    "NEARCACHE_TEST_REDIS",
	"postgres": "NEARCACHE_TEST_POSTGRES",
	"mariadb":  "NEARCACHE_TEST_MARIADB",
	"kafka":    "NEARCACHE_TEST_KAFKA",
}

// mysqlVariable names the directory of a MySQL server, which then takes MariaDB's place.
const mysqlVariable = "NEARCACHE_TEST_MYSQL"

// setting is the environment variable that leads a test to the server.
func setting(name, addr string) string {
	switch name {
	case "postgres":
		addr = local.PostgresURL(addr, "postgres")
	case "mariadb":
		addr = local.MariaDBDSN(addr, "")
	}
	return variables[name] + "=" + addr
}

// lifetime says when the servers end.
type lifetime int

const (
	attached lifetime = iota // with this process
	detached                 // when they are stopped
)

// startAll starts one server of each kind in r, all at the same time, and returns the variables that lead to them.
// Attached ones stand aside for a server that is named in the environment already. After an error some may be
// running: r has their records.
func startAll(ctx context.Context, r *local.Run, jars string, ends lifetime) ([]string, error) {
	starters := map[string]func(dir string, l local.Launch) (*local.Server, error){
		"redis":    func(dir string, l local.Launch) (*local.Server, error) { return local.StartRedis(ctx, dir, l) },
		"postgres": func(dir string, l local.Launch) (*local.Server, error) { return local.StartPostgres(ctx, dir, l) },
		"mariadb": func(dir string, l local.Launch) (*local.Server, error) {
			if server := os.Getenv(mysqlVariable); server != "" {
				return local.StartMySQL(ctx, dir, server, l)
			}
			return local.StartMariaDB(ctx, dir, l)
		},
		"kafka": func(dir string, l local.Launch) (*local.Server, error) { return local.StartKafka(ctx, dir, jars, l) },
	}
	var (
		mu       sync.Mutex
		settings []string
		errs     []error
		wg       sync.WaitGroup
	)
	note := func(rec local.Record) {
		if err := r.Note(rec); err != nil {
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		}
	}
	for name, start := range starters {
		if ends == attached && os.Getenv(variables[name]) != "" {
			continue
		}
		wg.Go(func() {
			var s *local.Server
			dir, err := r.Data(name)
			if err == nil {
				s, err = start(dir, local.Launch{Detached: ends == detached, Started: note})
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			settings = append(settings, setting(name, s.Addr))
		})
	}
	wg.Wait()
	return settings, errors.Join(errs...)
}

// up starts the detached servers of the checkout, unless all of them run.
func up(ctx context.Context, base string) (err error) {
	unlock, err := local.Lock(base)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := local.Sweep(base); err != nil {
		return err
	}
	r, err := local.OpenRun(base)
	if err != nil {
		return err
	}
	if len(running(r)) == len(variables) {
		fmt.Fprintln(os.Stderr, "services: up already")
		return nil
	}
	// Some are missing: a reboot, a crash, an up that was interrupted. Their data is of no value, so all start anew.
	if err := r.Remove(); err != nil {
		return err
	}
	began := time.Now()
	jars, err := local.FetchKafka(ctx, base, os.Stderr)
	if err != nil {
		return err
	}
	if r, err = local.OpenRun(base); err != nil {
		return err
	}
	if _, err = startAll(ctx, r, jars, detached); err != nil {
		return errors.Join(err, r.Remove())
	}
	fmt.Fprintf(os.Stderr, "services: up in %.1f s; `eval \"$(make -s services-env)\"` leads the tests to them\n",
		time.Since(began).Seconds())
	return nil
}

// running are the records of the servers that are there and accept connections.
func running(r *local.Run) map[string]local.Record {
	alive := map[string]local.Record{}
	for _, rec := range r.Records() {
		conn, err := net.DialTimeout("tcp", rec.Addr, 2*time.Second)
		if err != nil {
			continue
		}
		conn.Close()
		if rec.Alive() {
			alive[rec.Name] = rec
		}
	}
	return alive
}

// programs are the names under which the programs look for each kind of server.
var programs = map[string]string{"redis": "REDIS_URL", "postgres": "DATABASE_URL", "kafka": "KAFKA_BOOTSTRAP_SERVERS"}

// address is where a program of this repository finds the server.
func address(name, addr string) string {
	switch name {
	case "redis":
		return "redis://" + addr
	case "postgres":
		return local.PostgresURL(addr, "postgres")
	}
	return addr
}

// env prints the variables that lead tests, and the programs, to the detached servers.
func env(base string) error {
	r, err := local.OpenRun(base)
	if err != nil {
		return err
	}
	alive := running(r)
	if len(alive) < len(variables) {
		return errors.New("they are not up: make services-up")
	}
	for _, name := range []string{"redis", "postgres", "mariadb", "kafka"} {
		fmt.Printf("export '%s'\n", setting(name, alive[name].Addr))
		if program, ok := programs[name]; ok { // no program of ours works on MariaDB
			fmt.Printf("export '%s=%s'\n", program, address(name, alive[name].Addr))
		}
	}
	return nil
}

// down ends the detached servers and sweeps.
func down(base string) error {
	unlock, err := local.Lock(base)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := local.Sweep(base); err != nil {
		return err
	}
	r, err := local.OpenRun(base)
	if err != nil {
		return err
	}
	return r.Remove()
}
