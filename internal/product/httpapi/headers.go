package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
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

// entityTag is one of If-Match's or If-None-Match's.
type entityTag struct {
	weak   bool
	opaque string // without its quotes
}

// version is the version that a tag names, if it is one of ours.
func (t entityTag) version() (product.Version, bool) {
	n, err := strconv.ParseUint(t.opaque, 10, 63)
	return product.Version(n), err == nil && n > 0 && strconv.FormatUint(n, 10) == t.opaque
}

// entityTags parses the lines of such a header: star is true for "*", ok is false for what is no list of entity tags. A
// list may go over several lines, and a comma inside a tag's quotes ends nothing.
func entityTags(lines []string) (tags []entityTag, star, ok bool) {
	s := strings.Join(lines, ",")
	if strings.Trim(s, " \t") == "*" {
		return nil, true, true
	}
	for {
		if s = strings.TrimLeft(s, " \t,"); s == "" {
			return tags, false, true
		}
		var t entityTag
		s, t.weak = strings.CutPrefix(s, "W/")
		opaque, rest, closed := strings.Cut(strings.TrimPrefix(s, `"`), `"`)
		rest = strings.TrimLeft(rest, " \t")
		if s[:min(1, len(s))] != `"` || !closed || rest != "" && rest[0] != ',' {
			return nil, false, false
		}
		t.opaque, s = opaque, rest
		tags = append(tags, t)
	}
}

// unchanged compares weakly, as If-None-Match does. What is no list of tags matches nothing.
func unchanged(h http.Header, v product.Version) bool {
	tags, star, _ := entityTags(h.Values("If-None-Match"))
	return star || slices.ContainsFunc(tags, func(t entityTag) bool { got, ours := t.version(); return ours && got == v })
}

// nothing is a version that no product has.
const nothing = product.AnyVersion - 1

// ifMatch is the version that a write asks for; 0: it does not ask. Tags that are weak, or not ours, match nothing.
func ifMatch(h http.Header) (product.Version, error) {
	tags, star, ok := entityTags(h.Values("If-Match"))
	switch {
	case !ok:
		return 0, errors.New("If-Match is a list of entity tags, or *")
	case star:
		return product.AnyVersion, nil
	case len(tags) == 0:
		return 0, nil
	}
	match := nothing
	for _, t := range tags {
		v, ours := t.version()
		switch {
		case t.weak || !ours || v == match:
		case match != nothing:
			return 0, errors.New("If-Match names several versions; at most one is taken")
		default:
			match = v
		}
	}
	return match, nil
}

// onlyCreate tells whether a PUT asks that the product is not there yet.
func onlyCreate(h http.Header) (bool, error) {
	tags, star, ok := entityTags(h.Values("If-None-Match"))
	if !ok || len(tags) > 0 {
		return false, errors.New("If-None-Match of a PUT can only be *")
	}
	return star, nil
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
