package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/nearcache/nearcache-go/internal/product"
)

// MaxBody bounds a request's body.
const MaxBody = 64 << 10

// readBody reads a product from the request, and answers the request if it cannot. The Content-Type does not matter:
// the content must be JSON. A Content-Encoding does, since nothing decodes one.
func readBody(w http.ResponseWriter, r *http.Request) (p product.Product, ok bool) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		problem(w, http.StatusUnsupportedMediaType,
			fmt.Sprintf("the Content-Encoding %.40q is not decoded: send the JSON as it is", enc))
		return p, false
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		problem(w, http.StatusBadRequest, fmt.Sprintf("body too large: at most %d bytes are taken", MaxBody))
		return p, false
	case errors.Is(err, os.ErrDeadlineExceeded):
		problem(w, http.StatusRequestTimeout, "the body did not arrive in time")
		return p, false
	case err != nil:
		problem(w, http.StatusBadRequest, "malformed body: it ended early")
		return p, false
	}
	p, bad, err := decodeProduct(b)
	switch {
	case err != nil:
		problem(w, http.StatusBadRequest, "malformed body: "+err.Error())
	case len(bad) > 0:
		problem(w, http.StatusBadRequest, "invalid product", bad...)
	default:
		return p, true
	}
	return p, false
}

// decodeProduct reads one JSON object with a product's fields and nothing else. What encoding/json would change or
// choose in silence is refused: bytes that are no UTF-8, half a surrogate pair, a field twice, a name in other
// letters.
func decodeProduct(b []byte) (p product.Product, bad []product.Problem, err error) {
	if !utf8.Valid(b) {
		return p, nil, errors.New("it is not UTF-8")
	}
	if loneSurrogate(b) {
		return p, nil, errors.New("it has half of a surrogate pair")
	}
	fields, err := object(b)
	if err != nil {
		return p, nil, err
	}
	into := map[string]any{"id": &p.ID, "name": &p.Name, "description": &p.Description, "price": &p.Price}
	for _, f := range fields {
		to, known := into[f.name]
		if !known {
			return p, nil, fmt.Errorf("unknown field %.40q", f.name)
		}
		if string(f.value) == "null" {
			continue
		}
		var kind *json.UnmarshalTypeError
		if err := json.Unmarshal(f.value, to); errors.As(err, &kind) {
			return p, nil, fmt.Errorf("%s cannot be a JSON %s", f.name, kind.Value)
		} else if err != nil {
			return p, nil, err
		}
		delete(into, f.name)
	}
	if _, missing := into["price"]; missing {
		bad = append(bad, product.Problem{Field: "price", Detail: "is missing"})
	}
	return p, bad, nil
}

// field is a member of a JSON object.
type field struct {
	name  string
	value json.RawMessage
}

// object reads the members of the one object that b must be.
func object(b []byte) (fields []field, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	open, err := d.Token()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty")
	}
	if err != nil {
		return nil, err
	}
	if open != json.Delim('{') {
		return nil, fmt.Errorf("a JSON %s and not an object", kindOf(open))
	}
	seen := map[string]bool{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		f := field{name: fmt.Sprint(name)}
		if seen[f.name] {
			return nil, fmt.Errorf("the field %.40q comes twice", f.name)
		}
		seen[f.name] = true
		if err := d.Decode(&f.value); err != nil {
			return nil, err
		}
		fields = append(fields, f)
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	more, err := d.Token()
	switch {
	case err == nil:
		return nil, fmt.Errorf("%v follows the JSON object", more)
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	return fields, nil
}

func kindOf(t json.Token) string {
	switch t.(type) {
	case json.Delim:
		return "array"
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "bool"
	}
	return "null"
}

// loneSurrogate reports an escape such as \ud800 that is no half of a pair: encoding/json would put U+FFFD in its
// place.
func loneSurrogate(b []byte) bool {
	var high rune
	for i := 0; i < len(b); {
		if b[i] != '\\' || i+1 >= len(b) {
			if high != 0 {
				return true
			}
			i++
			continue
		}
		var r rune
		if n := i + 6; b[i+1] == 'u' && n <= len(b) {
			u, err := strconv.ParseUint(string(b[i+2:n]), 16, 16)
			if err != nil {
				return false // no JSON; that error says it better
			}
			r = rune(u)
			i = n
		} else {
			i += 2
		}
		switch {
		case high != 0:
			if utf16.DecodeRune(high, r) == utf8.RuneError {
				return true
			}
			high = 0
		case utf16.IsSurrogate(r):
			if r >= 0xdc00 {
				return true
			}
			high = r
		}
	}
	return high != 0
}
