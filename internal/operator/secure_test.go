package operator_test

import (
	"crypto/tls"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// TestRun_KafkaOverTLSWithSASL: the variables lead to a cluster that lets nobody else in, and no message shows the
// password.
func TestRun_KafkaOverTLSWithSASL(t *testing.T) {
	certified := httptest.NewTLSServer(nil) // for its certificate, of 127.0.0.1
	defer certified.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certified.Certificate().Raw})
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "topic"), kfake.EnableSASL(),
		kfake.Superuser("SCRAM-SHA-256", "operator", secret),
		kfake.TLS(&tls.Config{Certificates: certified.TLS.Certificates}))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	env := map[string]string{"KAFKA_BOOTSTRAP_SERVERS": strings.Join(cluster.ListenAddrs(), ","),
		"KAFKA_PRODUCT_TOPIC": "topic", "KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
		"KAFKA_SASL_USERNAME": "operator", "KAFKA_SASL_PASSWORD": secret, "KAFKA_SSL_CA_FILE": file}
	must(t, env, "0 would be applied", "replay", "--from", "earliest")
	must(t, env, "holds no dead letters", "dlq", "list")
	for name, wrong := range map[string]map[string]string{
		"another password":   {"KAFKA_SASL_PASSWORD": secret + "x"},
		"nobody's mechanism": {"KAFKA_SASL_MECHANISM": "PLAIN"},
		"no certificates":    {"KAFKA_SSL_CA_FILE": ""},
		"no TLS":             {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SSL_CA_FILE": ""},
	} {
		bad := func(k string) string {
			if v, ok := wrong[k]; ok {
				return v
			}
			return env[k]
		}
		with := map[string]string{}
		for k := range env {
			with[k] = bad(k)
		}
		code, out, errOut := call(t, with, "replay", "--from", "earliest", "--timeout", "5s")
		if code != 1 || strings.Contains(out+errOut, secret) {
			t.Errorf("%s: got the exit code %d and\n%s%s\nwant 1 and no password", name, code, out, errOut)
		}
	}
}
