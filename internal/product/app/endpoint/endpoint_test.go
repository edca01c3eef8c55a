package endpoint_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/product/app/endpoint"
)

func TestRedis_WithAndWithoutAScheme(t *testing.T) {
	for address, want := range map[string]string{"redis://h:7": "h:7", "h:7": "h:7", "h": "h:6379",
		"127.0.0.1:7/2":    "127.0.0.1:7",
		"user:hunter2@h:7": "h:7", "redis://:hunter2@h:7/1": "h:7", "rediss://h:7": "h:7", "[::1]:7": "[::1]:7"} {
		opt, err := endpoint.Redis(address)
		if err != nil || !slices.Equal(opt.InitAddress, []string{want}) {
			t.Errorf("%s: %v, %v; want %s", address, opt.InitAddress, err, want)
		}
		if strings.Contains(address, "hunter2") && opt.Password != "hunter2" {
			t.Errorf("%s: password %q", address, opt.Password)
		}
	}
}

func TestRedis_RefusesWhatItWouldIgnore(t *testing.T) {
	for _, address := range []string{"redis://h:7?nosuch=1", "h:7?pool_size=9", "unix://", "unix://?db=1",
		"redis://h:7/1?hunter2"} {
		if opt, err := endpoint.Redis(address); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, %v; want an error", address, opt.InitAddress, err)
		}
	}
	for _, address := range []string{"redis://h:7?db=3&dial_timeout=1s&client_name=x", "unix:///run/redis.sock?db=1",
		"rediss://h:7?addr=i:7&skip_verify"} {
		if _, err := endpoint.Redis(address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestRedisAt_TakesAHostAlone(t *testing.T) {
	for host, want := range map[string]string{"h": "h:7", "127.0.0.1": "127.0.0.1:7", "::1": "[::1]:7", "[::1]": "[::1]:7",
		"fe80::1%eth0": "[fe80::1%eth0]:7"} {
		if opt, err := endpoint.RedisAt(host, "7"); err != nil || !slices.Equal(opt.InitAddress, []string{want}) {
			t.Errorf("%q: %v, %v; want %s", host, opt.InitAddress, err, want)
		}
	}
	for _, host := range []string{"", "h:7", " h", "h ", "redis://h", "u:hunter2@h", "a/b", "[h:7]", "1:2"} {
		if opt, err := endpoint.RedisAt(host, "7"); err == nil || !strings.Contains(err.Error(), "REDIS_HOST") ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, %v; want an error that names the variable", host, opt.InitAddress, err)
		}
	}
	if _, err := endpoint.RedisAt("h", "0"); err == nil || !strings.Contains(err.Error(), "REDIS_PORT") {
		t.Errorf("port 0: %v", err)
	}
}

// TestErrors_ShowNoPassword: nor any piece of one, where the address cannot be parsed.
func TestErrors_ShowNoPassword(t *testing.T) {
	for _, address := range []string{"redis://u:hunter2@", "redis://u:hunter2@h:port", "redis://u:hun/ter2@h:7",
		"://hunter2", "redis://u:hun ter2@h:7",
		"redis://u:hunter2%zz@h:7", "ftp://u:hunter2@h:7", "redis://u:hunter2@h:7/x", "redis://u:hunter2@h:0",
		"redis://u:hunter2@h:70000",
		"redis://", ":6379", "::", "redis://h:7:8", "u:hunter2@"} {
		if opt, err := endpoint.Redis(address); err == nil || strings.Contains(err.Error(), "hun") ||
			strings.Contains(err.Error(), "ter2") {
			t.Errorf("%s: got %v and error %v, want an error without the password", address, opt.InitAddress, err)
		}
	}
	for _, address := range []string{"postgres://u:hunter2@h:port/d", "postgres://u:hun/ter2@h:7/d", "mysql://u:hunter2@h",
		"host=h password=hunter2",
		"postgres://u:hunter2%zz@h", "postgres://u:hunter2@h/d?sslmode=nonsense",
		"postgres://h/d?password=hunter2&connect_timeout=x"} {
		if _, err := endpoint.Postgres(address); err == nil || strings.Contains(err.Error(), "hun") ||
			strings.Contains(err.Error(), "ter2") {
			t.Errorf("%s: got error %v, want one without the password", address, err)
		}
	}
	for _, list := range []string{"h", ",", "h:x", "h:7,", ":9092", "h:70000", "u:hunter2@h:9092"} {
		b, err := endpoint.Brokers(list)
		if list == "h:7," {
			if err != nil || !slices.Equal(b, []string{"h:7"}) {
				t.Errorf("%s: got %v and error %v, want one broker", list, b, err)
			}
			continue
		}
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v and error %v, want an error without the password", list, b, err)
		}
	}
	for _, s := range []string{"dial redis://u:hunter2@h:7: refused", "postgres://u:hun@ter2@h/d",
		"postgres://h/d?password=hunter2&x=1", "PASSWORD=hunter2"} {
		if got := endpoint.Redact(s); strings.Contains(got, "hun") || strings.Contains(got, "ter2") {
			t.Errorf("%s becomes %s", s, got)
		}
	}
	for _, s := range []string{"nothing of the kind: host h:7",
		"it has the form postgres://user:password@host:port/database",
		"it has the form redis://[user:password@]host:port"} {
		if endpoint.Redact(s) != s {
			t.Error(endpoint.Redact(s))
		}
	}
}
