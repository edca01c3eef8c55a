package app_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/product/app"
)

func TestParse_FlagsWinOverTheEnvironment(t *testing.T) {
	env := map[string]string{"CACHE_TTL_SECONDS": "60", "REDIS_HOST": "r", "KAFKA_GROUP_ID": "g"}
	c, err := app.Parse("x", []string{"-ttl", "30"}, func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	if c.TTLSeconds != 30 || c.RedisHost != "r" || c.GroupID != "g" || c.Topic != "product_events" || c.RedisPort != "6379" {
		t.Errorf("%+v", c)
	}
	d, err := app.Parse("x", nil, func(string) string { return "" })
	if err != nil || d.TTLSeconds != 300 || d.GroupID != "cache_invalidator_group" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestParse_NamesWhatIsWrong(t *testing.T) {
	for key, value := range map[string]string{"CACHE_TTL_SECONDS": "0", "INSTANCES": "many", "LISTEN_ADDR": "nowhere", "DATABASE_URL": "mysql://x",
		"REDIS_URL": "::", "LOG_LEVEL": "loud", "RELAY": "maybe"} {
		_, err := app.Parse("x", nil, func(k string) string { return map[string]string{key: value}[k] })
		if !errors.Is(err, app.ErrUsage) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s=%s: %v", key, value, err)
		}
	}
	if _, err := app.Parse("x", []string{"stray"}, func(string) string { return "" }); !errors.Is(err, app.ErrUsage) {
		t.Errorf("%v", err)
	}
}
