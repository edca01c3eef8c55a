package nearcache

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// pipelines is a fillQueue whose pipelines are under way until they are released. Keys name the fills.
type pipelines struct {
	fillQueue[int, string]
	sent    [][]int
	release chan struct{}
}

var nodeA, nodeB = new(l2.Node), new(l2.Node)

func newPipelines() *pipelines {
	p := &pipelines{release: make(chan struct{})}
	p.send = func(fills []fill[int, string]) {
		var keys []int
		for _, x := range fills {
			keys = append(keys, x.f.k)
		}
		p.sent = append(p.sent, keys)
		<-p.release
	}
	return p
}

// offer begins to fill a key of a node with so many bytes, and returns when the fill waits or is under way.
func (p *pipelines) offer(node *l2.Node, key, bytes int, done chan<- int) {
	go func() {
		defer func() {
			_ = recover()
			done <- key
		}()
		p.do(node, fill[int, string]{f: &flight[int, string]{k: key}, rec: &l2.Record{Payload: make([]byte, bytes)}})
	}()
	synctest.Wait()
}

// end releases pipelines until n fills are done.
func (p *pipelines) end(done <-chan int, n int) {
	for len(done) < n {
		p.release <- struct{}{}
		synctest.Wait()
	}
}

func TestFillQueue_ThoseThatWaitGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, done := newPipelines(), make(chan int, 10)
		for key := range 4 {
			p.offer(nodeA, key, 10, done)
		}
		p.end(done, 4)
		p.offer(nodeA, 4, 10, done)
		p.end(done, 5)
		if want := [][]int{{0}, {1, 2, 3}, {4}}; !slices.EqualFunc(p.sent, want, slices.Equal) {
			t.Errorf("pipelines of the keys %v, want %v", p.sent, want)
		}
	})
}

func TestFillQueue_PipelinesAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		bytes []int // of each fill behind the first
		want  []int // lengths of the pipelines
	}{
		"records":            {make([]int, pipelineFills+2), []int{1, pipelineFills, 2}},
		"bytes":              {[]int{pipelineBytes / 2, pipelineBytes / 2, 1}, []int{1, 2, 1}},
		"a large record":     {[]int{2 * pipelineBytes, 1, 1}, []int{1, 1, 2}},
		"one in the middle":  {[]int{1, 2 * pipelineBytes, 1}, []int{1, 1, 1, 1}},
		"nothing that waits": {nil, []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, done := newPipelines(), make(chan int, len(c.bytes)+1)
				p.offer(nodeA, 0, 1, done)
				for i, n := range c.bytes {
					p.offer(nodeA, i+1, n, done)
				}
				p.end(done, len(c.bytes)+1)
				var got []int
				for _, keys := range p.sent {
					got = append(got, len(keys))
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("pipelines of %v records, want %v", got, c.want)
				}
			})
		})
	}
}

// TestFillQueue_ANodeThatHangsDelaysNoOther: the first pipeline to node a never comes back.
func TestFillQueue_ANodeThatHangsDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, done, hung := newPipelines(), make(chan int, 10), make(chan struct{})
		send := p.send
		p.send = func(fills []fill[int, string]) {
			if fills[0].f.k == 0 {
				<-hung
				return
			}
			send(fills)
		}
		p.offer(nodeA, 0, 1, done)
		p.offer(nodeA, 1, 1, done) // waits for it
		for key := 2; key < 5; key++ {
			p.offer(nodeB, key, 1, done)
		}
		p.end(done, 3)
		if want := [][]int{{2}, {3, 4}}; !slices.EqualFunc(p.sent, want, slices.Equal) {
			t.Errorf("pipelines of the keys %v beside the one that hangs, want %v", p.sent, want)
		}
		close(hung)
		synctest.Wait()
		p.end(done, 5)
		if len(p.waiting) != 0 {
			t.Errorf("%d nodes are remembered when all is done", len(p.waiting))
		}
	})
}

// TestFillQueue_PassesOnAfterAPanic: a fault in one pipeline keeps nobody waiting.
func TestFillQueue_PassesOnAfterAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, done := newPipelines(), make(chan int, 10)
		send := p.send
		p.send = func(fills []fill[int, string]) {
			send(fills)
			if len(p.sent) < 3 {
				panic("a fault")
			}
		}
		for key := range 3 {
			p.offer(nodeA, key, 1, done)
		}
		p.release <- struct{}{}
		synctest.Wait()
		p.offer(nodeA, 3, 1, done)
		p.end(done, 4)
		if want := [][]int{{0}, {1, 2}, {3}}; !slices.EqualFunc(p.sent, want, slices.Equal) {
			t.Errorf("pipelines of the keys %v, want %v", p.sent, want)
		}
	})
}
