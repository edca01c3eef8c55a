package endpoint_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/nearcache/nearcache-go/internal/product/app/endpoint"
)

func TestNATS(t *testing.T) {
	const secret = "hunter2"
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		n     endpoint.NATS
		user  string // that it connects as
		wrong string
	}{
		"none":        {n: endpoint.NATS{}},
		"one server":  {n: endpoint.NATS{URL: "nats://h:4222"}},
		"two":         {n: endpoint.NATS{URL: "tls://a, b:4222"}},
		"a user":      {n: endpoint.NATS{URL: "nats://h", User: "u", Password: secret}, user: "u"},
		"credentials": {n: endpoint.NATS{URL: "nats://h", CredsFile: empty}},

		"no URL":            {n: endpoint.NATS{User: "u", Password: secret}, wrong: "NATS_URL is not set"},
		"no host":           {n: endpoint.NATS{URL: "nats://u:" + secret + "@"}, wrong: "nats://"},
		"another scheme":    {n: endpoint.NATS{URL: "kafka://u:" + secret + "@h"}, wrong: "nats://"},
		"a port too high":   {n: endpoint.NATS{URL: "u:" + secret + "@h:99999"}, wrong: "nats://"},
		"nothing in a list": {n: endpoint.NATS{URL: "nats://h,"}, wrong: "nats://"},
		"no password":       {n: endpoint.NATS{URL: "nats://h", User: "u"}, wrong: "NATS_PASSWORD"},
		"no credentials":    {n: endpoint.NATS{URL: "nats://h", CredsFile: empty + "x"}, wrong: "NATS_CREDS"},
		"an empty file":     {n: endpoint.NATS{URL: "nats://h", CAFile: empty}, wrong: "NATS_CA"},
		"a key, no cert":    {n: endpoint.NATS{URL: "nats://h", KeyFile: empty}, wrong: "NATS_CERT"},
	} {
		opts, err := c.n.Options()
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) || strings.Contains(err.Error(), secret) {
				t.Errorf("%s: got error %v, want one that says %q", name, err, c.wrong)
			}
			continue
		}
		var o nats.Options
		for _, opt := range opts {
			if err == nil {
				err = opt(&o)
			}
		}
		if err != nil || o.User != c.user || (o.UserJWT != nil) != (c.n.CredsFile != "") {
			t.Errorf("%s: got the user %q and error %v, want %q", name, o.User, err, c.user)
		}
	}
}
