// Package testkit has what the tests of several packages need: waiting for a condition, reading a metric, a Redis of
// both kinds, and a publisher in memory. For a source of truth use nearcachetest.Source.
package testkit
