package demo

import (
	"bytes"
	"strconv"
)

// tap reads what Redis sends on one connection and reports the keys that it invalidates. It follows the protocol
// (RESP3) byte by byte, so that a value that looks like an invalidation is not taken for one.
type tap struct {
	pushed func(key string) // "" is every key

	line  []byte // of the present line
	skip  int    // bytes of a bulk string that are still to come, with its line end
	bulk  []byte // that bulk string, where it matters
	push  int    // elements of the present push that are still to come; 0: there is none
	kind  string // the push's first element
	keys  int    // keys of the invalidation that are still to come
	keeps bool   // the present bulk string matters
}

// maxTapLine bounds a line. A longer one is no length and no number, and its text does not matter.
const maxTapLine = 64

func (t *tap) feed(b []byte) {
	for len(b) > 0 {
		if t.skip > 0 {
			n := min(t.skip, len(b))
			if t.keeps {
				t.bulk = append(t.bulk, b[:n]...)
			}
			if t.skip -= n; t.skip == 0 && t.keeps {
				t.text(string(bytes.TrimSuffix(t.bulk, []byte("\r\n"))))
				t.bulk, t.keeps = t.bulk[:0], false
			}
			b = b[n:]
			continue
		}
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			t.hold(b)
			return
		}
		t.hold(b[:end])
		t.token(bytes.TrimSuffix(t.line, []byte("\r")))
		t.line, b = t.line[:0], b[end+1:]
	}
}

func (t *tap) hold(b []byte) {
	t.line = append(t.line, b[:min(len(b), maxTapLine-min(len(t.line), maxTapLine))]...)
}

// token takes one line, which begins a value.
func (t *tap) token(line []byte) {
	if len(line) == 0 {
		return
	}
	n, err := strconv.Atoi(string(line[1:]))
	switch line[0] {
	case '>':
		if err == nil {
			t.push, t.kind, t.keys = n, "", 0
		}
	case '$', '=', '!':
		if err == nil && n >= 0 {
			t.skip, t.keeps = n+2, t.push > 0 || t.keys > 0
		}
	case '*':
		if t.push > 0 && t.kind == "invalidate" && err == nil {
			t.push--
			t.keys = n
		}
	case '_':
		if t.push > 0 && t.kind == "invalidate" {
			t.push = 0
			t.pushed("")
		}
	default:
		if t.push > 0 && t.keys == 0 {
			t.push--
		}
	}
}

// text takes a bulk string of a push.
func (t *tap) text(s string) {
	switch {
	case t.kind == "":
		t.kind = s
		t.push--
	case t.keys > 0:
		t.keys--
		t.pushed(s)
	case t.push > 0:
		t.push--
	}
}
