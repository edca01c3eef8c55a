// Package product is the demo's domain: products, what makes one valid, and where they are kept. It knows no HTTP.
package product

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nearcache/nearcache-go/coherence"
)

// Namespace is that of products in the cache and on events.
const Namespace = "product"

// Version is a product's version.
type Version = coherence.Version

// Product is one product. ID is any text of up to 128 bytes without control characters.
type Product struct {
	ID          string  `json:"id"`
	Name        string  `json:"name"`
	Description *string `json:"description,omitempty"`
	Price       Price   `json:"price"`
}

// Price is an amount in hundredths. In JSON it is a number with at most two decimals, and it never passes through a
// float.
type Price int64

const maxPrice = 1_000_000_000_00

// MarshalJSON writes 1250 as 12.50.
func (p Price) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%d.%02d", p/100, p%100), nil
}

// UnmarshalJSON reads a number of at most two decimals.
func (p *Price) UnmarshalJSON(b []byte) error {
	whole, cents, point := strings.Cut(string(b), ".")
	if point && (cents == "" || len(cents) > 2) {
		return fmt.Errorf("price %s: a number with at most two decimals is needed", b)
	}
	for len(cents) < 2 {
		cents += "0"
	}
	n, err := strconv.ParseInt(whole+cents, 10, 64)
	if err != nil || n < 0 || n > maxPrice || strings.HasPrefix(whole, "-") {
		return fmt.Errorf("price %s: a number from 0 to %d with at most two decimals is needed", b, maxPrice/100)
	}
	*p = Price(n)
	return nil
}

// Problem names a field and what is wrong with it.
type Problem struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// Validate lists what is wrong with a product.
func (p Product) Validate() (problems []Problem) {
	if why := CheckID(p.ID); why != "" {
		problems = append(problems, Problem{"id", why})
	}
	if n := utf8.RuneCountInString(strings.TrimSpace(p.Name)); n == 0 || n > 200 || strings.ContainsFunc(p.Name, control) {
		problems = append(problems, Problem{"name", "must have 1 to 200 characters, none of them a control character"})
	}
	if p.Description != nil && (utf8.RuneCountInString(*p.Description) > 4000 || strings.ContainsFunc(*p.Description,
		unprintable)) {
		problems = append(problems, Problem{"description",
			"must have at most 4000 characters, none of them a control character other than tab, line feed and carriage return"})
	}
	if p.Price < 0 || p.Price > maxPrice {
		problems = append(problems, Problem{"price", "must be between 0 and " + strconv.Itoa(maxPrice/100)})
	}
	return problems
}

// CheckID tells what is wrong with an id, "" if nothing is.
func CheckID(id string) string {
	switch {
	case id == "" || len(id) > 128:
		return "must have 1 to 128 bytes"
	case !utf8.ValidString(id):
		return "must be UTF-8"
	case strings.ContainsFunc(id, control):
		return "must not have control characters"
	case id == "." || id == "..":
		return "must not be a dot segment of a path"
	case id == "/": // net/http takes %2F at the end of a path for its end
		return "must not be a slash alone"
	}
	return ""
}

// control reports Unicode's control characters, C1 (U+0080 to U+009F) as well as C0, and the two characters that end
// lines and paragraphs.
func control(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp) }

// unprintable is control without what a text of several lines has.
func unprintable(r rune) bool { return r != '\n' && r != '\r' && r != '\t' && control(r) }

// What a Store answers.
var (
	ErrNotFound = errors.New("product: not found")
	ErrExists   = errors.New("product: exists already")
	ErrConflict = errors.New("product: is not in the state that the write asks for")
	// ErrInvalid says that the database refuses a product that Validate does not: by a constraint of its own.
	ErrInvalid = errors.New("product: refused by the database")
	// ErrOutcomeUnknown says that a commit was sent and not answered: the write may have been done or not.
	ErrOutcomeUnknown = errors.New("product: the outcome of the commit is not known")
)

// State is a product as a write finds it, with its row locked.
type State struct {
	There   bool
	Product Product
	Version Version // 0: nothing has counted one yet
}

// Condition decides whether a write may go on from a state. nil always lets it.
type Condition func(now State) bool

// Page is a part of a list.
type Page struct {
	// Search is what a product's name or id contains, in upper or lower case. Empty: anything.
	Search string
	After  string // the id after which the page begins; empty: the first
	Limit  int    // products at most
}

// Store keeps products with their versions. Its methods are safe for concurrent use. An error of a write that proves
// that nothing was committed wraps nearcache.ErrNotCommitted.
type Store interface {
	// Find reads a product and its version in one snapshot. With ErrNotFound it returns the version of the absence.
	Find(ctx context.Context, id string) (Product, Version, error)
	// List returns a page of products, by id.
	List(ctx context.Context, page Page) ([]Product, error)
	// Create stores a new product, or returns ErrExists.
	Create(ctx context.Context, p Product) (Version, error)
	// Replace stores a product, new or not, or returns ErrConflict if the condition does not hold.
	Replace(ctx context.Context, p Product, may Condition) (v Version, created bool, err error)
	// Delete removes a product. It returns ErrNotFound if there is none, ErrConflict if the condition does not hold.
	Delete(ctx context.Context, id string, may Condition) (Version, error)
	// Count is the number of products.
	Count(ctx context.Context) (int, error)
}
