package main

import (
	"slices"
	"strings"
	"unicode"
)

// keywords can begin a type, so none of them is the name of a parameter.
var keywords = []string{"chan", "func", "interface", "map", "struct"}

// withoutNames is a listing's line without the names of parameters and results. A new name for a parameter breaks
// nobody, so the comparison with the baseline leaves names out; the listings have them for their readers.
func withoutNames(line string) string {
	kind, _, _ := strings.Cut(line, " ")
	if kind != "func" && kind != "method" && kind != "type" {
		return line // a constant's value may look like anything
	}
	var out strings.Builder
	var open []byte // the brackets around the current byte
	for i := 0; i < len(line); {
		c := line[i]
		out.WriteByte(c)
		i++
		switch c {
		case '(', '[', '{':
			open = append(open, c)
		case ')', ']', '}':
			open = open[:max(0, len(open)-1)]
		case ',':
			if i < len(line) && line[i] == ' ' {
				out.WriteByte(' ')
				i++
			}
		}
		if (c == '(' || c == ',') && len(open) > 0 && open[len(open)-1] == '(' {
			i += nameLen(line[i:])
		}
	}
	return out.String()
}

// nameLen is the length of "name " at the beginning of a parameter, or 0 if it has no name.
func nameLen(s string) int {
	end := strings.IndexFunc(s, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if end <= 0 || s[end] != ' ' || slices.Contains(keywords, s[:end]) {
		return 0
	}
	return end + 1
}
