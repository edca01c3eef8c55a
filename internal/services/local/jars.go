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
var pom []byte

// KafkaJars is where the jars of the Kafka named in pom.xml belong under base (a checkout's .services), and whether
// they are there. Another pom has another directory.
func KafkaJars(base string) (dir string, there bool) {
	sum := sha256.Sum256(pom)
	dir = filepath.Join(base, "kafka", hex.EncodeToString(sum[:6]))
	_, err := os.Stat(dir)
	return dir, err == nil
}

// FetchKafka has Maven bring Kafka's jars to KafkaJars(base), unless they are there, and returns that directory.
// Callers in several processes exclude each other (Lock). The directory appears complete or not at all.
func FetchKafka(ctx context.Context, base string, progress io.Writer) (string, error) {
	dir, there := KafkaJars(base)
	if there {
		return dir, nil
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return "", errors.Join(missing("mvn, which fetches Kafka's jars", "maven"), byHand(dir))
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("local: fetch Kafka: %w", err)
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "fetch-")
	if err != nil {
		return "", fmt.Errorf("local: fetch Kafka: %w", err)
	}
	defer os.RemoveAll(work)
	project, jars := filepath.Join(work, "pom.xml"), filepath.Join(work, "jars")
	if err := os.WriteFile(project, pom, 0o644); err != nil {
		return "", fmt.Errorf("local: fetch Kafka: %w", err)
	}
	fmt.Fprintln(progress, "fetching Kafka's jars with Maven")
	cmd := exec.CommandContext(ctx, mvn, "--batch-mode", "--quiet", "-f", project, "dependency:copy-dependencies",
		"-DoutputDirectory="+jars)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("local: fetch Kafka: mvn: %w:\n%s", err, out), byHand(dir))
	}
	if err := os.Rename(jars, dir); err != nil {
		return "", fmt.Errorf("local: fetch Kafka: %w", err)
	}
	return dir, nil
}

func byHand(dir string) error {
	return fmt.Errorf("without Maven or its registry: put the jars of the artifacts in internal/services/local/pom.xml,"+
		" and of all they depend on, into %s", dir)
}
