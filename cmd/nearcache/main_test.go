package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

func TestCommands(t *testing.T) {
	redis := nearcachetest.NewRedis(t)
	store, err := l2.Open(l2.Config{Redis: redis.ClientOption()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	ctx := context.Background()
	k := store.Keyspace().Key("product", "42")
	lease, err := store.Acquire(ctx, k, l2.NewLeaseID(), time.Minute, l2.AcquireOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Fill(ctx, k, lease.ID, lease.Incarnation, l2.Record{Version: 7, Payload: []byte(`{"a":1}`)}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := store.ResetWatermark(ctx, 3, l2.Watermark{}, coherence.Position{Timeline: 0xabc, N: 12}); err != nil {
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
