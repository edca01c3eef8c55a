// Package version says which build of this module a program is.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// String names the program, the module's version, the commit that it was built from, and Go's version, in one line.
func String(program string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return describe(program, info)
}

func describe(program string, info *debug.BuildInfo) string {
	version, commit, modified := info.Main.Version, "unknown", ""
	if version == "" {
		version = "(devel)"
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			commit = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = ", modified"
		}
	}
	return fmt.Sprintf("%s %s (commit %s%s, %s, %s/%s)", program, version, commit, modified, runtime.Version(),
		runtime.GOOS, runtime.GOARCH)
}
