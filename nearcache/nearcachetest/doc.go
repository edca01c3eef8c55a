// Package nearcachetest has what a program's own tests need to use a near cache without Redis or Kafka: both in this
// process. The Redis is miniredis with client-side-caching tracking added, the Kafka is franz-go's kfake. The project
// holds both to the behaviour of real ones by running the same tests against them (internal/services/conformance).
//
// Nothing here is linked into a program that imports only nearcache.
package nearcachetest

// TB is the part of testing.TB that is needed.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}
