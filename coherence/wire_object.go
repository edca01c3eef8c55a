package coherence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Object is a JSON object of somebody else's, for decoders of events. Reading a field never fails: what is not there,
// and what makes no sense, reads as absent. A field's name is first looked for as it is written, and then without
// regard to case; of several that differ in case, the first one in the order of their bytes is taken. Of two fields of
// one name the last one counts.
type Object map[string]json.RawMessage

// ParseObject parses one JSON object and nothing after it; a byte order mark and white space around it are ignored.
// The error is ErrMalformed.
func ParseObject(b []byte) (o Object, err error) {
	return o, UnmarshalObject(b, (*map[string]json.RawMessage)(&o))
}

// UnmarshalObject parses one JSON object and nothing after it into v. The error is ErrMalformed. A field of v whose
// type does not fit what is there makes an error of the whole message; Object is for messages whose other fields may
// hold anything.
func UnmarshalObject[T any](b []byte, v *T) error {
	if len(b) > MaxMessageBytes {
		return fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if t := bytes.TrimLeft(b, " \t\r\n"); len(t) == 0 || t[0] != '{' {
		return fmt.Errorf("%w: not a JSON object", ErrMalformed)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%w: something follows the JSON object", ErrMalformed)
	}
	return nil
}

func (o Object) raw(name string) (found json.RawMessage) {
	if v, ok := o[name]; ok {
		return v
	}
	taken := ""
	for n, v := range o {
		if strings.EqualFold(n, name) && (found == nil || n < taken) { // always the same of several
			taken, found = n, v
		}
	}
	return found
}

// Has reports whether the object has the field, whatever it holds.
func (o Object) Has(name string) bool { return o.raw(name) != nil }

// Text is a field's string, or the plain decimal text of its number: 42, 42.0 and 4.2e1 are all "42", exactly,
// however large. Bytes of a string that are not UTF-8 are kept as they are. ok is false for anything else, and for a
// string with half of a surrogate pair.
func (o Object) Text(name string) (s string, ok bool) {
	raw := o.raw(name)
	switch {
	case len(raw) == 0:
		return "", false
	case raw[0] != '"':
		return decimal(string(raw))
	case !utf8.Valid(raw):
		return unquoteBytes(raw)
	}
	if json.Unmarshal(raw, &s) != nil || halfPair(raw, s) {
		return "", false
	}
	return s, true
}

// halfPair reports whether a string's literal has an escape such as \ud800 that is no half of a surrogate pair. json
// puts U+FFFD in its place, and the string would be another one.
func halfPair(raw []byte, s string) bool {
	put := strings.Count(s, "\ufffd")
	if put == 0 {
		return false
	}
	put -= bytes.Count(raw, []byte("\ufffd"))
	for i := 0; i+5 < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		if i++; raw[i] == 'u' && strings.EqualFold(string(raw[i+1:i+5]), "fffd") {
			put--
		}
	}
	return put > 0
}

// Uint is a field's number, or the number in its string, 0 if that is no whole number from 0 to 2^64-1.
func (o Object) Uint(name string) uint64 {
	s, ok := o.Text(name)
	if !ok {
		return 0
	}
	if s, ok = decimal(strings.TrimSpace(s)); !ok {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Time is a field's moment: RFC 3339, the same without a zone (then it is UTC), or seconds since 1970. It is for
// metrics, so anything else is the zero time and no error.
func (o Object) Time(name string) time.Time {
	s, ok := o.Text(name)
	if !ok {
		return time.Time{}
	}
	s = strings.TrimSpace(s)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999",
		"2006-01-02 15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil && t.UTC().Year() > 0 && t.UTC().Year() < 10000 {
			return t.UTC()
		}
	}
	const year10000 = 253402300800
	if f, err := strconv.ParseFloat(s, 64); err == nil && f > 0 && f < year10000 {
		whole, part := math.Modf(f)
		return time.Unix(int64(whole), int64(part*1e9)).UTC()
	}
	return time.Time{}
}

// decimal writes a JSON number without an exponent and without zeros that say nothing. ok is false for what is no
// number, and for one that would be longer than any key.
func decimal(s string) (plain string, ok bool) {
	if !json.Valid([]byte(s)) || s == "" || s[0] != '-' && (s[0] < '0' || s[0] > '9') {
		return "", false
	}
	s, minus := strings.CutPrefix(s, "-")
	mantissa, power, _ := strings.Cut(strings.ToLower(s), "e")
	exponent := 0
	if power != "" {
		var err error
		if exponent, err = strconv.Atoi(power); err != nil {
			return "", false
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := whole + fraction
	point := len(whole) + exponent // where the decimal point is in digits
	digits = strings.TrimRight(digits, "0")
	trimmed := strings.TrimLeft(digits, "0")
	point -= len(digits) - len(trimmed)
	const longest = 1024
	switch digits = trimmed; {
	case digits == "":
		return "0", true
	case point > longest || point < -longest:
		return "", false
	case point >= len(digits):
		plain = digits + strings.Repeat("0", point-len(digits))
	case point > 0:
		plain = digits[:point] + "." + digits[point:]
	default:
		plain = "0." + strings.Repeat("0", -point) + digits
	}
	if minus {
		plain = "-" + plain
	}
	return plain, true
}

// unquoteBytes is the string that a JSON literal stands for whose bytes are not UTF-8: those are kept. Each run
// between them is UTF-8, and json knows its escapes.
func unquoteBytes(raw []byte) (string, bool) {
	var out []byte
	in := raw[1 : len(raw)-1]
	for len(in) > 0 {
		n := 0
		for n < len(in) {
			r, size := utf8.DecodeRune(in[n:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			n += size
		}
		var s string
		if json.Unmarshal([]byte(`"`+string(in[:n])+`"`), &s) != nil || halfPair(in[:n], s) {
			return "", false // an escape that is cut in two
		}
		out = append(out, s...)
		if in = in[n:]; len(in) > 0 {
			out = append(out, in[0])
			in = in[1:]
		}
	}
	return string(out), true
}
