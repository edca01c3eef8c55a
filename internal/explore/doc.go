// Package explore searches a protocol exhaustively at small scope: packed states, breadth first, so that the trace to a
// violation is a shortest one. It also has L2 as a value, a twin of tier's scripts, because a search takes millions of
// steps a minute; a test holds it to the scripts. Only tests use it: those of package coherence explore the fence.
package explore
