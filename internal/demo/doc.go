// Package demo is the live page of `make demo`: three instances over embedded services, faults for each of them, a
// guided tour, and two plain caches that answer the same reads, to compare with.
//
// The parts, each in a file of its own:
//
//	link      the connections of one instance, which can be cut and frozen
//	tap       finds Redis's invalidations in the bytes of a connection
//	truth     when each version was committed, so that the age of an answer is known and not only proved
//	journey   the way of one write through the database, the outbox, Kafka and Redis to each instance
//	traffic   reads and writes in the background
//	rival     the two plain caches
//	faults    the buttons, and a sentence for each
//	tour      the six steps
//	frame     what the page shows at one moment
//	stream    frames and notes, as server-sent events
//	http      the routes, and the page's files
//
// All times are of one clock, for all instances are in one process. Nothing runs in the background while nobody looks
// at the page.
package demo
