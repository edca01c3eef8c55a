package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcache/nearcache-go/coherence"
)

// view is what a DebugHandler answers, as far as top shows it.
type view struct {
	Mode    string                  `json:"mode"`
	Ready   bool                    `json:"ready"`
	Pending int                     `json:"pending_invalidations"`
	Proved  viewProved              `json:"proved_staleness"`
	Reasons []viewReason            `json:"reasons"`
	Caches  map[string]viewCounters `json:"caches"`
}

type viewProved struct {
	Seconds float64 `json:"seconds"`
	Channel string  `json:"channel"`
}

type viewReason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type viewCounters struct {
	L1Hits     uint64 `json:"l1_hits"`
	L1Misses   uint64 `json:"l1_misses"`
	L2Hits     uint64 `json:"l2_hits"`
	Loads      uint64 `json:"loads"`
	LoadErrors uint64 `json:"load_errors"`
	L1Bytes    int64  `json:"l1_bytes"`
}

type viewHottest struct {
	Keys []struct {
		Key    string  `json:"key"`
		Base64 []byte  `json:"key_base64"`
		Share  float64 `json:"share"`
		Tier   string  `json:"tier"`
		L1     *struct {
			Version coherence.Version `json:"version"`
			Age     float64           `json:"age_seconds"`
		} `json:"l1"`
	} `json:"keys"`
}

// topInstance is an instance in a line of top.
type topInstance struct {
	URL     string       `json:"url"`
	Error   string       `json:"error,omitempty"`
	Mode    string       `json:"mode,omitempty"`
	Ready   bool         `json:"ready"`
	Pending int          `json:"pending_invalidations"`
	Proved  viewProved   `json:"proved_staleness"`
	Reasons []viewReason `json:"reasons,omitempty"`
	Caches  []topCache   `json:"caches"`
}

// topCache is a cache's rates since the look before, in a second.
type topCache struct {
	Cache      string  `json:"cache"`
	L1Hits     float64 `json:"l1_hits_per_second"`
	L2Hits     float64 `json:"l2_hits_per_second"`
	Loads      float64 `json:"loads_per_second"`
	LoadErrors float64 `json:"load_errors_per_second"`
	HitRatio   float64 `json:"l1_hit_ratio"` // 0 without reads
	L1Bytes    int64   `json:"l1_bytes"`
}

// topKey is one of the hottest keys of all instances.
type topKey struct {
	Cache     string            `json:"cache"`
	Key       string            `json:"key"`
	Hits      float64           `json:"hits_per_second"` // estimated
	Instances int               `json:"instances"`       // that L1 serves it on
	Oldest    coherence.Version `json:"oldest_version"`
	Newest    coherence.Version `json:"newest_version"`
	Age       float64           `json:"age_seconds"` // of the oldest entry
}

// topScreen is one look at all instances.
type topScreen struct {
	Time      time.Time     `json:"time"`
	Instances []topInstance `json:"instances"`
	Keys      []topKey      `json:"keys"`
}

// monitor looks at instances.
type monitor struct {
	client *http.Client
	urls   []string
	header http.Header
	keys   int
	cache  string

	at   time.Time
	last map[string]map[string]viewCounters // by URL and cache
}

func (t *tool) topCommand() *cobra.Command {
	m := &monitor{last: map[string]map[string]viewCounters{}, header: http.Header{}}
	var every time.Duration
	var looks int
	cmd := &cobra.Command{Use: "top URL...", Short: "Show the hottest keys, rates and status of instances, live",
		Long: `Top asks the DebugHandler of each instance, whose URLs are its arguments, and shows rates, what the
channels prove, why an instance is degraded, and the keys of L1 that are hit most over all instances. The rate of
a key is an estimate: while somebody asks, an instance counts one hit in 8. VERSION is the oldest and the newest
version that instances serve.

NEARCACHE_DEBUG_AUTHORIZATION is sent as the header Authorization. Without a terminal, and with --json, each look
is printed below the one before.`,
		Args: between(0, 100)}
	cmd.Flags().DurationVar(&every, "every", 2*time.Second, "time between two looks")
	cmd.Flags().IntVar(&looks, "looks", 0, "end after so many looks; the first one has no rates (default never)")
	cmd.Flags().IntVar(&m.keys, "keys", 15, "how many keys; 0: none, and no hits are counted")
	cmd.Flags().StringVar(&m.cache, "cache", "", "namespace of the keys that are shown (default all)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if m.urls = args; len(args) == 0 {
			m.urls = strings.Fields(t.env("NEARCACHE_DEBUG_URLS"))
		}
		if len(m.urls) == 0 {
			return usage("the URLs of the instances' DebugHandlers are needed, or NEARCACHE_DEBUG_URLS")
		}
		for _, u := range m.urls {
			if parsed, err := url.Parse(u); err != nil || parsed.Host == "" {
				return usage("%.100q is no URL, such as http://10.0.0.7:9901/", u)
			}
		}
		if every < 100*time.Millisecond || m.keys < 0 || m.keys > 1000 {
			return usage("--every is 100ms at least, and --keys 0 to 1000")
		}
		if a := t.env("NEARCACHE_DEBUG_AUTHORIZATION"); a != "" {
			m.header.Set("Authorization", a)
		}
		m.client = &http.Client{Timeout: min(every, 5*time.Second)}
		return t.watchScreens(cmd, m, every, looks)
	}
	return cmd
}

// watchScreens looks until it is interrupted. It fails if the last look has reached no instance.
func (t *tool) watchScreens(cmd *cobra.Command, m *monitor, every time.Duration, looks int) error {
	ctx := cmd.Context()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 1; ; n++ {
		screen := m.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := t.showScreen(cmd, screen); err != nil {
			return err
		}
		if n == looks {
			return screen.failed()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *topScreen) failed() error {
	var errs []error
	for _, in := range s.Instances {
		if in.Error == "" {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %s", in.URL, in.Error))
	}
	return fmt.Errorf("%w: %w", errUnreached, errors.Join(errs...))
}

// look asks all instances at once.
func (m *monitor) look(ctx context.Context) *topScreen {
	now := time.Now()
	s := &topScreen{Time: now.UTC(), Instances: make([]topInstance, len(m.urls)), Keys: []topKey{}}
	elapsed := now.Sub(m.at).Seconds()
	if m.at.IsZero() {
		elapsed = 0
	}
	m.at = now
	var mu sync.Mutex
	var wg sync.WaitGroup
	keys := map[cacheKey]*topKey{}
	for i, u := range m.urls {
		mu.Lock()
		last := m.last[u]
		mu.Unlock()
		wg.Go(func() {
			in, counters, hottest := m.ask(ctx, u, last, elapsed)
			mu.Lock()
			defer mu.Unlock()
			s.Instances[i] = in
			m.last[u] = counters
			for _, k := range hottest {
				merge(keys, k)
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		s.Keys = append(s.Keys, *k)
	}
	slices.SortFunc(s.Keys, func(a, b topKey) int {
		switch {
		case a.Hits > b.Hits:
			return -1
		case a.Hits < b.Hits:
			return 1
		}
		return compareText(a.Cache+":"+a.Key, b.Cache+":"+b.Key)
	})
	s.Keys = s.Keys[:min(len(s.Keys), m.keys)]
	return s
}

// merge adds what one instance says of a key.
func merge(keys map[cacheKey]*topKey, k topKey) {
	at := cacheKey{k.Cache, k.Key}
	sum := keys[at]
	if sum == nil {
		keys[at] = &k
		return
	}
	sum.Hits += k.Hits
	sum.Instances += k.Instances
	sum.Age = max(sum.Age, k.Age)
	sum.Newest = max(sum.Newest, k.Newest)
	if sum.Oldest == 0 || k.Oldest != 0 && k.Oldest < sum.Oldest {
		sum.Oldest = k.Oldest
	}
}

// ask asks one instance.
func (m *monitor) ask(ctx context.Context, base string, last map[string]viewCounters, elapsed float64) (in topInstance,
	counters map[string]viewCounters, hottest []topKey) {
	in = topInstance{URL: base, Caches: []topCache{}}
	var v view
	if err := m.get(ctx, base, nil, &v); err != nil {
		in.Error = err.Error()
		return in, nil, nil
	}
	in.Mode, in.Ready, in.Pending, in.Proved, in.Reasons = v.Mode, v.Ready, v.Pending, v.Proved, v.Reasons
	var names []string
	for name := range v.Caches {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		rates := ratesOf(name, last[name], v.Caches[name], elapsed, last != nil)
		in.Caches = append(in.Caches, rates)
		if m.keys > 0 && (m.cache == "" || m.cache == name) {
			var h viewHottest
			q := url.Values{"cache": {name}, "hottest": {fmt.Sprint(m.keys)}}
			if err := m.get(ctx, base, q, &h); err != nil {
				in.Error = err.Error()
				continue
			}
			hottest = append(hottest, h.keys(name, rates.L1Hits)...)
		}
	}
	return in, v.Caches, hottest
}

func (h *viewHottest) keys(cache string, hits float64) (out []topKey) {
	for _, k := range h.Keys {
		t := topKey{Cache: cache, Key: k.Key, Hits: k.Share * hits}
		if k.Base64 != nil {
			t.Key = string(k.Base64)
		}
		if k.L1 != nil {
			t.Oldest, t.Newest, t.Age = k.L1.Version, k.L1.Version, k.L1.Age
		}
		if k.Tier == "l1" {
			t.Instances = 1
		}
		out = append(out, t)
	}
	return out
}

// ratesOf is what has been counted since the look before. Counters that went back are of a process that was started
// again.
func ratesOf(name string, was, is viewCounters, elapsed float64, known bool) topCache {
	c := topCache{Cache: name, L1Bytes: is.L1Bytes}
	if !known || elapsed <= 0 || is.L1Hits < was.L1Hits || is.L1Misses < was.L1Misses {
		return c
	}
	rate := func(was, is uint64) float64 { return float64(is-min(was, is)) / elapsed }
	c.L1Hits, c.L2Hits = rate(was.L1Hits, is.L1Hits), rate(was.L2Hits, is.L2Hits)
	c.Loads, c.LoadErrors = rate(was.Loads, is.Loads), rate(was.LoadErrors, is.LoadErrors)
	if reads := c.L1Hits + rate(was.L1Misses, is.L1Misses); reads > 0 {
		c.HitRatio = c.L1Hits / reads
	}
	return c
}

func (m *monitor) get(ctx context.Context, base string, query url.Values, into any) error {
	at, err := url.Parse(base)
	if err != nil {
		return err
	}
	if len(query) > 0 {
		at.RawQuery = query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return err
	}
	req.Header = m.header
	res, err := m.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	const most = 16 << 20
	body, err := io.ReadAll(io.LimitReader(res.Body, most))
	switch {
	case err != nil:
		return err
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		return fmt.Errorf("it answers %s; NEARCACHE_DEBUG_AUTHORIZATION is sent as the header Authorization", res.Status)
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("it answers %s: %s", res.Status, cut(string(body), 200))
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("it is no DebugHandler: %w", err)
	}
	return nil
}

// showScreen prints a look, in place of the one before if there is a terminal.
func (t *tool) showScreen(cmd *cobra.Command, s *topScreen) error {
	if !t.json && isTerminal(cmd.OutOrStdout()) {
		fmt.Fprint(cmd.OutOrStdout(), "\x1b[H\x1b[2J")
	}
	return t.show(cmd, s, s.print)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (s *topScreen) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n", s.Time.Format("15:04:05"))
	fmt.Fprintln(w, "INSTANCE\tMODE\tNO OLDER THAN\tCACHE\tL1 HITS/S\tRATIO\tL2 HITS/S\tLOADS/S\tERRORS/S\tL1 MIB")
	for _, in := range s.Instances {
		if in.Error != "" {
			fmt.Fprintf(w, "%s\t%s\n", in.URL, cut(in.Error, 100))
			continue
		}
		proved := "not proved"
		if in.Proved.Seconds > 0 {
			proved = seconds(in.Proved.Seconds) + " by " + in.Proved.Channel
		}
		at := fmt.Sprintf("%s\t%s\t%s", in.URL, in.Mode, proved)
		for _, c := range in.Caches {
			fmt.Fprintf(w, "%s\t%s\t%.0f\t%.1f%%\t%.0f\t%.1f\t%.1f\t%.1f\n", at, c.Cache, c.L1Hits, 100*c.HitRatio, c.L2Hits,
				c.Loads, c.LoadErrors, float64(c.L1Bytes)/(1<<20))
			at = "\t\t"
		}
		for _, r := range in.Reasons {
			fmt.Fprintf(w, "\t%s: %s\n", plain(r.Code), cut(r.Message, 100))
		}
	}
	if len(s.Keys) == 0 {
		return
	}
	fmt.Fprintln(w, "\nKEY\tHITS/S\tIN L1 OF\tVERSION\tOLDEST")
	for _, k := range s.Keys {
		version := k.Oldest.String()
		if k.Newest != k.Oldest {
			version += " to " + k.Newest.String()
		}
		fmt.Fprintf(w, "%s:%s\t%.0f\t%d\t%s\t%s\n", k.Cache, cut(fmt.Sprintf("%q", k.Key), 60), k.Hits, k.Instances, version,
			seconds(k.Age))
	}
}
