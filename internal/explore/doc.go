// Package explore searches a protocol exhaustively at small scope: packed states, breadth first, so that the trace to a
// violation is a shortest one. It also has L2 as a value, a twin of the scripts in internal/l2, because a search takes
// millions of steps a minute; a test compares it with the scripts. Only tests use it: those of package fence explore
// the fence. README.md shows how to read what it finds.
package explore
