//go:build !race

package nats

// raced says that this binary was built with the race detector.
const raced = false
