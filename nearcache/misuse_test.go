package nearcache_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// An address that can never be dialled is a wrong configuration, and New says so. A hostname that does not exist yet is
// none.
func TestNew_RefusesAddressesThatCannotBe(t *testing.T) {
	for addr, want := range map[string]string{
		"":                                "the form is host:port",
		"localhost":                       "the form is host:port",
		"localhost:":                      "the form is host:port",
		"localhost:0":                     "the form is host:port",
		"localhost:99999":                 "the form is host:port",
		"::1:6379":                        "the form is host:port",
		"redis://localhost:6379":          "rueidis.ParseURL",
		"rediss://me:secret@localhost:80": "rueidis.ParseURL",
	} {
		_, err := nearcache.New(nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{addr}}})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("New with the address %q: %v, want an error with %q", addr, err, want)
		}
	}
	for _, addr := range []string{"/run/no/redis.sock", "no-such-host.invalid:redis", ":1", "[::1]:1"} {
		newClient(t, nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{addr}}})
	}
}

// A nil Context is an error of the call. It would panic otherwise, and of SetMany on a goroutine of its own.
func TestCalls_RefuseANilContext(t *testing.T) {
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()})
	src := newSource()
	src.put("a", "one")
	c := newCache(t, client, nearcache.Options[string, string]{Load: src.load, Clearable: true})
	tx := func(context.Context) (nearcache.Version, error) { return 1, nil }
	var none context.Context
	for name, call := range map[string]func() error{
		"Get":            func() error { _, err := c.Get(none, "a"); return err },
		"GetMany":        func() error { _, err := c.GetMany(none, []string{"a", "b"}); return err },
		"Read":           func() error { _, err := c.Read(none, "a", nearcache.ReadOptions{Fresh: true}); return err },
		"ReadMany":       func() error { return c.ReadMany(none, []string{"a"}, nearcache.ReadOptions{})[0].Err },
		"Set":            func() error { return c.Set(none, "a", nearcache.Entry[string]{}) },
		"SetMany":        func() error { return c.SetMany(none, map[string]nearcache.Entry[string]{"a": {}}) },
		"Invalidate":     func() error { return c.Invalidate(none, "a", 0) },
		"InvalidateMany": func() error { return c.InvalidateMany(none, map[string]nearcache.Version{"a": 0}) },
		"InvalidateTag":  func() error { return c.InvalidateTag(none, "tag") },
		"Clear":          func() error { return c.Clear(none) },
		"Write":          func() error { _, err := c.Write(none, "a", tx); return err },
		"Apply":          func() error { return client.Apply(none, coherence.Event{Namespace: "t", Key: "a"}) },
		"Ready":          func() error { return client.Ready(none) },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "the context is nil") {
			t.Errorf("%s: %v, want an error that says so", name, err)
		}
	}
	_, err := c.Write(t.Context(), "a", nil)
	_, entryErr := c.WriteEntry(t.Context(), "a", nil)
	for _, err := range []error{err, entryErr} {
		if !errors.Is(err, nearcache.ErrNotCommitted) || !strings.Contains(err.Error(), "the transaction is nil") {
			t.Errorf("a write without a transaction: %v", err)
		}
	}
	if v, err := c.Get(t.Context(), "a"); v != "one" || err != nil {
		t.Errorf("afterwards: %q, %v", v, err)
	}
}

func TestNewCache_WithoutAClient(t *testing.T) {
	for _, client := range []*nearcache.Client{nil, new(nearcache.Client)} {
		_, err := nearcache.NewCache(client, "t", nearcache.Options[string, string]{Load: newSource().load})
		if err == nil || !strings.Contains(err.Error(), "was not made by New") {
			t.Errorf("NewCache(%v): %v", client, err)
		}
	}
	_, err := nearcache.NewCache(newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()}), "t",
		nearcache.Options[any, string]{Find: func(context.Context, any) (string, error) { return "", errors.New("no") }})
	if err == nil || !strings.Contains(err.Error(), "K is interface {}") {
		t.Errorf("a K without a name: %v", err)
	}
}
