package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
	"github.com/nearcache/nearcache-go/tier"
)

func TestCommands(t *testing.T) {
	redis := nearcachetest.NewRedis(t)
	l2, err := tier.OpenL2(tier.L2Config{Redis: redis.ClientOption(), Tracker: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	defer l2.Close()
	ctx := context.Background()
	k := l2.Keyspace().Key("product", "42")
	lease, err := l2.Acquire(ctx, k, tier.NewToken(), time.Minute, tier.Acquire{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l2.Fill(ctx, k, lease.Token, lease.Epoch, tier.Record{Version: 7, Payload: []byte(`{"a":1}`)}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := l2.ResetWatermark(ctx, 3, tier.Watermark{}, tier.Position{Epoch: 0xabc, N: 12}); err != nil {
		t.Fatal(err)
	}
	url := "redis://" + redis.Addr()
	for _, c := range []struct{ args, want string }{
		{"key product 42", "nc:{61}:v:product:42"},
		{"get product 42", "value  version 7"},
		{"get product nothing", "no record"},
		{"watermarks", "abc/12"},
		{"invalidate product 42 7", "invalidated"},
		{"get product 42", "value  version 7"},
		{"invalidate product 42 8", "invalidated"},
		{"get product 42", "no record"},
		{"-prefix other get product 42", "no record"},
	} {
		var out strings.Builder
		if err := run(ctx, strings.Fields(c.args), url, &out); err != nil || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: %v\n%s", c.args, err, out.String())
		}
	}
	for _, bad := range []string{"", "get", "frobnicate x y", "invalidate product 42 new", "-prefix a:b watermarks"} {
		if err := run(ctx, strings.Fields(bad), url, &strings.Builder{}); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
