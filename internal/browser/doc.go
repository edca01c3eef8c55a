// Package browser has the tests of the demo's pages in a real Chromium. It is a module of its own, so that what drives
// the browser is no dependency of the library.
//
// The tests need Chromium, which `make install` installs on Debian. `make demo-pictures` has them write their pictures
// to docs/demo.
package browser
