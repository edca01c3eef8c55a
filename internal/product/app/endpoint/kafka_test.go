package endpoint_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/product/app/endpoint"
)

func TestKafkaSecurity(t *testing.T) {
	const secret = "hunter2"
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		s         endpoint.KafkaSecurity
		mechanism string // of the transport that it makes
		encrypted bool
		wrong     string
	}{
		"plain":       {s: endpoint.KafkaSecurity{}},
		"named plain": {s: endpoint.KafkaSecurity{Protocol: "plaintext"}},
		"TLS":         {s: endpoint.KafkaSecurity{Protocol: "SSL"}, encrypted: true},
		"SASL": {s: endpoint.KafkaSecurity{Protocol: "SASL_PLAINTEXT", User: "u", Password: secret},
			mechanism: "PLAIN"},
		"SCRAM over TLS": {s: endpoint.KafkaSecurity{Protocol: "sasl_ssl", Mechanism: "scram-sha-512", User: "u",
			Password: secret}, mechanism: "SCRAM-SHA-512", encrypted: true},

		"another protocol": {s: endpoint.KafkaSecurity{Protocol: "TLS"}, wrong: "SASL_SSL"},
		"a password that would go unused": {s: endpoint.KafkaSecurity{User: "u", Password: secret},
			wrong: "PLAINTEXT"},
		"SASL that would go unused": {s: endpoint.KafkaSecurity{Protocol: "SSL", User: "u"}, wrong: "SASL_SSL"},
		"certificates that would go unused": {s: endpoint.KafkaSecurity{Protocol: "SASL_PLAINTEXT", CAFile: "x"},
			wrong: "SASL_SSL"},
		"no password": {s: endpoint.KafkaSecurity{Protocol: "SASL_SSL", User: "u"},
			wrong: "KAFKA_SASL_PASSWORD"},
		"another mechanism": {s: endpoint.KafkaSecurity{Protocol: "SASL_SSL", Mechanism: "GSSAPI", User: "u",
			Password: secret}, wrong: "SCRAM-SHA-256"},
		"no file":        {s: endpoint.KafkaSecurity{Protocol: "SSL", CAFile: empty + "x"}, wrong: "KAFKA_SSL_CA_FILE"},
		"an empty file":  {s: endpoint.KafkaSecurity{Protocol: "SSL", CAFile: empty}, wrong: "no certificate"},
		"a key, no cert": {s: endpoint.KafkaSecurity{Protocol: "SSL", KeyFile: empty}, wrong: "KAFKA_SSL_CERT_FILE"},
	} {
		transport, err := c.s.Transport()
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) || strings.Contains(err.Error(), secret) {
				t.Errorf("%s: got error %v, want one that says %q", name, err, c.wrong)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: got error %v, want none", name, err)
			continue
		}
		if transport == nil {
			if c.encrypted || c.mechanism != "" {
				t.Errorf("%s: got a plain connection", name)
			}
			continue
		}
		if (transport.TLS != nil) != c.encrypted {
			t.Errorf("%s: got TLS %v, want %v", name, transport.TLS != nil, c.encrypted)
		}
		if (transport.SASL != nil) != (c.mechanism != "") || transport.SASL != nil && transport.SASL.Name() != c.mechanism {
			t.Errorf("%s: got SASL %v, want %q", name, transport.SASL, c.mechanism)
		}
	}
}
