package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// call runs a command line as a shell does.
func call(t *testing.T, env map[string]string, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e strings.Builder
	code = run(t.Context(), args, func(k string) string { return env[k] }, &o, &e)
	return code, o.String(), e.String()
}

func TestCommands_OnRedis(t *testing.T) {
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
	if _, err := store.Fill(ctx, k, lease.ID, lease.Incarnation, l2.Record{Version: 7, Payload: []byte(`{"a":1}`)},
		time.Minute); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"REDIS_URL": redis.Addr()}
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"key product 42", 0, "nc:{61}:v:product:42"},
		{"key product 42 --prefix shop", 0, "shop:{61}:v:product:42"},
		{"get product 42", 0, "value  version 7"},
		{"get product nothing", 0, "no record"},
		{"watermarks", 0, "no watermarks"},
		{"invalidate product 42 7", 0, "applied"},
		{"get product 42", 0, "value  version 7"},
		{"invalidate product 42 8", 0, "applied"},
		{"get product 42", 0, "no record"},
		{"--prefix other get product 42", 0, "no record"},
		{"get product 42 --redis redis://" + redis.Addr(), 0, "no record"},
		{"--help", 0, "invalidate"},
		{"invalidate --help", 0, "--relay"},
	} {
		if code, out, errOut := call(t, env, strings.Fields(c.args)...); code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: %d\n%s%s", c.args, code, out, errOut)
		}
	}
	// A bucket with a watermark is fed by a relay: then instances may hold what only the source can make them drop.
	if _, err := store.ResetWatermark(ctx, k.Bucket, l2.Watermark{}, coherence.Position{Timeline: 0xabc,
		N: 12}); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := call(t, env, "watermarks"); code != 0 || !strings.Contains(out, "abc/12") {
		t.Errorf("watermarks: %d %s", code, out)
	}
	if code, out, errOut := call(t, env, "invalidate", "product", "42"); code != 1 || !strings.Contains(out,
		"kafka     not reached") ||
		!strings.Contains(errOut, "--database") {
		t.Errorf("beside a relay and without its source: %d\n%s%s", code, out, errOut)
	}
}

func TestCommandLines_ThatCannotWork(t *testing.T) {
	const secret = "hunter2"
	env := map[string]string{"REDIS_URL": "redis://:" + secret + "@127.0.0.1:1", "DATABASE_URL": "postgres://u:" + secret +
		"@127.0.0.1:1/d"}
	for _, bad := range []string{"", "get", "get a", "get a b c", "frobnicate x y", "invalidate product 42 new",
		"invalidate product 42 7",
		"--prefix a:b key x y", "key a:b c", "--redis redis://:hunter2@ watermarks",
		"--database mysql://u:hunter2@h invalidate a b",
		"--nonsense key a b", "install", "install --table t --namespace n", "install --table t --namespace a:b --key id",
		"install x",
		"--timeout soon watermarks", "--schema A.B install --table t --namespace n --key id"} {
		code, out, errOut := call(t, env, strings.Fields(bad)...)
		if code != 2 || !strings.Contains(errOut, "--help") || strings.Contains(out+errOut, secret) {
			t.Errorf("%q: %d\n%s%s", bad, code, out, errOut)
		}
	}
	if code, _, errOut := call(t, nil, "watermarks"); code != 2 || !strings.Contains(errOut, "REDIS_URL") {
		t.Errorf("no Redis is made up: %d %s", code, errOut)
	}
	for _, help := range []string{"--help", "invalidate --help", "install --help", "get --help"} {
		if code, out, errOut := call(t, env, strings.Fields(help)...); code != 0 || strings.Contains(out+errOut, secret) ||
			out == "" {
			t.Errorf("%s: %d\n%s%s", help, code, out, errOut)
		}
	}
	// Services that are away are a failure, and what was not reached is said.
	code, _, errOut := call(t, env, "--timeout", "2s", "invalidate", "product", "42")
	if code != 1 || !strings.Contains(errOut, "database was not reached") || strings.Contains(errOut, secret) {
		t.Errorf("no database: %d %s", code, errOut)
	}
	if code, _, errOut := call(t, env, "--timeout", "1s", "get", "product", "42"); code != 1 || strings.Contains(errOut,
		secret) {
		t.Errorf("no Redis: %d %s", code, errOut)
	}
}
