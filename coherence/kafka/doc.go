// Package kafka carries version events through Apache Kafka, over kafka-go: a Publisher for the relay, a Tail that
// every instance follows to evict its L1, and a Worker, a consumer group that applies events to L2.
//
// The Publisher and the Tail use kafka-go's Client rather than its Writer and Reader. A Writer waits for a batch to
// fill up, and its defaults are no acknowledgement and one second. A Reader steps over messages that retention has
// removed without an error, resolves its start lazily, loops on a topic that was made anew, and says nothing while a
// broker does not answer. With explicit offsets each of these is an answer that can be told apart.
//
// What no offset can tell, a topic deleted and made anew that has grown past our offset meanwhile, the relay's
// sequence numbers do.
package kafka
