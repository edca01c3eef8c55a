package audit

import (
	"context"
	"net/url"
	"strings"

	"github.com/nearcache/nearcache-go/coherence"
)

// Spellings are other ways in which programs write a key: another case, padding, leading zeros, quotes, escapes, a UUID
// with or without its dashes. The name itself is not among them.
func Spellings(name string) (out []string) {
	seen := map[string]bool{name: true, "": true}
	add := func(s string) {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	trimmed := strings.TrimSpace(name)
	unquoted := strings.Trim(trimmed, `"'{}`)
	unescaped, err := url.PathUnescape(trimmed)
	if err != nil {
		unescaped = trimmed
	}
	for _, s := range []string{trimmed, unquoted, unescaped, url.PathEscape(name)} {
		add(s)
		add(strings.ToLower(s))
		add(strings.ToUpper(s))
	}
	if n := strings.TrimLeft(trimmed, "0"); n != trimmed && n != "" && strings.Trim(n, "0123456789") == "" {
		add(n)
	}
	add(strings.TrimSuffix(strings.TrimPrefix(trimmed, "+"), ".0"))
	lower := strings.ToLower(unquoted)
	plain := strings.ReplaceAll(lower, "-", "")
	if len(plain) == 32 && strings.Trim(plain, "0123456789abcdef") == "" {
		add(plain)
		add(plain[:8] + "-" + plain[8:12] + "-" + plain[12:16] + "-" + plain[16:20] + "-" + plain[20:])
	}
	return out
}

// noSuchKey is a name that no key has: a source gives it the floor of the namespace.
const noSuchKey = "\x01no such key\x01"

// CountedAs is the spelling under which a source counts a key, "" if that is the name itself, or if none is found. A
// key that was counted under its own name is never taken for another one.
func CountedAs(ctx context.Context, versions coherence.Versioner, namespace, name string) (string, error) {
	floor, err := versions.Version(ctx, namespace, noSuchKey)
	if err != nil {
		return "", err
	}
	own, err := versions.Version(ctx, namespace, name)
	if err != nil || own != floor {
		return "", err
	}
	for _, s := range Spellings(name) {
		v, err := versions.Version(ctx, namespace, s)
		if err != nil {
			return "", err
		}
		if v > floor {
			return s, nil
		}
	}
	return "", nil
}
