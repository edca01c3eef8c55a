//go:build unix

package local

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// jvm keeps a broker that serves tests small and quick to start: the second compiler and a parallel collector pay off
// in hours.
var jvm = []string{"-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
	"-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.showDateTime=true"}

// StartKafka starts an Apache Kafka broker, one node in KRaft mode, whose data is under dir, which must exist; jars
// is the directory with Kafka's jars (FetchKafka). Topics are not made on first use. settings ("name=value") are
// added to server.properties and win. The error wraps ErrMissing if there is no Java or no jars.
func StartKafka(ctx context.Context, dir, jars string, l Launch, settings ...string) (*Server, error) {
	java, err := findJava()
	if err != nil {
		return nil, err
	}
	if found, _ := filepath.Glob(filepath.Join(jars, "kafka_*.jar")); len(found) == 0 {
		return nil, fmt.Errorf("%w: Kafka's jars", ErrMissing)
	}
	classpath := filepath.Join(jars, "*")
	properties := filepath.Join(dir, "server.properties")
	k := &kafkaConfig{data: filepath.Join(dir, "data"), settings: settings}

	if _, err := os.Stat(filepath.Join(k.data, "meta.properties")); err != nil {
		if err := k.write(properties, lowestPort-1); err != nil {
			return nil, err
		}
		format := exec.CommandContext(ctx, java, append(append([]string{}, jvm...),
			"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classpath, "kafka.tools.StorageTool", "format",
			"--cluster-id", "bmVhcmNhY2hlLXRlc3RzMA", "--config", properties)...)
		if out, err := format.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("local: kafka.tools.StorageTool format: %w: %s", err, strings.TrimSpace(string(out)))
		}
	}
	return start(ctx, spec{
		name: "kafka",
		path: java,
		args: func(port int) []string {
			// Written again for each port: the file names it. A failure to write shows when the broker reads the file.
			_ = k.write(properties, port)
			return append(append([]string{}, jvm...), "-cp", classpath, "kafka.Kafka", properties)
		},
		check: checkKafka,
		stop:  syscall.SIGTERM,
		death: syscall.SIGKILL,
	}, dir, l)
}

type kafkaConfig struct {
	data             string
	settings         []string
	port, controller int
}

// write writes server.properties for a broker on port. The controller's port changes with the broker's, since either
// may have been the one that was lost, and stays where it stays.
func (k *kafkaConfig) write(path string, port int) error {
	if k.controller == 0 || k.port != port {
		controller, err := freePort()
		if err != nil {
			return err
		}
		k.port, k.controller = port, controller
	}
	lines := []string{
		"process.roles=broker,controller",
		"node.id=1",
		"controller.quorum.voters=1@" + loopback(k.controller),
		"controller.listener.names=CONTROLLER",
		"listeners=PLAINTEXT://" + loopback(port) + ",CONTROLLER://" + loopback(k.controller),
		"advertised.listeners=PLAINTEXT://" + loopback(port),
		"log.dirs=" + k.data,
		// One broker: replicate nothing, and do not spend 50 partitions' files on the offsets of a few groups.
		"offsets.topic.replication.factor=1",
		"offsets.topic.num.partitions=4",
		"transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1",
		"transaction.state.log.num.partitions=4",
		"share.coordinator.state.topic.replication.factor=1",
		"share.coordinator.state.topic.min.isr=1",
		// A test that misspells a topic must fail, and one that deletes its topic must see it go.
		"auto.create.topics.enable=false",
		"delete.topic.enable=true",
		// Groups form, and members are noticed gone, in test time.
		"group.initial.rebalance.delay.ms=0",
		"group.min.session.timeout.ms=500",
		// A broker that was killed may come back only when its controller has noticed that it was gone.
		"broker.session.timeout.ms=3000",
		"broker.heartbeat.interval.ms=500",
		// Retention and log cleaning work on small, young data.
		"log.retention.check.interval.ms=1000",
		"log.segment.delete.delay.ms=100",
		"log.cleaner.dedupe.buffer.size=4194304",
		"log.cleaner.threads=1",
		"num.network.threads=2",
		"num.io.threads=2",
		"background.threads=2",
		"controlled.shutdown.enable=false",
	}
	lines = append(lines, k.settings...)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		return fmt.Errorf("local: write server.properties: %w", err)
	}
	return nil
}

// checkKafka looks for the line that the broker logs once the controller has unfenced it: a connection is accepted
// earlier, when the first request would still fail, and on a port that was lost it is accepted by somebody else.
func checkKafka(_ context.Context, s *Server) error {
	b, err := os.ReadFile(s.Log())
	if err != nil {
		return err
	}
	if !bytes.Contains(b, []byte("Kafka Server started")) {
		return fmt.Errorf("local: kafka is not ready")
	}
	return nil
}
