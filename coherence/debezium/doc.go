// Package debezium reads the change events of Debezium (https://debezium.io) as events of the near cache, so that an
// instance and a worker can follow a database through Kafka Connect, without a trigger or a relay of ours.
//
// Codec returns the codec of a kafka.Tail and a kafka.Worker:
//
//	codec, err := debezium.Codec(debezium.Config{Tables: map[string]debezium.Table{
//		"public.products": {Namespace: "product"},
//	}})
//	tail := kafka.Tail{Broker: broker, Topic: "shop.public.products", Codec: codec}
//
// It understands Debezium's envelope as its JSON converter writes it, with and without a schema; rows that the
// transform ExtractNewRecordState has taken out of their envelope; and the outbox event router. Tombstones, truncates
// and changes of a key become events; heartbeats, transaction metadata, schema changes and logical messages say nothing
// of a row, and are passed over. Tables that Config does not name are passed over too.
//
// # What it does not give
//
// Debezium publishes after the commit, and nothing tells a reader how far it has come. So these events invalidate, and
// prove nothing: MaxStaleness needs Redis tracking with a relay, or a Source.
//
// Debezium has a topic for each table by default, and a Tail follows one topic. Either route the tables to one topic
// (the transform ByLogicalTableRouter), or follow several with coherence.JoinEvents.
package debezium
