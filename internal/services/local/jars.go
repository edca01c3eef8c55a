//go:build unix

package local

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed pom.xml
var kafkaPOM []byte

//go:embed connect-pom.xml
var connectPOM []byte

// jars is a set of jars that Maven brings.
type jars struct {
	name, directory, file string
	pom                   []byte
}

var (
	kafkaJars   = jars{"Kafka", "kafka", "pom.xml", kafkaPOM}
	connectJars = jars{"Kafka Connect", "connect", "connect-pom.xml", connectPOM}
)

// at is where the set belongs under base, and whether it is there. Another pom has another directory.
func (j *jars) at(base string) (dir string, there bool) {
	sum := sha256.Sum256(j.pom)
	dir = filepath.Join(base, j.directory, hex.EncodeToString(sum[:6]))
	_, err := os.Stat(dir)
	return dir, err == nil
}

// KafkaJars is where the jars of the Kafka named in pom.xml belong under base (a checkout's .services), and whether
// they are there.
func KafkaJars(base string) (dir string, there bool) { return kafkaJars.at(base) }

// FetchKafka has Maven bring Kafka's jars to KafkaJars(base), unless they are there, and returns that directory.
// Callers in several processes exclude each other (Lock). The directory appears complete or not at all.
func FetchKafka(ctx context.Context, base string, progress io.Writer) (string, error) {
	return kafkaJars.fetch(ctx, base, progress)
}

// FetchConnect is FetchKafka for Kafka Connect and the connector in connect-pom.xml.
func FetchConnect(ctx context.Context, base string, progress io.Writer) (string, error) {
	return connectJars.fetch(ctx, base, progress)
}

func (j *jars) fetch(ctx context.Context, base string, progress io.Writer) (string, error) {
	dir, there := j.at(base)
	if there {
		return dir, nil
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return "", errors.Join(missing("mvn, which fetches the jars of "+j.name, "maven"), j.byHand(dir))
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("local: fetch %s: %w", j.name, err)
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "fetch-")
	if err != nil {
		return "", fmt.Errorf("local: fetch %s: %w", j.name, err)
	}
	defer os.RemoveAll(work)
	project, out := filepath.Join(work, "pom.xml"), filepath.Join(work, "jars")
	if err := os.WriteFile(project, j.pom, 0o644); err != nil {
		return "", fmt.Errorf("local: fetch %s: %w", j.name, err)
	}
	fmt.Fprintln(progress, "fetching the jars of "+j.name+" with Maven")
	cmd := exec.CommandContext(ctx, mvn, "--batch-mode", "--quiet", "-f", project, "dependency:copy-dependencies",
		"-DincludeScope=runtime", "-DoutputDirectory="+out)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("local: fetch %s: mvn: %w:\n%s", j.name, err, out), j.byHand(dir))
	}
	if err := os.Rename(out, dir); err != nil {
		return "", fmt.Errorf("local: fetch %s: %w", j.name, err)
	}
	return dir, nil
}

func (j *jars) byHand(dir string) error {
	return fmt.Errorf("without Maven or its registry: put the jars of the artifacts in internal/services/local/%s,"+
		" and of all they depend on, into %s", j.file, dir)
}
