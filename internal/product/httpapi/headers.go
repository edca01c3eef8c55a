package httpapi

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/nearcache"
)

// The API's own headers.
const (
	// headerVersion is the version that a write has made, on responses.
	headerVersion = "Nearcache-Version"
	// headerAtLeast is the least version that a GET may be answered with.
	headerAtLeast = "Nearcache-At-Least"
	// headerFresh, "?1", asks for a read of the source.
	headerFresh = "Nearcache-Fresh"
	// headerMaxStaleness is how old, in seconds, an answer may be: it is proved to be no older.
	headerMaxStaleness = "Nearcache-Max-Staleness"
	// headerServeStale is how old, in seconds, an answer may be when the source fails.
	headerServeStale = "Nearcache-Serve-Stale"
	// headerStaleness is how old, in seconds, an answer is at most, on responses; absent if nothing is proved.
	headerStaleness = "Nearcache-Staleness"
)

func readOptions(h http.Header) (ro nearcache.ReadOptions, err error) {
	if s := h.Get(headerAtLeast); s != "" {
		n, err := strconv.ParseUint(strings.Trim(s, `"`), 10, 64)
		if err != nil {
			return ro, fmt.Errorf("%s: %q is not a version", headerAtLeast, s)
		}
		ro.AtLeast = nearcache.Version(n)
	}
	switch s := h.Get(headerFresh); s {
	case "", "?0":
	case "?1":
		ro.Fresh = true
	default:
		return ro, fmt.Errorf("%s: %q is neither ?0 nor ?1", headerFresh, s)
	}
	if ro.MaxStaleness, err = seconds(h, headerMaxStaleness); err != nil {
		return ro, err
	}
	ro.ServeStale, err = seconds(h, headerServeStale)
	return ro, err
}

// seconds reads a header that is a number of seconds, fractions allowed, to a microsecond.
func seconds(h http.Header, name string) (time.Duration, error) {
	s := h.Get(name)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n > 0 && n <= math.MaxInt32) || strings.Trim(s, "0123456789.") != "" {
		return 0, fmt.Errorf("%s: %q is not a number of seconds", name, s)
	}
	return max(time.Duration(n*1e6)*time.Microsecond, time.Microsecond), nil
}

// describe tells which tier answered, and how old the answer is: Cache-Status as RFC 9211 has it, Age, and what is proved.
func describe(h http.Header, r nearcache.Result[product.Product], fresh bool) {
	if r.Staleness > 0 {
		h.Set(headerStaleness, strconv.FormatFloat(r.Staleness.Seconds(), 'f', 6, 64))
	}
	status := "nearcache"
	switch {
	case r.Tier == nearcache.TierL1 || r.Tier == nearcache.TierL2:
		status += "; hit; detail=" + strings.ToUpper(r.Tier.String())
		h.Set("Age", strconv.FormatInt(int64(r.Age/time.Second), 10))
	case fresh:
		status += "; fwd=request; detail=source"
	default:
		status += "; fwd=miss; detail=source"
	}
	if r.Stale {
		status += "-stale"
	}
	h.Set("Cache-Status", status)
}

func etag(v product.Version) string { return `"` + v.String() + `"` }

func parseETag(s string) (product.Version, error) {
	inner, opened := strings.CutPrefix(strings.TrimSpace(s), `"`)
	inner, closed := strings.CutSuffix(inner, `"`)
	if !opened || !closed {
		return 0, fmt.Errorf("%q is not a strong entity tag", s)
	}
	n, err := strconv.ParseUint(inner, 10, 64)
	return product.Version(n), err
}

// matches compares weakly, as If-None-Match does.
func matches(header, tag string) bool {
	for _, t := range strings.Split(header, ",") {
		if t = strings.TrimSpace(t); t == "*" || strings.TrimPrefix(t, "W/") == tag {
			return true
		}
	}
	return false
}

func writeJSON[T any](w http.ResponseWriter, status int, v T) {
	b, err := json.Marshal(v)
	if err != nil {
		problem(w, http.StatusInternalServerError, "encoding failed", "")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}
