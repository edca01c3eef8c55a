package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// extremes are given to every number of Config and Options.
var extremes = [...]int64{0, -1, 1, math.MaxInt64}

// duration is what most durations say to the extremes.
var duration = [...]string{"", "%s is negative: -1ns", "%s is below Redis's resolution of 1ms: 1ns", ""}

// refusals has a part of the error for each extreme; "" means that it is accepted.
var refusals = map[string][len(extremes)]string{
	"Config.Heartbeat": duration, "Config.RedisTimeout": duration,
	"TTL": duration, "AbsentTTL": duration, "LoadTimeout": duration, "ErrorTTL": duration, "LeaseTTL": duration,
	"WriteTTL": duration, "FailSafe.MaxAge": duration,
	"LeaseWait":            {"", duration[1], duration[2], "the load has ended before the wait has"},
	"FailSafe.SoftTimeout": {"", duration[1], duration[2], "the hard timeout comes first"},
	"MaxStaleness":         {"", "%s is negative: -1ns", "a bound below two heartbeats is hardly ever proved", ""},
	"L1Bytes":              {"", "", "%s is 1: less than 4 KiB holds nothing", ""},
	"MaxLoads":             {},
	"Config.Buckets": {"", "Config.Buckets: the number of buckets must be",
		"Config.Buckets: the number of buckets must be",
		"Config.Buckets: the number of buckets must be"},
	"Audit.Wait": duration,
	"Warm.Keys":  {"", "%s is -1", "", "%s is 9223372036854775807"},
	"Warm.Rate":  {"", "Warm.Rate -1", "", "Warm.Rate 9223372036854775807"},
}

// numbers calls f for every exported int, int64 and duration of a struct and of the structs in it.
func numbers(v reflect.Value, prefix string, f func(name string, field reflect.Value)) {
	for i := range v.NumField() {
		name, field := v.Type().Field(i), v.Field(i)
		switch {
		case !name.IsExported():
		case field.Kind() == reflect.Int || field.Kind() == reflect.Int64:
			f(prefix+name.Name, field)
		case field.Kind() == reflect.Struct && field.Type().PkgPath() == reflect.TypeFor[nearcache.Config]().PkgPath():
			numbers(field, prefix+name.Name+".", f)
		}
	}
}

func names(v any, prefix string) (all []string) {
	numbers(reflect.ValueOf(v), prefix, func(name string, _ reflect.Value) { all = append(all, name) })
	return all
}

func set(v any, prefix, option string, n int64) {
	numbers(reflect.ValueOf(v).Elem(), prefix, func(name string, field reflect.Value) {
		if name == option {
			field.SetInt(n)
		}
	})
}

// Every number of Config and Options is tried with every extreme: it is refused by its name, or reads and writes work.
func TestOptions_EveryNumberAtItsExtremes(t *testing.T) {
	all := append(names(nearcache.Config{}, "Config."), names(nearcache.Options[string, string]{}, "")...)
	if len(all) != len(refusals) {
		t.Errorf("Config and Options have %d numbers, and the table %d: %v", len(all), len(refusals), all)
	}
	for _, option := range all {
		wants, ok := refusals[option]
		if !ok {
			t.Errorf("%s is missing from the table", option)
			continue
		}
		for i, n := range extremes {
			want := strings.ReplaceAll(wants[i], "%s", option)
			t.Run(fmt.Sprintf("%s=%d", option, n), func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "warm")
				synctest.Test(t, func(t *testing.T) { tryOption(t, option, n, want, file) })
			})
		}
	}
}

func tryOption(t *testing.T, option string, n int64, want, file string) {
	r, err := nearcachetest.StartRedis("")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	src := nearcachetest.NewSource()
	table := nearcachetest.NewTable[string](src, "t")
	cfg := nearcache.Config{Redis: r.PipeOption(), Source: src, Logger: slog.New(slog.DiscardHandler)}
	set(&cfg, "Config.", option, n)
	client, err := nearcache.New(cfg)
	var cache *nearcache.Cache[string, string]
	if err == nil {
		defer client.Close()
		o := nearcache.Options[string, string]{Load: loadOf(table), FailSafe: nearcache.FailSafe{BeyondBound: true}}
		if strings.HasPrefix(option, "Warm.") {
			o.Warm.File = file
		}
		if strings.HasPrefix(option, "Audit.") {
			o.Audit.Rate = 1000
		}
		if option == "FailSafe.SoftTimeout" {
			o.FailSafe.MaxAge = time.Minute
		}
		set(&o, "", option, n)
		cache, err = nearcache.NewCache(client, "t", o)
	}
	switch {
	case want == "" && err != nil:
		t.Fatalf("refused: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), option)):
		t.Fatalf("got %v, want it to say %q and to name %s", err, want, option)
	case want != "":
		return
	}
	useCache(t, cache, table)
	noL1 := option == "L1Bytes" && n < 0
	if tier := get(t, cache, "a").Tier; option != "MaxStaleness" && (tier == nearcache.TierL1) == noL1 {
		t.Errorf("the last read is from %v", tier)
	}
}

func loadOf(table *nearcachetest.Table[string]) nearcache.Loader[string, string] {
	return func(ctx context.Context, k string) (nearcache.Entry[string], error) {
		v, version, ok, err := table.Load(ctx, k)
		if err == nil && !ok {
			err = nearcache.ErrNotFound
		}
		return nearcache.Entry[string]{Value: v, Version: version}, err
	}
}

// useCache writes twice, and reads each value and an absence within a second of the bubble's clock.
func useCache(t *testing.T, cache *nearcache.Cache[string, string], table *nearcachetest.Table[string]) {
	begun := time.Now()
	for _, value := range []string{"one", "two"} {
		put := func(context.Context) (nearcache.Version, error) { return table.Put("a", value) }
		if _, err := cache.Write(t.Context(), "a", put); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if v, err := cache.Get(t.Context(), "a"); v != value || err != nil {
				t.Errorf("got %q, %v, want %q", v, err, value)
			}
			synctest.Wait()
		}
		if _, err := cache.Get(t.Context(), "none"); !errors.Is(err, nearcache.ErrNotFound) {
			t.Errorf("an absent key: %v", err)
		}
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("the calls took %v", took)
	}
}

// Every number of ReadOptions, and an entry's TTL, mean what their documentation says.
func TestArguments_EveryNumberAtItsExtremes(t *testing.T) {
	if got := names(nearcache.ReadOptions{}, ""); !reflect.DeepEqual(got, []string{"MaxStaleness", "ServeStale"}) {
		t.Errorf("the numbers of ReadOptions are %v", got)
	}
	inBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client) {
		src := newSource()
		src.put("a", "one")
		c := newCache(t, client, nearcache.Options[string, string]{Load: src.load})
		for _, n := range extremes {
			d := time.Duration(n)
			r, err := c.Read(t.Context(), "a", nearcache.ReadOptions{ServeStale: d})
			if r.Value != "one" || err != nil {
				t.Errorf("ServeStale %v: %+v, %v", d, r, err)
			}
			r, err = c.Read(t.Context(), "a", nearcache.ReadOptions{MaxStaleness: d})
			if refused := n > 0; refused != errors.Is(err, nearcache.ErrUnsupported) || !refused && r.Value != "one" {
				t.Errorf("MaxStaleness %v without a source: %+v, %v", d, r, err)
			}
			e := nearcache.Entry[string]{Value: "one", Version: 1, TTL: d}
			if err := c.Set(t.Context(), "a", e); err != nil {
				t.Errorf("Set with TTL %v: %v", d, err)
			}
		}
		_, err := c.Read(t.Context(), "a", nearcache.ReadOptions{AtLeast: math.MaxUint64})
		if !errors.Is(err, nearcache.ErrNotReady) {
			t.Errorf("AtLeast of the highest version: %v", err)
		}
	})
}
