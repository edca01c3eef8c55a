// Package audit compares what a near cache serves with what the source of truth has, and explains what differs.
//
// No proof inside the cache can see a writer that the trigger does not count, a key that Go and SQL spell differently,
// or a Loader that reads a replica. So the auditor takes samples, and asks the source itself.
//
// # How a sample is judged
//
// The auditor has a value that a tier served, and then reads the source. If both agree, the read was consistent at
// every scale. If they differ, the value was perhaps overtaken a moment ago. So the auditor keeps the source's state,
// and asks the cache again 100 ms, 1 s, 10 s and 1 min later: an answer that is still older than that state is
// inconsistent at that scale. No clock of another machine is involved. What is measured is never longer than the truth,
// because the change came before it was seen. Meta's Polaris reports in the same way.
//
// A difference that lasts for Config.Wait is an inconsistency: it is explained, reported and counted.
//
// Two states agree if their values do, whatever their versions are: a source may give a key that never changed another
// version (its floor). A served version that the source never had is a difference.
//
// # Who uses it
//
// Package nearcache audits the reads of one instance (Options.Audit), and `nearcache audit` the records in Redis. Each
// collects Evidence in its own way. Explain turns it into a Cause, the same for both.
package audit
