package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestGuide_MultiProcess runs the commands of docs/guides/multi-process.md, in their order, in one shell. The
// services are this test's, the ports are free ones, and the topic is fresh; the rest is as it is written.
func TestGuide_MultiProcess(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "psql"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the guide needs %s", tool)
		}
	}
	w := newWorld(t)
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/guides/multi-process.md")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	script.WriteString("set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n")
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 7 {
		t.Fatalf("%d blocks of commands", len(blocks))
	}
	for _, b := range blocks {
		script.WriteString(b[1])
	}
	script.WriteString("echo the end of the guide\n")
	commands := strings.ReplaceAll(script.String(), "product_events", w.topic)
	commands = strings.Replace(commands, "go build -o .build/ ./cmd/...", ":", 1)
	commands = strings.ReplaceAll(commands, ".build/", dir+"/")
	for _, port := range []string{"8081", "8082", "8083", "8090", "8091"} {
		commands = strings.ReplaceAll(commands, port, freePort(t))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", commands)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = os.Environ()
	for _, v := range []string{"DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "KAFKA_PRODUCT_TOPIC",
		"KAFKA_GROUP_ID"} {
		cmd.Env = append(cmd.Env, v+"="+w.env[v])
	}
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, tail(out.String(), 4000), tail(log.String(), 4000))
	}
	for _, want := range []string{`"program":"outbox-relay"`, `"program":"invalidation-worker"`, `"ready":true`,
		`{"id":"lamp","name":"Desk Lamp","price":49.90}`, `"price":39.90`, "value, version", "incarnation",
		"events    the relay has published",
		"the end of the guide"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the guide does not show %s:\n%s", want, tail(out.String(), 4000))
		}
	}
	if n := strings.Count(out.String(), `"price":39.90`); n != 3 {
		t.Errorf("%d answers after the change by hand show it, want two reads and what inspect prints", n)
	}
	if n := strings.Count(log.String(), "draining: not ready"); n != 3 {
		t.Errorf("%d servers drained, want 3:\n%s", n, tail(log.String(), 4000))
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}
