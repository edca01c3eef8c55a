package kafka_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/nearcache/nearcache-go/coherence/kafka"
)

// A password goes over TLS only. The same Broker serves Tail, PublisherConfig and Worker.
func ExampleBroker_saslPlain() {
	broker := kafka.Broker{
		Brokers: []string{"kafka-1:9093", "kafka-2:9093"},
		Transport: &kafkago.Transport{
			DialTimeout: time.Second,
			TLS:         &tls.Config{MinVersion: tls.VersionTLS12},
			SASL:        plain.Mechanism{Username: "nearcache", Password: os.Getenv("KAFKA_PASSWORD")},
		},
	}
	_ = kafka.Tail{Broker: broker, Topic: "product_events"}
}

func ExampleBroker_saslScram() {
	mechanism, err := scram.Mechanism(scram.SHA512, "nearcache", os.Getenv("KAFKA_PASSWORD"))
	if err != nil {
		return // the password holds characters that SCRAM forbids
	}
	broker := kafka.Broker{
		Brokers: []string{"kafka-1:9093"},
		Transport: &kafkago.Transport{DialTimeout: time.Second,
			TLS: &tls.Config{MinVersion: tls.VersionTLS12}, SASL: mechanism},
	}
	_ = kafka.Tail{Broker: broker, Topic: "product_events"}
}

// A certificate of the client's own (mutual TLS), and a certificate authority of the company's own.
func ExampleBroker_mutualTLS() {
	own, err := tls.LoadX509KeyPair("client.crt", "client.key")
	if err != nil {
		return
	}
	ca, err := os.ReadFile("ca.crt")
	if err != nil {
		return
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	broker := kafka.Broker{
		Brokers: []string{"kafka-1:9093"},
		Transport: &kafkago.Transport{
			DialTimeout: time.Second,
			TLS:         &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{own}, RootCAs: roots},
		},
	}
	_ = kafka.Tail{Broker: broker, Topic: "product_events"}
}

// A worker's health: no reasons means that it does its work in time.
func ExampleWorker_Status() {
	worker := &kafka.Worker{
		Broker:  kafka.Broker{Brokers: []string{"localhost:9092"}},
		Topic:   "product_events",
		GroupID: "nearcache_invalidation_worker",
		// L2: what tier.Open returns
	}
	go func() { _ = worker.Run(context.Background()) }()
	for _, reason := range worker.Status().Reasons {
		println(reason.Code, reason.Text)
	}
}
