package coherence

import "strings"

// keyEscaper makes the parts of a composite key tell where they end.
var keyEscaper = strings.NewReplacer(`\`, `\\`, `:`, `\:`)

// CompositeKey is the name of a key that consists of several columns, as the triggers of the drivers write it: the
// parts are joined by colons, and a colon or a backslash inside a part is preceded by a backslash. Different parts give
// different names: ("a:b", "c") is `a\:b:c` and ("a", "b:c") is `a:b\:c`. A single part is its own name, without
// escapes.
//
// A cache whose keys have several parts uses it in its EncodeKey, so that events and reads agree on the name.
func CompositeKey(parts ...string) string {
	if len(parts) == 1 {
		return parts[0]
	}
	escaped := make([]string, len(parts))
	for i, p := range parts {
		escaped[i] = keyEscaper.Replace(p)
	}
	return strings.Join(escaped, ":")
}

// SplitKey returns the n parts that CompositeKey joined. A name whose number of parts is another, or in which a
// backslash stands before anything but a colon or a backslash, is no name of CompositeKey, and ok is false.
func SplitKey(name string, n int) (parts []string, ok bool) {
	if n == 1 {
		return []string{name}, true
	}
	var part strings.Builder
	for i := 0; i < len(name); i++ {
		switch c := name[i]; c {
		case '\\':
			i++
			if i == len(name) || name[i] != '\\' && name[i] != ':' {
				return nil, false
			}
			part.WriteByte(name[i])
		case ':':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(c)
		}
	}
	parts = append(parts, part.String())
	return parts, len(parts) == n
}
