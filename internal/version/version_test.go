package version

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestDescribe(t *testing.T) {
	for want, info := range map[string]*debug.BuildInfo{
		"p (devel) (commit unknown, go": {},
		"p v0.1.0 (commit 0123456789ab, modified, go": {Main: debug.Module{Version: "v0.1.0"},
			Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"},
				{Key: "vcs.modified", Value: "true"}}},
	} {
		if got := describe("p", info); !strings.HasPrefix(got, want) || strings.Contains(got, "\n") {
			t.Errorf("got %q, want %q and more, in one line", got, want)
		}
	}
}
