// Package lint holds the rules of this repository that no general tool knows, as tests: which package may import
// which, which files may import a vendor's library, what a program that imports only nearcache links, and what no
// source file may contain. `make lint` runs them; they need nothing but Go and the modules that a build downloads
// anyway.
package lint
