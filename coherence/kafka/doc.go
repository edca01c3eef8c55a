// Package kafka carries version events through Apache Kafka, over kafka-go: a Publisher for the relay, a Tail that
// every instance follows to evict its L1, and a Worker, a consumer group that applies events to L2.
//
// Events go to a topic that may be shared with other programs, and whose writers may invalidate and nothing else. What
// proves that nothing was missed goes to a topic of the relay's own; BarrierTopic says how the two fit together.
//
// Connections, TLS, SASL, producing and group membership are kafka-go's. Fetching is this package's, on kafka-go's
// connections. A reader has to know where a batch ends, whatever is left in it; which transactions were aborted; and
// that decompression takes bounded memory. kafka-go's Client and Reader tell none of these. A Reader also steps over
// messages that retention has removed without an error, and stands still on a topic that was made anew.
//
// A topic is named by its id where the brokers know ids (Kafka 3.1 and later), so that another topic of the same name
// is not taken for it. Before that, only the relay's sequence numbers tell the two apart.
package kafka
