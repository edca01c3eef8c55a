// Package local starts real servers as child processes of a Go program: redis-server, PostgreSQL, MariaDB and a
// one-node Apache Kafka. The test harness (internal/services/servicestest) and the command behind `make test` and `make
// services-up` (internal/tools/services) are built on it; nothing that ships imports it.
//
// # What a server here is
//
// A Server has a port of its own, chosen when it starts, and a data directory of its own, so that any number of them,
// from any number of checkouts, run side by side. Their settings are those of a test bench: nothing is synced to
// disk, everything listens on the loopback interface only, nobody needs a password.
//
// # Nothing is left behind, and nobody else is hit
//
// A server is ended through its process id, never by name. Three things keep that safe and complete:
//
//   - An attached server (the usual kind) is bound to its parent: where the operating system can (Linux), the kernel
//     ends it when the parent dies, however the parent dies.
//   - A detached server (`make services-up`) outlives its parent on purpose. Its Record holds process id and start
//     time, and KillRecord signals a process only while both still agree: a process id that the system has given to
//     somebody else since is left alone.
//   - A run directory holds the Record of every server in it (Run, Sweep), so the next run ends what a run that was
//     killed in the middle left behind.
package local
