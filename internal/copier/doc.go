// Package copier copies the records of one prefix of Redis to another one, which may have another number of buckets and
// be in another Redis. So the number of buckets of a prefix can change while L2 stays warm.
//
// Both places follow one source: a relay carries every change to each of them. But neither knows how far the other is.
// A record that the old place still has may be one whose successor the new place has applied already:
//
//	relay of the new place: applies version 2      copier: acquires the lease there
//	copier: reads version 1 in the old place, whose relay is behind, and fills it: nothing deletes it any more
//
// So the copier is a reader of the new place whose Loader is the old one, and it asks more of the old place than an
// instance would:
//
//  1. It acquires the leases of a batch in the new place, and then notes its clock.
//  2. It reads the rounds and watermarks of the old place until they prove a moment after that: what the old place has
//     is no older than the source was when the leases stood. Package fence keeps that account, as it does for a bound.
//  3. It reads the records on the connection on which the proof was read, and fills the new place under the leases.
//
// A change that the new place applies after step 1 deletes the lease or the record. One that it applied before was
// committed before step 1, so the proof covers it. The rules are copy-* in package ablate, and explore_test.go tries
// every interleaving.
package copier
