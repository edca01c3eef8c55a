//go:build unix

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/internal/chaos/history"
)

const (
	firstProduct = 1 << 20 // products' keys in the history
	products     = 20
	sampleEvery  = 25 * time.Millisecond // a request of each sampler
	samplers     = 4                     // of each server
)

// sample reads and writes products over HTTP until ctx ends: what a client sees is checked like what is read in
// process.
func (b *cluster) sample(ctx context.Context) {
	var wg sync.WaitGroup
	for i, name := range b.serverNames() {
		for j := range samplers {
			wg.Go(func() {
				s := &sampler{cluster: b, name: name, rnd: rand.New(rand.NewPCG(b.cfg.Seed, uint64(i)<<8|uint64(j))),
					number: uint64(100+i)<<40 | uint64(j)<<32,
					client: &http.Client{Timeout: readTimeout}}
				s.run(ctx)
			})
		}
	}
	wg.Wait()
}

// sampler is one client of a server.
type sampler struct {
	*cluster
	name   string
	rnd    *rand.Rand
	number uint64 // of the last write
	client *http.Client
	server *productServer // which is asked
	url    string
	latest [products]uint64
}

func (s *sampler) run(ctx context.Context) {
	t := time.NewTicker(sampleEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if now := s.cluster.server(s.name); now != s.server {
			s.server, s.url, s.latest = now, "", [products]uint64{}
		}
		if s.url == "" {
			if s.url = s.server.url(); s.url == "" {
				continue
			}
		}
		k := uint32(s.rnd.IntN(products))
		if s.rnd.IntN(20) == 0 {
			s.put(ctx, k)
		} else {
			s.get(ctx, k)
		}
	}
}

func (s *sampler) get(ctx context.Context, k uint32) {
	r := history.Record{Op: history.Plain, Key: firstProduct + k}
	header := http.Header{}
	switch n := s.rnd.IntN(20); {
	case n < 8:
		r.Op, r.Bound = history.Bounded, s.cfg.Bound
		header.Set("Nearcache-Max-Staleness", strconv.FormatFloat(s.cfg.Bound.Seconds(), 'f', 6, 64))
	case n < 10:
		r.Op, r.Param = history.ServeStale, uint64(staleCap)
		header.Set("Nearcache-Serve-Stale", strconv.FormatFloat(staleCap.Seconds(), 'f', 6, 64))
	case n < 12 && s.latest[k] > 0:
		r.Op, r.Param = history.AtLeast, s.latest[k]
		header.Set("Nearcache-At-Least", strconv.FormatUint(s.latest[k], 10))
	case n < 13:
		r.Op = history.Fresh
		header.Set("Nearcache-Fresh", "?1")
	}
	if s.name == "server-0" { // whose default it is
		r.Bound = s.cfg.Bound
	}
	r.Invoke = s.clock.Now()
	res, err := s.do(ctx, http.MethodGet, k, "", header)
	r.Return = s.clock.Now()
	if err != nil || res.status != http.StatusOK && res.status != http.StatusNotFound {
		r.Flags = history.Failed
		s.server.hist.Append(&r)
		return
	}
	s.describe(&r, res)
	if r.Flags&history.Unknown == 0 {
		s.latest[k] = max(s.latest[k], r.Version)
	}
	s.server.hist.Append(&r)
}

// describe takes from the answer what it says about itself.
func (s *sampler) describe(r *history.Record, res answer) {
	if res.status == http.StatusNotFound {
		r.Flags = history.Absent | history.Unknown // a 404 has no version
	} else {
		r.Version, r.Hash = res.version(), hashOf(res.name)
	}
	detail := res.header.Get("Cache-Status")
	for text, t := range map[string]history.Tier{"detail=L1": history.L1, "detail=L2": history.L2,
		"detail=source": history.Source} {
		if strings.Contains(detail, text) {
			r.Tier = t
		}
	}
	if strings.Contains(detail, "-stale") {
		r.Flags |= history.Stale
	}
	if f, err := strconv.ParseFloat(res.header.Get("Nearcache-Staleness"), 64); err == nil {
		r.Staleness = time.Duration(f*1e9) + time.Microsecond // the header is rounded to a microsecond
	}
	if n, err := strconv.Atoi(res.header.Get("Age")); err == nil {
		r.Age = time.Duration(n) * time.Second
	}
}

func (s *sampler) put(ctx context.Context, k uint32) {
	s.number++
	c := change{key: firstProduct + k, number: s.number, body: fmt.Sprintf("%016x %d", s.number, s.rnd.IntN(1000))}
	w := writeLog{hist: s.server.hist}
	w.begins(c)
	res, err := s.do(ctx, http.MethodPut, k, fmt.Sprintf(`{"name": %q, "price": 1.00}`, c.body), http.Header{})
	if err == nil && res.status != http.StatusOK && res.status != http.StatusCreated {
		err = fmt.Errorf("status %d", res.status)
	}
	v, _ := strconv.ParseUint(res.header.Get("Nearcache-Version"), 10, 64)
	w.ended(c, v, err)
	if err == nil {
		now := s.clock.Now()
		s.server.hist.AppendNow(&history.Record{Op: history.Invalidated, Key: c.key, Hash: c.number, Invoke: now,
			Return: now})
		s.latest[k] = max(s.latest[k], v)
	}
}

// answer is an HTTP answer.
type answer struct {
	status int
	header http.Header
	name   string // of the product
}

func (a answer) version() uint64 {
	v, _ := strconv.ParseUint(a.header.Get("Nearcache-Version"), 10, 64)
	return v
}

func (s *sampler) do(ctx context.Context, method string, k uint32, body string, header http.Header) (a answer,
	err error) {
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("%s/products/p%d", s.url, firstProduct+k),
		strings.NewReader(body))
	if err != nil {
		return answer{header: http.Header{}}, err
	}
	req.Header = header
	res, err := s.client.Do(req)
	if err != nil {
		return answer{header: http.Header{}}, err
	}
	defer res.Body.Close()
	var p struct{ Name string }
	if res.StatusCode == http.StatusOK {
		err = json.NewDecoder(res.Body).Decode(&p)
	}
	return answer{status: res.StatusCode, header: res.Header, name: p.Name}, err
}
