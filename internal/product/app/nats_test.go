package app_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/nearcache/nearcache-go/internal/product/app"
	"github.com/nearcache/nearcache-go/internal/product/app/apptest"
	"github.com/nearcache/nearcache-go/internal/services/natstest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// TestServer_ByNATS: events go by NATS in the place of Kafka. The relay makes the stream, and every instance follows it
// and sees a write of another one, also once Redis is gone.
func TestServer_ByNATS(t *testing.T) {
	srv := natstest.Start(t, natsserver.Options{Username: "u", Password: "right"})
	redis := nearcachetest.NewRedis(t)
	env := environment{"DATABASE_URL": "sqlite:" + filepath.Join(t.TempDir(), "products.db"), "REDIS_URL": redis.Addr(),
		"NATS_URL": srv.ClientURL(), "NATS_USER": "u", "NATS_PASSWORD": "right", "INSTANCES": "2",
		"SEED_PRODUCTS": "10", "ADMIN_LISTEN_ADDR": "api"}
	u := apptest.Start(t, env.get).URLs
	do := func(method, url, body string) string {
		t.Helper()
		_, answer := testkit.HTTP(t, method, url, body)
		return answer
	}
	followed := func() bool {
		for _, url := range u {
			if !strings.Contains(do("GET", url+"/metrics", ""), `nearcache_channel_up{channel="events"} 1`) {
				return false
			}
		}
		return true
	}
	testkit.Eventually(t, "both follow the events", followed)
	write := func(name string) {
		t.Helper()
		do("PUT", u[0]+"/products/p00005", `{"name":"`+name+`","price":1}`)
		testkit.Eventually(t, "the other instance serves "+name, func() bool {
			return strings.Contains(do("GET", u[1]+"/products/p00005", ""), name)
		})
	}
	write("one")
	testkit.Eventually(t, "the relay counts what it has published", func() bool {
		return strings.Contains(do("GET", u[0]+"/metrics", ""), `nearcache_relay_events_total{channel="events"}`)
	})
	redis.Stop()
	write("two")
}

// TestParse_OneEventChannel: events go by Kafka or by NATS, and settings that would have no effect are refused.
func TestParse_OneEventChannel(t *testing.T) {
	with := environment{"KAFKA_BOOTSTRAP_SERVERS": "", "NATS_URL": "nats://u:hunter2@h:4222"}
	if _, err := app.Parse(app.OutboxRelay, nil, services(with).get); err != nil {
		t.Errorf("NATS alone: %v", err)
	}
	for name, more := range map[string]environment{
		"KAFKA_BOOTSTRAP_SERVERS": {"NATS_URL": "nats://u:hunter2@h"},
		"NATS_URL":                {"NATS_USER": "u", "NATS_PASSWORD": "hunter2"},
		"KAFKA_ALSO_UPDATED":      {"KAFKA_BOOTSTRAP_SERVERS": "", "NATS_URL": "h", "KAFKA_ALSO_UPDATED": "true"},
		"NATS_REPLICAS":           {"KAFKA_BOOTSTRAP_SERVERS": "", "NATS_URL": "h", "NATS_REPLICAS": "0"},
		"NATS_STREAM":             {"KAFKA_BOOTSTRAP_SERVERS": "", "NATS_URL": "h", "NATS_STREAM": "a.b"},
	} {
		_, err := app.Parse(app.OutboxRelay, nil, services(more).get)
		if !errors.Is(err, app.ErrUsage) || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v: got error %v, want ErrUsage that names %s and no password", more, err, name)
		}
	}
}
