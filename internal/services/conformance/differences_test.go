package conformance

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

// difference is where some servers differ from the embedded Redis, which imitates Redis 7, and why that does not matter
// to nearcache. Each is held to exactly what it says: on a server that it is of it must show, unless it says sometimes.
type difference struct {
	test      string // in which it shows
	kind      string // redis or valkey
	from, to  string // versions, from this one and before that one; "": no limit
	step      *regexp.Regexp
	real      func(embedded string) string // what the server says instead
	sometimes bool
	why       string
}

var differences = []difference{
	{
		test: "TestCommands", kind: "redis", to: "7",
		step: regexp.MustCompile(`^(P?EXPIRETIME|[LZ]MPOP|SINTERCARD|SET \w+ x NX GET)\b`),
		real: func(embedded string) string { return head(embedded) + "-ERR; changes []; tracks []" },
		why:  "Redis 7 brought these; nearcache sends none of them",
	},
	{
		test: "TestCommands", kind: "redis", to: "7", step: regexp.MustCompile(`^SETBIT str 1 1:`),
		real: func(embedded string) string {
			return strings.Replace(embedded, "changes []", "changes [str]", 1)
		},
		why: "an invalidation too many, of a command that nearcache does not send",
	},
	{
		test: "TestCommands", kind: "valkey", from: "9", step: regexp.MustCompile(`^LTRIM list 0 -1:`),
		real: func(embedded string) string {
			return strings.Replace(embedded, "changes [list]", "changes []", 1)
		},
		why: "the command has changed nothing, and nearcache does not send it",
	},
	{
		test: "TestOwnWrites", kind: "redis", to: "7",
		step: regexp.MustCompile(`^\[(SET|DEL|FLUSHALL)\b`), real: pushFirst,
		sometimes: true, // 6.2.5 does so, 6.2.14 does not
		why: "the push of a connection's own change comes before its reply; nearcache changes nothing on the connection " +
			"that tracks",
	},
	{
		test: "TestOwnWrites", kind: "redis", from: "8", step: regexp.MustCompile(`^\[FLUSHALL\]`), real: pushFirst,
		why: "the same, of FLUSHALL alone",
	},
}

// head is a step's command, with the colon.
func head(step string) string {
	command, _, _ := strings.Cut(step, ": ")
	return command + ": "
}

// pushFirst has the push before the reply of a step of TestOwnWrites, "[SET k v]: +OK >[...] +PONG".
func pushFirst(embedded string) string {
	answer := strings.TrimPrefix(embedded, head(embedded))
	reply, rest, _ := strings.Cut(answer, " ")
	push, pong := strings.CutSuffix(rest, " +PONG")
	if !pong || !strings.HasPrefix(push, ">") {
		return embedded
	}
	return head(embedded) + push + " " + reply + " +PONG"
}

// differs are the differences of a test that a server may show.
func differs(test, kind, version string) (out []difference) {
	for _, d := range differences {
		if d.test == test && d.kind == kind && (d.from == "" || !before(version, d.from)) &&
			(d.to == "" || before(version, d.to)) {
			out = append(out, d)
		}
	}
	return out
}

// before compares versions.
func before(a, b string) bool {
	parts := func(version string) (out []int) {
		for part := range strings.SplitSeq(version, ".") {
			n, _ := strconv.Atoi(part)
			out = append(out, n)
		}
		return out
	}
	return slices.Compare(parts(a), parts(b)) < 0
}

var infoVersion = regexp.MustCompile(`(?m)^(redis|valkey|redict)_version:([\d.]+)`)

// identify is what a server is by its INFO. What imitates Redis also names the version of Redis that it imitates.
func identify(t *testing.T, addr string) (kind, version string) {
	t.Helper()
	info := servicestest.RedisDo(t, addr, "INFO", "server")
	for _, m := range infoVersion.FindAllStringSubmatch(strings.ReplaceAll(info, "\r", ""), -1) {
		if kind == "" || m[1] != "redis" {
			kind, version = m[1], m[2]
		}
	}
	if kind == "" {
		t.Fatalf("the server does not say what it is: %s", info)
	}
	return kind, version
}

func TestDifferences_AreOfTheirVersionsAlone(t *testing.T) {
	for _, c := range []struct {
		test, kind, version string
		want                int
	}{
		{"TestCommands", "redis", "6.2.14", 2}, {"TestCommands", "redis", "7.0.15", 0},
		{"TestCommands", "valkey", "8.1.1", 0}, {"TestCommands", "valkey", "9.1.2", 1},
		{"TestOwnWrites", "redis", "8.0.2", 1}, {"TestOwnWrites", "redis", "6.2.5", 1},
		{"TestTracking", "redis", "6.2.5", 0},
	} {
		if got := len(differs(c.test, c.kind, c.version)); got != c.want {
			t.Errorf("%s on %s %s: got %d differences, want %d", c.test, c.kind, c.version, got, c.want)
		}
	}
	const step = `[SET k v]: +OK >["invalidate" *["k"]] +PONG`
	if got := pushFirst(step); got != `[SET k v]: >["invalidate" *["k"]] +OK +PONG` {
		t.Errorf("got %s", got)
	}
}
