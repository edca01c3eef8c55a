package l2

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// moves remembers sessions: -1 of all buckets.
type moves struct{ got []int }

func (m *moves) KeysChanged([]uint64) {}
func (m *moves) SessionChanged()      { m.got = append(m.got, -1) }
func (m *moves) BucketMoved(b int)    { m.got = append(m.got, b) }

// sewer is a connection that takes everything.
type sewer struct{ net.Conn }

func (sewer) Write(p []byte) (int, error) { return len(p), nil }

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
	a := r.dialled(sewer{})
	b := r.dialled(sewer{})
	want("two nodes are dialled", -1, -1)
	write(a, get(five)+get(six))
	write(a, get(five))
	want("nothing moves")
	write(b, get(six))
	want("a slot is another node's", 6)
	if r.node(5) != any(a) || r.node(6) != any(b) || r.node(7) != nil {
		t.Errorf("nodes %v, %v and %v, want those of a, b and none", r.node(5), r.node(6), r.node(7))
	}
	write(b, get(six)+get(six))
	write(a, get(five))
	want("and stays there")
	write(a, get(six))
	want("and goes back", 6)

	c := r.dialled(sewer{})
	want("the new primary is dialled", -1)
	write(a, get(five)) // and the old one is asked a while longer
	want("which is no move")
	write(c, get(five))
	want("until the new one is", 5)
	write(c, get(six))
	want("this bucket's last command was before the dial")
	if r.dialled(nil) != nil {
		t.Error("a dial that failed is a connection")
	}
}

func TestRoutes_FindKeysInPieces(t *testing.T) {
	unknown := 1
	for slices.Contains(bucketTags(DefaultBuckets), strconv.Itoa(unknown)) {
		unknown++
	}
	text := "*3\r\n$5\r\nHELLO\r\n" + get(begins(7)+"w") + get(begins(63)+"v:n:"+begins(9)+"w") +
		get("nc:{"+strconv.Itoa(unknown)+"}:w") + get("nc:{}:w") + get("nc:"+begins(8)+"w") +
		get("other"+begins(3)[2:]+"w") +
		get("nc:{123456789012345678901234567890}:w") + get(strings.TrimSuffix(begins(4), "}:")) +
		get(strings.TrimSuffix(begins(2), ":"))
	for size := 1; size <= len(text); size++ {
		r := newRoutes(NewKeyspace("nc"), &moves{})
		c := r.dialled(sewer{})
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
			a, b := r.dialled(sewer{}), r.dialled(sewer{})
			m.got = nil
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
		c := newRoutes(NewKeyspace("nc"), &moves{}).dialled(sewer{})
		if n, err := c.Write([]byte(text)); err == nil || n != 0 {
			t.Errorf("%q: written %d bytes, %v", text, n, err)
		}
	}
}
