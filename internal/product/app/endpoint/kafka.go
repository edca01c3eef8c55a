package endpoint

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// KafkaSecurity is how a program shows Kafka's brokers who it is, and they it, in the words of Kafka's own clients. The
// zero value is PLAINTEXT.
type KafkaSecurity struct {
	Protocol       string // PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL
	Mechanism      string // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	User, Password string // of SASL
	CAFile         string // certificates that sign those of the brokers; empty: those of the system
	CertFile       string // the client's certificate and its key; empty: none
	KeyFile        string
}

// KafkaOver is a transport for PLAINTEXT that connects by a function of the caller's.
func KafkaOver(dial func(ctx context.Context, network, address string) (net.Conn, error)) *kafka.Transport {
	t := transport()
	t.Dial = dial
	return t
}

func transport() *kafka.Transport {
	return &kafka.Transport{DialTimeout: time.Second, MetadataTTL: 2 * time.Second, ClientID: "nearcache"}
}

// Transport is what kafka-go connects with; nil is kafka-go's own, for PLAINTEXT. No error shows the password.
func (s KafkaSecurity) Transport() (*kafka.Transport, error) {
	t := transport()
	protocol := strings.ToUpper(s.Protocol)
	encrypted, authenticated := strings.HasSuffix(protocol, "SSL"), strings.HasPrefix(protocol, "SASL")
	switch protocol {
	case "", "PLAINTEXT":
		if s != (KafkaSecurity{Protocol: s.Protocol}) {
			return nil, errors.New("KAFKA_SECURITY_PROTOCOL is PLAINTEXT, so the other settings of Kafka's security have " +
				"no effect; set SSL, SASL_PLAINTEXT or SASL_SSL")
		}
		return nil, nil
	case "SSL", "SASL_PLAINTEXT", "SASL_SSL":
	default:
		return nil, fmt.Errorf("KAFKA_SECURITY_PROTOCOL is %.40q: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL", s.Protocol)
	}
	var err error
	if encrypted {
		if t.TLS, err = s.tls(); err != nil {
			return nil, err
		}
	} else if s.CAFile+s.CertFile+s.KeyFile != "" {
		return nil, errors.New("KAFKA_SECURITY_PROTOCOL is SASL_PLAINTEXT, so certificates have no effect; set SASL_SSL")
	}
	if authenticated {
		if t.SASL, err = s.sasl(); err != nil {
			return nil, err
		}
	} else if s.Mechanism+s.User+s.Password != "" {
		return nil, errors.New("KAFKA_SECURITY_PROTOCOL is SSL, so SASL's settings have no effect; set SASL_SSL")
	}
	return t, nil
}

func (s KafkaSecurity) tls() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("KAFKA_SSL_CA_FILE: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("KAFKA_SSL_CA_FILE holds no certificate in PEM")
		}
	}
	if s.CertFile == "" && s.KeyFile == "" {
		return cfg, nil
	}
	pair, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("KAFKA_SSL_CERT_FILE and KAFKA_SSL_KEY_FILE: %w", err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	return cfg, nil
}

func (s KafkaSecurity) sasl() (m sasl.Mechanism, err error) {
	if s.User == "" || s.Password == "" {
		return nil, errors.New("KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD are needed for SASL")
	}
	switch strings.ToUpper(s.Mechanism) {
	case "", "PLAIN":
		return plain.Mechanism{Username: s.User, Password: s.Password}, nil
	case "SCRAM-SHA-256":
		m, err = scram.Mechanism(scram.SHA256, s.User, s.Password)
	case "SCRAM-SHA-512":
		m, err = scram.Mechanism(scram.SHA512, s.User, s.Password)
	default:
		return nil, fmt.Errorf("KAFKA_SASL_MECHANISM is %.40q: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", s.Mechanism)
	}
	if err != nil {
		return nil, errors.New("the name or the password of SASL has characters that SCRAM does not allow")
	}
	return m, nil
}
