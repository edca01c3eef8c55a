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
	// headerVersion is the product's version, on responses: what a write has made, or a read has found.
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
	least, err := single(h, headerAtLeast)
	if err != nil {
		return ro, err
	}
	if least != "" {
		n, err := strconv.ParseUint(unquote(least), 10, 64)
		if err != nil {
			return ro, fmt.Errorf("%s: %.40q is not a version", headerAtLeast, least)
		}
		ro.AtLeast = nearcache.Version(n)
	}
	fresh, err := single(h, headerFresh)
	if err != nil {
		return ro, err
	}
	switch fresh {
	case "", "?0":
	case "?1":
		ro.Fresh = true
	default:
		return ro, fmt.Errorf("%s: %.40q is neither ?0 nor ?1", headerFresh, fresh)
	}
	if ro.MaxStaleness, err = seconds(h, headerMaxStaleness); err != nil {
		return ro, err
	}
	ro.ServeStale, err = seconds(h, headerServeStale)
	return ro, err
}

// single is a header's value, "" if it is absent. A header that is there must have one value: the first of several, or
// none, would let a client believe that it asked for something.
func single(h http.Header, name string) (string, error) {
	values := h.Values(name)
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1:
		return "", fmt.Errorf("%s is given %d times", name, len(values))
	case values[0] == "":
		return "", fmt.Errorf("%s has no value", name)
	}
	return values[0], nil
}

// unquote takes a pair of quotes off.
func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

// seconds reads a header that is a number of seconds, fractions allowed, to a microsecond.
func seconds(h http.Header, name string) (time.Duration, error) {
	s, err := single(h, name)
	if err != nil || s == "" {
		return 0, err
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n > 0 && n <= math.MaxInt32) || strings.Trim(s, "0123456789.") != "" {
		return 0, fmt.Errorf("%s: %.40q is not a number of seconds", name, s)
	}
	return max(time.Duration(n*1e6)*time.Microsecond, time.Microsecond), nil
}

// describe says which tier answered, with which version, and how old the answer is: Cache-Status as RFC 9211 has it,
// Age, and what is proved.
func describe(h http.Header, r nearcache.Result[product.Product], fresh bool) {
	h.Set(headerVersion, r.Version.String())
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
	if r.Unconfirmed {
		status += "-unconfirmed"
	}
	h.Set("Cache-Status", status)
}

func writeJSON[T any](w http.ResponseWriter, status int, v T) {
	b, err := json.Marshal(v)
	if err != nil {
		problem(w, http.StatusInternalServerError, "encoding failed")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}
