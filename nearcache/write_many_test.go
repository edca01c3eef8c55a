package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

func TestSetMany_EachKeyByItsVersion(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		src := newSource()
		ks := []string{"older", "newer", "unversioned", "absent"}
		for _, k := range ks[:3] {
			src.put(k, "one")
		}
		x, y := open(t, r.Option, src), open(t, r.Option, src)
		for _, k := range ks[:3] {
			resident(t, x, k)
			resident(t, y, k)
		}
		for _, k := range ks {
			src.put(k, "two")
		}
		loads := src.loads.Load()
		if err := x.SetMany(t.Context(), map[string]nearcache.Entry[string]{
			"older":       {Value: "two", Version: 2},
			"newer":       {Value: "zero", Version: 1}, // late
			"unversioned": {Value: "two"},
			"absent":      {Value: "two", Version: 1},
		}); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*nearcache.Cache[string, string]{x, y} {
			testkit.Eventually(t, "the newer value is there", func() bool { return get(t, c, "older").Value == "two" })
			if n := src.loads.Load() - loads; n != 0 {
				t.Errorf("%d loads for a value that SetMany brought", n)
			}
			if got := get(t, c, "newer"); got.Value != "one" {
				t.Errorf("a late version has replaced a newer one: %+v", got)
			}
		}
		for _, c := range []*nearcache.Cache[string, string]{x, y} {
			testkit.Eventually(t, "what has no version is dropped", func() bool {
				return get(t, c, "unversioned").Value == "two"
			})
		}
		if got := get(t, y, "absent"); got.Value != "two" || got.Tier != nearcache.TierSource {
			t.Errorf("a set gave birth to a value: %+v", got) // C5
		}
		if err := x.InvalidateMany(t.Context(), map[string]nearcache.Version{"older": src.put("older", "three"), "newer": 2,
			"unversioned": 0}); err != nil {
			t.Fatal(err)
		}
		if got := get(t, x, "older"); got.Value != "three" {
			t.Errorf("the writer reads %+v", got)
		}
		testkit.Eventually(t, "the other instance reads the new value", func() bool {
			return get(t, y, "newer").Value == "two" && get(t, y, "older").Value == "three"
		})
	})
}

// nameless has no name when it is empty.
type nameless string

func (n nameless) MarshalText() ([]byte, error) {
	if n == "" {
		return nil, errors.New("the empty key has no name")
	}
	return []byte(n), nil
}

func TestSetMany_FailsKeyByKey(t *testing.T) {
	redis := nearcachetest.NewRedis(t)
	client := newClient(t, nearcache.Config{Redis: redis.ClientOption()})
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := "one"
	c, err := nearcache.NewCache(client, "t", nearcache.Options[nameless, any]{Find: func(context.Context, nameless) (any,
		error) {
		return now, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []nameless{"good", "bad"} {
		if _, err := c.Get(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	now = "loaded anew"
	err = c.SetMany(t.Context(), map[nameless]nearcache.Entry[any]{"good": {Value: "two", Version: 2},
		"bad": {Value: func() {}, Version: 2}, "": {Version: 2}})
	if !errors.Is(err, nearcache.ErrCodec) || !strings.Contains(err.Error(), `"bad"`) ||
		!strings.Contains(err.Error(), "has no name") || strings.Contains(err.Error(), "good") {
		t.Errorf("got error %v, want ErrCodec that names the bad keys only", err)
	}
	for k, want := range map[nameless]string{"good": "two", "bad": "loaded anew"} {
		if v, err := c.Get(t.Context(), k); v != want || err != nil {
			t.Errorf("%s: %v, %v; want %s", k, v, err, want)
		}
	}
	redis.Stop()
	err = c.InvalidateMany(t.Context(), map[nameless]nearcache.Version{"good": 3, "bad": 3})
	if !errors.Is(err, nearcache.ErrNotInvalidated) || !strings.Contains(err.Error(), "good") ||
		!strings.Contains(err.Error(), "bad") {
		t.Errorf("with Redis down: %v", err)
	}
	if n := client.Status().Pending; n != 2 {
		t.Errorf("%d are retried", n)
	}
	if err := redis.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the failed invalidations went out", func() bool { return client.Status().Pending == 0 })
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.SetMany(t.Context(), nil); !errors.Is(err, nearcache.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func ExampleCache_SetMany() {
	repo := newShop()
	_, products, stop := start(repo, nearcache.Options[string, product]{})
	defer stop()
	ctx := context.Background()
	repo.save("43", product{"grinder", 9900})
	fromL1(products, "42", "43")

	// An import has changed both, in a transaction of its own.
	sale := map[string]nearcache.Entry[product]{}
	for _, id := range []string{"42", "43"} {
		p := repo.rows[id]
		p.Cents -= 1000
		sale[id] = nearcache.Entry[product]{Value: p, Version: repo.save(id, p)}
	}
	fmt.Println(products.SetMany(ctx, sale))
	loads := repo.loads
	m, err := products.GetMany(ctx, []string{"42", "43"})
	fmt.Println(m["42"], m["43"], err, "- rows read:", repo.loads-loads)
	// Output:
	// <nil>
	// {espresso machine 23900} {grinder 8900} <nil> - rows read: 0
}

func ExampleCache_InvalidateMany() {
	repo := newShop()
	_, products, stop := start(repo, nearcache.Options[string, product]{})
	defer stop()
	ctx := context.Background()
	fmt.Println(products.Get(ctx, "42"))
	fmt.Println(products.InvalidateMany(ctx, map[string]nearcache.Version{
		"42": repo.save("42", product{"espresso machine", 19900}),
		"43": 0, // whatever there is
	}))
	fmt.Println(products.Get(ctx, "42"))
	// Output:
	// {espresso machine 24900} <nil>
	// <nil>
	// {espresso machine 19900} <nil>
}
