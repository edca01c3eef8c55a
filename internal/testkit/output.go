package testkit

import (
	"strings"
	"sync"
)

// Output is a log, or another output, that goroutines write and a test reads meanwhile. The zero Output is empty.
type Output struct {
	mu sync.Mutex
	b  strings.Builder
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// String is what was written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// Count is how often a text stands in what was written so far.
func (o *Output) Count(part string) int { return strings.Count(o.String(), part) }
