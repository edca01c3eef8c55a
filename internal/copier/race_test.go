//go:build race

package copier

// raced says that this binary was built with the race detector.
const raced = true
