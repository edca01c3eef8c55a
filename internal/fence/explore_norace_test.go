//go:build !race

package fence

// raced says that this binary was built with the race detector.
const raced = false
