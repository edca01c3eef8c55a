package suite

import (
	"slices"
	"testing"
)

func TestPushParser_FindsPushesInPiecesOfAnySize(t *testing.T) {
	one := ">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nfoo\r\n"
	two := ">2\r\n$10\r\ninvalidate\r\n*2\r\n$3\r\nfoo\r\n$4\r\n>2\r\n\r\n"
	flush := ">2\r\n$10\r\ninvalidate\r\n_\r\n"
	stream := "+OK\r\n" + one + "$5\r\na\r\n>b\r\n%1\r\n+proto\r\n:3\r\n" + two + "$-1\r\n*0\r\n" + flush +
		"*2\r\n*1\r\n:1\r\n$0\r\n\r\n|1\r\n+ttl\r\n:9\r\n:1\r\n" + one + "-ERR >2\r\n"
	want := [][2]int{{1, len(one)}, {2, len(two)}, {0, len(flush)}, {1, len(one)}}
	for size := 1; size <= len(stream); size++ {
		var got [][2]int
		f := pushParser{onPush: func(keys, bytes int) { got = append(got, [2]int{keys, bytes}) }}
		for part := range slices.Chunk([]byte(stream), size) {
			f.feed(part)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("in pieces of %d: got %v, want %v", size, got, want)
		}
	}
}
