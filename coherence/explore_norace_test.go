//go:build !race

package coherence

// raced says that this binary was built with the race detector.
const raced = false
