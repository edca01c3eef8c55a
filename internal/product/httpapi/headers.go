package httpapi

import (
	"encoding/json"
	"fmt"
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
	// headerServeStale is how old, in seconds, an answer may be when the source fails.
	headerServeStale = "Nearcache-Serve-Stale"
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
	if s := h.Get(headerServeStale); s != "" {
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			return ro, fmt.Errorf("%s: %q is not a number of seconds", headerServeStale, s)
		}
		ro.ServeStale = time.Duration(n) * time.Second
	}
	return ro, nil
}

// describe tells which tier answered: Cache-Status as RFC 9211 has it, and Age.
func describe(h http.Header, tier nearcache.Tier, age time.Duration, stale, fresh bool) {
	status := "nearcache"
	switch {
	case tier == nearcache.TierL1 || tier == nearcache.TierL2:
		status += "; hit; detail=" + strings.ToUpper(tier.String())
		h.Set("Age", strconv.FormatInt(int64(age/time.Second), 10))
	case fresh:
		status += "; fwd=request; detail=source"
	default:
		status += "; fwd=miss; detail=source"
	}
	if stale {
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
