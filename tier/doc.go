// Package tier opens L2, the Redis tier of the near cache, for programs that hold no cache: an invalidation worker, an
// outbox relay, an operator's tool.
//
// A program that uses caches does not need this package. Its nearcache.Client has an L2 already (Client.L2).
package tier
