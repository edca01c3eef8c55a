package app

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

func TestServeDebug_ShowsTheCaches(t *testing.T) {
	client, err := nearcache.New(nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	log := slog.New(slog.DiscardHandler)
	d, err := serveDebug("127.0.0.1:0", client, log)
	if err != nil {
		t.Fatal(err)
	}
	at := "http://" + d.listen.Addr().String()
	res, err := http.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), `"mode":"on"`) {
		t.Errorf("got %s, %s, %v; want the client's view", res.Status, body, err)
	}
	if _, err := serveDebug(d.listen.Addr().String(), client, log); err == nil ||
		!strings.Contains(err.Error(), "DEBUG_LISTEN_ADDR") {
		t.Errorf("an address in use: got error %v, want one that names the setting", err)
	}
	d.close()
	if _, err := http.Get(at); err == nil {
		t.Error("it is served after it was closed")
	}
	(*debugListener)(nil).close() // an instance without one
}

func TestParse_TheDebugListenerAndKafkasSecurity(t *testing.T) {
	for flag, want := range map[string]string{"-debug-listen=nowhere": "DEBUG_LISTEN_ADDR",
		"-kafka-protocol=TLS": "KAFKA_SECURITY_PROTOCOL", "-kafka-password=hunter2": "SASL_SSL"} {
		_, err := Parse(ProductServer, []string{flag}, func(string) string { return "" })
		if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got error %v, want one of usage that names %s", flag, err, want)
		}
	}
}
