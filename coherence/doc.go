// Package coherence has the types by which a source of truth, a stream of version events and a near cache meet.
//
// Whoever only uses caches needs nothing of it. Implement a Source to have the near cache follow a database, an
// EventSource to feed it a stream of events, and a Publisher to have the relay write events to a log. The packages below
// have ready ones: coherence/postgres and coherence/sqlite are Sources, coherence/kafka has an EventSource and a
// Publisher. coherence/relay carries a Source's changes to Redis and to a Publisher.
package coherence
