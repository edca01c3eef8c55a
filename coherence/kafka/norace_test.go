//go:build !race

package kafka

// raced says that this binary was built with the race detector.
const raced = false
