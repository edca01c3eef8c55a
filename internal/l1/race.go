//go:build race

package l1

import "sync/atomic"

// users is what orders a user's leaving of ristretto before its closing, for the race detector: it knows nothing of the
// order that the garbage collector establishes.
var users atomic.Uint64

func synchronize() { users.Add(1) }
