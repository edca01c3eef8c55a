//go:build unix

package local

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// StartConnect starts a standalone Kafka Connect worker with one connector, and returns once the connector and its
// tasks run. Its files are under dir, which must exist; jars is the directory with Connect's jars (FetchConnect).
// Values are JSON; converter settings are among the connector's. The error wraps ErrMissing if there is no Java.
func StartConnect(ctx context.Context, dir, jars string, l Launch, brokers []string, connector map[string]string) (
	*Server, error) {
	java, err := findJava()
	if err != nil {
		return nil, err
	}
	worker, task := filepath.Join(dir, "worker.properties"), filepath.Join(dir, "connector.properties")
	if err := os.WriteFile(task, properties(connector), 0o644); err != nil {
		return nil, fmt.Errorf("local: start connect: %w", err)
	}
	return start(ctx, spec{
		name: "connect",
		path: java,
		args: func(port int) []string {
			_ = os.WriteFile(worker, properties(map[string]string{ // a failure shows when the worker reads the file
				"bootstrap.servers":             strings.Join(brokers, ","),
				"listeners":                     "HTTP://" + loopback(port),
				"key.converter":                 "org.apache.kafka.connect.json.JsonConverter",
				"value.converter":               "org.apache.kafka.connect.json.JsonConverter",
				"offset.storage.file.filename":  filepath.Join(dir, "offsets"),
				"offset.flush.interval.ms":      "1000",
				"plugin.discovery":              "only_scan",
				"topic.creation.enable":         "true",
				"scheduled.rebalance.max.delay": "0",
			}), 0o644)
			return append(append([]string{}, jvm...), "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp",
				filepath.Join(jars, "*"), "org.apache.kafka.connect.cli.ConnectStandalone", worker, task)
		},
		check: func(ctx context.Context, s *Server) error { return checkConnect(ctx, s, connector["name"]) },
		stop:  syscall.SIGTERM,
		death: syscall.SIGKILL,
	}, dir, l)
}

func properties(p map[string]string) []byte {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&b, "%s=%s\n", name, p[name])
	}
	return []byte(b.String())
}

// checkConnect asks the worker how its connector does.
func checkConnect(ctx context.Context, s *Server, connector string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr+"/connectors/"+connector+"/status", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var status struct {
		Connector struct{ State string }
		Tasks     []struct{ State, Trace string }
	}
	if err := json.NewDecoder(res.Body).Decode(&status); err != nil {
		return fmt.Errorf("local: connect: %s: %w", res.Status, err)
	}
	if status.Connector.State != "RUNNING" || len(status.Tasks) == 0 {
		return fmt.Errorf("local: the connector is %q", status.Connector.State)
	}
	for _, task := range status.Tasks {
		if task.State != "RUNNING" {
			return fmt.Errorf("local: a task of the connector is %q: %.300s", task.State, task.Trace)
		}
	}
	return nil
}
