// Package version says which build of this module a program is.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// String names the program, the module's version, the commit that it was built from, and Go's version, in one line.
func String(program string) string {
	return describe(program, buildInfo())
}

// buildInfo is what Go has noted down in the program; an empty one if it has not.
func buildInfo() *debug.BuildInfo {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return &debug.BuildInfo{}
	}
	return info
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

// module is the path of this module.
const module = "github.com/nearcache/nearcache-go"

// Version is this module's version in the program.
func Version() string {
	version, _ := labels(buildInfo())
	return version
}

// Collector is the metric nearcache_build_info: 1, with this module's version in the program, the commit that the
// program was built from, and Go's version.
func Collector() prometheus.Collector {
	version, revision := labels(buildInfo())
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "nearcache_build_info",
		Help:        "1, by what the program is built from.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "goversion": runtime.Version()}})
	build.Set(1)
	return build
}

// labels are the module's version and the commit of the main module. A program that imports this module has it among
// its dependencies.
func labels(info *debug.BuildInfo) (version, revision string) {
	version, revision = "(devel)", "unknown"
	if info.Main.Path == module && info.Main.Version != "" {
		version = info.Main.Version
	}
	for _, d := range info.Deps {
		if d.Path == module {
			version = d.Version
		}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value
		}
	}
	return version, revision
}
