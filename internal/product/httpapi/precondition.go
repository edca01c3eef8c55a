package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/nearcache/nearcache-go/internal/product"
)

// tag is the opaque part of a product's entity tag: the version, and a hash of the content. The version alone proves
// nothing about a change that nothing has counted: of a row older than the trigger, or by a session in which triggers
// do not fire.
func tag(now product.State) string {
	b, err := json.Marshal(now.Product)
	if err != nil { // a product always has a JSON form
		panic(err)
	}
	const bytes = 12 // of the hash: enough that nobody finds two contents with the same
	sum := sha256.Sum256(b)
	return now.Version.String() + "-" + hex.EncodeToString(sum[:bytes])
}

func etag(now product.State) string { return `"` + tag(now) + `"` }

// entityTag is one of If-Match's or If-None-Match's.
type entityTag struct {
	weak   bool
	opaque string // without its quotes
}

// is compares with a product's own tag. With versions a tag that is a version alone, as Nearcache-Version has it,
// stands for every content of that version; 0 is no version.
func (t entityTag) is(now product.State, versions bool) bool {
	if t.opaque == tag(now) {
		return true
	}
	n, err := strconv.ParseUint(t.opaque, 10, 64)
	return versions && err == nil && n > 0 && product.Version(n) == now.Version && now.Version.String() == t.opaque
}

// condition is a header with entity tags.
type condition struct {
	given bool
	star  bool
	tags  []entityTag
}

// has says whether one of the condition's tags is the product's.
func (c condition) has(match func(entityTag) bool) bool {
	return c.star || slices.ContainsFunc(c.tags, match)
}

// precondition is what a request asks of the product's present state.
type precondition struct{ match, noneMatch condition }

// matches is If-Match, which compares strongly.
func (p precondition) matches(now product.State) bool {
	return !p.match.given || now.There && p.match.has(func(t entityTag) bool { return !t.weak && t.is(now, true) })
}

// excludes is If-None-Match, which compares weakly. A version alone matches nothing there: the answer that it is
// unchanged could be wrong, the content never is.
func (p precondition) excludes(now product.State) bool {
	return p.noneMatch.given && now.There && p.noneMatch.has(func(t entityTag) bool { return t.is(now, false) })
}

// hold is both, in the order of RFC 9110.
func (p precondition) hold(now product.State) bool { return p.matches(now) && !p.excludes(now) }

var (
	errMatch     = errors.New("If-Match is a list of entity tags, or *")
	errNoneMatch = errors.New("If-None-Match is a list of entity tags, or *")
)

// writeConditions are the conditions of a write, from both headers.
func writeConditions(h http.Header) (p precondition, err error) {
	var ok bool
	if p.match, ok = parseCondition(h.Values("If-Match")); !ok {
		return p, errMatch
	}
	if p.noneMatch, ok = parseCondition(h.Values("If-None-Match")); !ok {
		return p, errNoneMatch
	}
	return p, nil
}

// readConditions are the conditions of a read, where an If-None-Match that is no list of tags matches nothing.
func readConditions(h http.Header) (precondition, error) {
	p, err := writeConditions(h)
	if errors.Is(err, errNoneMatch) {
		p.noneMatch = condition{}
		return p, nil
	}
	return p, err
}

// parseCondition parses the lines of such a header; ok is false for what is no list of entity tags. A list may go over
// several lines, and a comma inside a tag's quotes ends nothing.
func parseCondition(lines []string) (c condition, ok bool) {
	if len(lines) == 0 {
		return c, true
	}
	c.given = true
	s := strings.Join(lines, ",")
	if strings.Trim(s, " \t") == "*" {
		c.star = true
		return c, true
	}
	for {
		if s = strings.TrimLeft(s, " \t,"); s == "" {
			return c, len(c.tags) > 0
		}
		var t entityTag
		s, t.weak = strings.CutPrefix(s, "W/")
		opaque, rest, closed := strings.Cut(strings.TrimPrefix(s, `"`), `"`)
		rest = strings.TrimLeft(rest, " \t")
		if s[:min(1, len(s))] != `"` || !closed || rest != "" && rest[0] != ',' {
			return c, false
		}
		t.opaque, s = opaque, rest
		c.tags = append(c.tags, t)
	}
}
