package l2

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// moves remembers the buckets whose sessions have ended.
type moves struct{ got []int }

func (m *moves) KeysChanged([]uint64) {}
func (m *moves) SessionChanged(of BucketSet) {
	m.got = append(m.got, slices.Collect(of.All())...)
}

// dial is a connection to a node of its own.
func (r *routes) dial(conn net.Conn) *routedConn { return follow(conn, r, &Node{}) }

// sewer is a connection that takes everything.
type sewer struct{ net.Conn }

func (sewer) Write(p []byte) (int, error) { return len(p), nil }
func (sewer) Close() error                { return nil }

func get(key string) string { return fmt.Sprintf("*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", len(key), key) }

// begins is what the keys of a bucket begin with.
func begins(bucket int) string { return strings.TrimSuffix(NewKeyspace("nc").Watermark(bucket), "w") }

func TestRoutes_BucketThatMovesBeginsASession(t *testing.T) { // C1
	m := &moves{}
	r := newRoutes(NewKeyspace("nc"), m)
	want := func(what string, sessions ...int) {
		t.Helper()
		if !slices.Equal(m.got, sessions) {
			t.Errorf("%s: sessions %v, want %v", what, m.got, sessions)
		}
		m.got = nil
	}
	keys := NewKeyspace("nc")
	five, six := keys.Watermark(5), begins(6)+"v:n:k"
	write := func(c net.Conn, s string) {
		t.Helper()
		if n, err := c.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	a := r.dial(sewer{})
	b := r.dial(sewer{})
	want("two nodes are dialled")
	write(a, get(five)+get(six))
	write(a, get(five))
	want("nothing moves")
	write(b, get(six))
	want("a slot is another node's", 6)
	if r.node(5) != a.node || r.node(6) != b.node || r.node(7) != nil {
		t.Errorf("nodes %v, %v and %v, want those of a, b and none", r.node(5), r.node(6), r.node(7))
	}
	write(b, get(six)+get(six))
	write(a, get(five))
	want("and stays there")
	write(a, get(six))
	want("and goes back", 6)

	c := r.dial(sewer{})
	write(a, get(five)) // and the old one is asked a while longer
	want("the new primary is dialled, which is no move")
	write(c, get(five))
	want("until it is asked", 5)
	write(c, get(six))
	want("for each bucket", 6)
}

// TestRoutes_LostConnectionEndsTheSessionsOfItsBuckets: those of other connections go on, and what comes next on
// another connection begins no second session.
func TestRoutes_LostConnectionEndsTheSessionsOfItsBuckets(t *testing.T) { // C1
	for what, lose := range map[string]func(c *routedConn, far net.Conn){
		"closed here":  func(c *routedConn, _ net.Conn) { _ = c.Close() },
		"closed there": func(c *routedConn, far net.Conn) { _ = far.Close(); _, _ = c.Read(make([]byte, 1)) },
	} {
		t.Run(what, func(t *testing.T) {
			m := &moves{}
			r := newRoutes(NewKeyspace("nc"), m)
			near, far := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, far) }()
			a, b, c := r.dial(near), r.dial(sewer{}), r.dial(sewer{})
			for _, w := range []struct {
				to   net.Conn
				what string
			}{{a, get(begins(5) + "w")}, {b, get(begins(6) + "w")}, {a, get(begins(7) + "w")}} {
				if _, err := w.to.Write([]byte(w.what)); err != nil {
					t.Fatal(err)
				}
			}
			lose(a, far)
			if !slices.Equal(m.got, []int{5, 7}) {
				t.Fatalf("sessions of %v ended, want those of the lost connection, 5 and 7", m.got)
			}
			_, _ = c.Write([]byte(get(begins(5) + "w")))
			_ = a.Close()
			if !slices.Equal(m.got, []int{5, 7}) {
				t.Errorf("sessions of %v ended, want no second one", m.got)
			}
		})
	}
}

// piecemeal is a connection that reads so many bytes at a time.
type piecemeal struct {
	sewer
	text string
	size int
}

func (p *piecemeal) Read(to []byte) (int, error) {
	n := copy(to[:min(len(to), p.size)], p.text)
	if p.text = p.text[n:]; n == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	return n, nil
}

// TestRoutes_FlushEndsTheSessionsOfItsServer, however its push is cut into pieces, and no other push does.
func TestRoutes_FlushEndsTheSessionsOfItsServer(t *testing.T) { // C6
	const push = ">2\r\n$10\r\ninvalidate\r\n"
	key := begins(5) + "v:n:k"
	keys := push + fmt.Sprintf("*1\r\n$%d\r\n%s\r\n", len(key), key)
	for text, flushes := range map[string]int{
		push + "_\r\n":                  1,
		push + "*-1\r\n":                1,
		push + "$-1\r\n":                1,
		keys:                            0,
		keys + "$3\r\nabc\r\n" + keys:   0,
		keys + push + "_\r\n" + keys:    1,
		push + "_\r\n" + push + "_\r\n": 2,
		"$10\r\ninvalidate\r\n$3\r\nabc\r\n" + keys: 0,
	} {
		for size := 1; size <= len(text); size++ {
			m := &moves{}
			r := newRoutes(NewKeyspace("nc"), m)
			a, b := r.dial(&piecemeal{text: text, size: size}), r.dial(sewer{})
			_, _ = a.Write([]byte(get(begins(5) + "w")))
			_, _ = b.Write([]byte(get(begins(6) + "w")))
			for err := error(nil); err == nil; {
				_, err = a.Read(make([]byte, 64))
			}
			if got := len(m.got); (got > 0) != (flushes > 0) || got > flushes || slices.Contains(m.got, 6) {
				t.Fatalf("%q in pieces of %d: sessions of %v ended, want %d of 5", text, size, m.got, flushes)
			}
		}
	}
}

func TestRoutes_FindKeysInPieces(t *testing.T) {
	unknown := 1
	for slices.Contains(tagsOf(DefaultBuckets).tags, strconv.Itoa(unknown)) {
		unknown++
	}
	text := "*3\r\n$5\r\nHELLO\r\n" + get(begins(7)+"w") + get(begins(63)+"v:n:"+begins(9)+"w") +
		get("nc:{"+strconv.Itoa(unknown)+"}:w") + get("nc:{}:w") + get("nc:"+begins(8)+"w") +
		get("other"+begins(3)[2:]+"w") +
		get("nc:{123456789012345678901234567890}:w") + get(strings.TrimSuffix(begins(4), "}:")) +
		get(strings.TrimSuffix(begins(2), ":"))
	for size := 1; size <= len(text); size++ {
		r := newRoutes(NewKeyspace("nc"), &moves{})
		c := r.dial(sewer{})
		for part := range slices.Chunk([]byte(text), size) {
			_, _ = c.Write(part)
		}
		var found []int
		for b := range r.last {
			if r.last[b].Load() != nil {
				found = append(found, b)
			}
		}
		if !slices.Equal(found, []int{2, 7, 63}) {
			t.Fatalf("in pieces of %d: %v", size, found)
		}
	}
}

func TestRoutes_NamesThatLookLikeOurProtocol(t *testing.T) { // D9
	seven := begins(7) + "w"
	odd := []string{"\n" + seven, "\r\n" + seven, fmt.Sprintf("\r\n$%d\r\n%s\r\n", len(seven), seven), get(seven),
		seven, "\n", "*", "$9\r\n"}
	for _, name := range odd {
		text := get(begins(5)+"v:n:"+name) + get(begins(5)+"l:n:"+name) + get(name+"x") + get(begins(6)+"w")
		for size := 1; size <= len(text); size++ {
			m := &moves{}
			r := newRoutes(NewKeyspace("nc"), m)
			a, b := r.dial(sewer{}), r.dial(sewer{})
			if _, err := a.Write([]byte(get(seven))); err != nil {
				t.Fatal(err)
			}
			for part := range slices.Chunk([]byte(text), size) {
				if _, err := b.Write(part); err != nil {
					t.Fatalf("%q in pieces of %d: %v", name, size, err)
				}
			}
			if name != seven && len(m.got) > 0 { // that one is a watermark's key, whoever asks for it
				t.Fatalf("%q in pieces of %d: sessions %v of a bucket that has not moved", name, size, m.got)
			}
			if r.last[5].Load() == nil || r.last[6].Load() == nil {
				t.Fatalf("%q in pieces of %d: a bucket was not seen", name, size)
			}
		}
	}
}

func TestRoutes_RefuseWhatIsNoCommand(t *testing.T) {
	for _, text := range []string{"GET nc:{7}:w\r\n", "*1\r\n$4\r\nPING\r\nx", "\n", "*1\r\n$99999999999999999999\r\n"} {
		c := newRoutes(NewKeyspace("nc"), &moves{}).dial(sewer{})
		if n, err := c.Write([]byte(text)); err == nil || n != 0 {
			t.Errorf("%q: written %d bytes, %v", text, n, err)
		}
	}
}
