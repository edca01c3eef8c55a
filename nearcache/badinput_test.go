package nearcache_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

func TestLoader_Misbehaves(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client) {
		boom := errors.New("boom")
		release := make(chan struct{})
		defer close(release)
		c := newCache(t, client, nearcache.Options[string, string]{LoadTimeout: 100 * time.Millisecond,
			Load: func(_ context.Context, k string) (nearcache.Entry[string], error) {
				switch k {
				case "panics":
					panic("ouch")
				case "blocks":
					<-release // and ignores its context
				case "fails":
					return nearcache.Entry[string]{}, boom
				}
				return nearcache.Entry[string]{Value: "v", TTL: time.Hour}, nil
			}})
		for k, want := range map[string]error{"panics": nearcache.ErrPanic,
			"blocks": context.DeadlineExceeded, "fails": boom} {
			if _, err := c.Get(t.Context(), k); !errors.Is(err, want) {
				t.Errorf("%s: got error %v, want %v", k, err, want)
			} else if !strings.Contains(err.Error(), k) && k != "fails" {
				t.Errorf("the error does not name the key: %v", err)
			}
		}
		if v, err := c.Get(t.Context(), "fine"); v != "v" || err != nil {
			t.Errorf("afterwards: %q, %v", v, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Get(ctx, "blocks"); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that left: %v", err)
		}
	})
}

func TestKeysAndValues_OfAllKinds(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		src := newSource()
		c := open(t, r.Option, src)
		for _, k := range []string{"", " ", "a b", "nul\x00byte", "co:lon:s", "{brace}", "\xff\xfe",
			strings.Repeat("k", 10<<10), "日本"} {
			src.put(k, "value of "+k)
			if v, err := c.Get(t.Context(), k); v != "value of "+k || err != nil {
				t.Errorf("%.20q: %.20q, %v", k, v, err)
			}
		}
		big := strings.Repeat("x", 10<<20)
		src.put("big", big)
		for range 3 {
			if got := get(t, c, "big"); got.Value != big {
				t.Errorf("10 MB came back as %d bytes", len(got.Value))
			}
		}
		resident(t, c, "co:lon:s")
	})
}

func TestGarbageInL2_IsAMissAndIsReplaced(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		src := newSource()
		src.put("a", "one")
		c := open(t, r.Option, src)
		key := l2.NewKeyspace("").Key("t", "a")
		get(t, c, "a")
		good, err := l2.AppendRecord(nil, l2.Record{KeyHash: key.Hash, Version: 9, Payload: []byte(`"forged"`)})
		if err != nil {
			t.Fatal(err)
		}
		flipped := append([]byte(nil), good...)
		flipped[len(flipped)-2] ^= 1
		notJSON, err := l2.AppendRecord(nil, l2.Record{KeyHash: key.Hash, Version: 9, Payload: []byte(`not JSON`)})
		if err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string]string{"empty": "", "foreign": "hello", "truncated": string(good[:40]),
			"cut short": string(good[:len(good)-1]),
			"damaged":   string(flipped), "undecodable": string(notJSON), "header only": string(good[:l2.HeaderSize])} {
			r.Do("SET", key.Record, b)
			for range 3 {
				testkit.Eventually(t, name, func() bool { return get(t, c, "a").Value == "one" })
			}
			resident(t, c, "a")
		}
	})
}

func TestSchemas_SideBySide(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		src := newSource()
		src.put("a", "one")
		older := newCache(t, newClient(t, nearcache.Config{Redis: r.Option}),
			nearcache.Options[string, string]{Load: src.load, Schema: 1})
		newer := newCache(t, newClient(t, nearcache.Config{Redis: r.Option}),
			nearcache.Options[string, string]{Load: src.load, Schema: 2})
		get(t, older, "a")
		if got := get(t, newer, "a"); got.Tier != nearcache.TierSource {
			t.Errorf("the newer build reads an older schema: %+v", got)
		}
		if got := get(t, newer, "a"); got.Tier != nearcache.TierL2 {
			t.Errorf("the newer build did not replace it: %+v", got)
		}
		for range 3 {
			if got := get(t, older, "a"); got.Tier != nearcache.TierSource || got.Value != "one" {
				t.Errorf("the older build reads %+v", got)
			}
		}
		resident(t, newer, "a") // the older one has not overwritten it
	})
}

type lossy struct {
	Name   string
	secret int
}

func TestCodec_ThatLosesAField(t *testing.T) {
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()})
	load := func(context.Context, string) (nearcache.Entry[lossy], error) {
		return nearcache.Entry[lossy]{Value: lossy{"n", 7}}, nil
	}
	c, err := nearcache.NewCache(client, "lossy", nearcache.Options[string, lossy]{Load: load})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "a"); !errors.Is(err, nearcache.ErrCodec) || !strings.Contains(err.Error(), "secret") {
		t.Errorf("the error does not name the field: %v", err)
	}
	ok, err := nearcache.NewCache(client, "meant",
		nearcache.Options[string, lossy]{Load: load, Lossy: nearcache.LossyDecode})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // from the source and from L2 alike
		if v, err := ok.Get(t.Context(), "a"); err != nil || v != (lossy{Name: "n"}) {
			t.Errorf("got %+v, %v, want the decoded value from every tier", v, err)
		}
	}
}

func TestOptions_AreCheckedTogether(t *testing.T) {
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()})
	_, err := nearcache.NewCache(client, "a:b",
		nearcache.Options[struct{ X int }, string]{TTL: -1, MaxStaleness: time.Second, L1Bytes: 1})
	for _, want := range []string{"a:b", "Load", "TTL", "MaxStaleness", "L1Bytes", "EncodeKey"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
	if _, err := nearcache.New(nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{"x"},
		DisableCache: true}}); err == nil {
		t.Error("an option that belongs to the client is taken")
	}
	src := newSource()
	newCache(t, client, nearcache.Options[string, string]{Load: src.load})
	if _, err := nearcache.NewCache(client, "t", nearcache.Options[string, string]{Load: src.load}); err == nil {
		t.Error("two caches of one namespace")
	}
}
