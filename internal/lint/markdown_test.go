package lint_test

import (
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// document is what the checks need of a Markdown file.
type document struct {
	links    []string        // targets of inline links and images, in order
	anchors  map[string]bool // the names by which GitHub and the site know its headings
	code     []string        // lines of code blocks, and code spans
	sections map[string][]string
}

// parseMarkdown reads the parts of Markdown that the documents use: headings with #, fenced and indented code, code
// spans, inline links.
func parseMarkdown(text string) document {
	d := document{anchors: map[string]bool{}, sections: map[string][]string{}}
	fence, section, blank := "", "", true
	seen := map[string]int{}
	for _, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case fence != "":
			if strings.HasPrefix(trimmed, fence) {
				fence = ""
			} else {
				d.code = append(d.code, line)
			}
			continue
		case strings.HasPrefix(trimmed, "```"):
			fence = "```"
			continue
		case blank && strings.HasPrefix(line, "    ") && !strings.HasPrefix(trimmed, "-"):
			d.code = append(d.code, line)
			continue // indented code goes on until a line that is not blank is not indented
		}
		blank = trimmed == ""
		if level := len(line) - len(strings.TrimLeft(line, "#")); level > 0 && strings.HasPrefix(line[level:], " ") {
			section = strings.TrimSpace(line[level:])
			anchor := slug(section)
			if n := seen[anchor]; n > 0 {
				anchor += "-" + strconv.Itoa(n)
			}
			seen[slug(section)]++
			d.anchors[anchor] = true
		}
		d.sections[section] = append(d.sections[section], line)
		plain, spans := withoutSpans(line)
		d.code = append(d.code, spans...)
		d.links = append(d.links, linksIn(plain)...)
	}
	return d
}

// withoutSpans splits a line into the text around its code spans and the spans.
func withoutSpans(line string) (plain string, spans []string) {
	parts := strings.Split(line, "`")
	for i, part := range parts {
		if i%2 == 0 || i == len(parts)-1 {
			plain += part
		} else {
			spans = append(spans, part)
		}
	}
	return plain, spans
}

// linksIn returns the targets of the inline links in a line.
func linksIn(line string) (targets []string) {
	for {
		_, after, found := strings.Cut(line, "](")
		if !found {
			return targets
		}
		target, rest, closed := strings.Cut(after, ")")
		if !closed {
			return targets
		}
		targets = append(targets, strings.TrimSpace(target))
		line = rest
	}
}

// slug is the anchor of a heading: lower case, spaces as hyphens, without punctuation.
func slug(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(strings.ReplaceAll(heading, "`", "")) {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		}
	}
	return b.String()
}

func TestMarkdown_IsParsed(t *testing.T) {
	d := parseMarkdown("# A `b` (c)\n[one](x.md#y) and `[not](one)`, [two](z/)\n\n    make [not](that)\n\n" +
		"```go\n[nor](this)\n```\n## Same\n## Same\n| [in a table](t.md) |\n")
	if got, want := strings.Join(d.links, " "), "x.md#y z/ t.md"; got != want {
		t.Errorf("links: got %q, want %q", got, want)
	}
	for _, anchor := range []string{"a-b-c", "same", "same-1"} {
		if !d.anchors[anchor] {
			t.Errorf("anchor %q is missing from %v", anchor, d.anchors)
		}
	}
	if got, want := strings.Join(d.code, "|"), "b|[not](one)|    make [not](that)|[nor](this)"; got != want {
		t.Errorf("code: got %q, want %q", got, want)
	}
}
