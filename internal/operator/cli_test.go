package operator_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/operator"
)

// call runs a command line as a shell does.
func call(t *testing.T, env map[string]string, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e strings.Builder
	code = operator.Run(t.Context(), args, func(k string) string { return env[k] }, &o, &e)
	return code, o.String(), e.String()
}

// must runs a command line that has to succeed and to print something, and returns what it prints.
func must(t *testing.T, env map[string]string, want string, args ...string) string {
	t.Helper()
	code, out, errOut := call(t, env, args...)
	if code != 0 || !strings.Contains(out, want) {
		t.Errorf("%v: got the exit code %d and\n%s%s\nwant 0 and %q", args, code, out, errOut, want)
	}
	return out
}

// fails runs a command line that has to fail, and to say why.
func fails(t *testing.T, env map[string]string, code int, want string, args ...string) (out string) {
	t.Helper()
	got, out, errOut := call(t, env, args...)
	if got != code || !strings.Contains(errOut, want) {
		t.Errorf("%v: got the exit code %d and\n%s%s\nwant %d and %q", args, got, out, errOut, code, want)
	}
	return out
}

// object runs a command line with --json, and returns the object that it prints.
func object(t *testing.T, env map[string]string, code int, args ...string) (m map[string]any) {
	t.Helper()
	got, out, errOut := call(t, env, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &m); err != nil || got != code || strings.Count(out, "\n") != 1 {
		t.Fatalf("%v: got the exit code %d, %v and\n%s%s\nwant %d, and one object in a line", args, got, err, out, errOut,
			code)
	}
	return m
}

// field is a value within an object, "a.b" that of b within a.
func field(m map[string]any, path string) any {
	var at any = m
	for name := range strings.SplitSeq(path, ".") {
		o, _ := at.(map[string]any)
		at = o[name]
	}
	return at
}

// commands are all that do something.
var commands = []string{"key", "inspect", "watch", "audit", "purge key", "purge tag", "purge namespace", "invalidate",
	"copy",
	"top",
	"doctor",
	"replay",
	"dlq list", "dlq show", "dlq replay", "relay status", "relay skip", "relay reset", "install", "man", "completion bash"}

const secret = "hunter2"

// secretive has a password in every address, of services that are away.
var secretive = map[string]string{"REDIS_URL": "redis://:" + secret + "@127.0.0.1:1",
	"DATABASE_URL":            "postgres://u:" + secret + "@127.0.0.1:1/d",
	"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_USERNAME": "u",
	"KAFKA_SASL_PASSWORD": secret, "NEARCACHE_DEBUG_AUTHORIZATION": secret}

func TestRun_CommandLinesThatCannotWork(t *testing.T) {
	for _, bad := range []string{"", "frobnicate", "purge", "purge frobnicate", "dlq", "relay x", "--nonsense key a:b",
		"key", "key a", "key a:b c", "key :b", "key {a}:b", "--prefix a:b key x:y", "--prefix a:b inspect x:y",
		"inspect a:b --codec xml", "purge key a", "invalidate a", "invalidate a b c", "purge tag product",
		"purge tag a:b c", "purge namespace a:b",
		"--redis redis://:hunter2@ inspect a:b", "--database mysql://u:hunter2@h purge key a:b",
		"--database sqlite:f relay status", "--kafka u:hunter2@h:1 replay --from 1m", "replay", "replay --from yesterday",
		"replay --from 1:x", "dlq show x", "dlq replay", "dlq replay 1 --all", "watch a{b}", "top nowhere", "top http://",
		"copy --to-buckets 128", "copy --to-prefix a:b", "copy --to-prefix x --to-buckets 100",
		"copy --to-prefix x --rate -1",
		"copy --to-redis redis://:hunter2@ --to-prefix x", "audit", "audit product", "audit a:b --query x",
		"audit p --query x --keys 0",
		"audit p --query x --rate 0", "audit p --query x --allow 2", "audit p --query x --wait 2m",
		"audit p --query x --codec y",
		"top http://h --every 1ms", "doctor --as king", "install", "install --table t --namespace n",
		"install --table t --namespace a:b --key id", "install x", "--timeout soon relay status",
		"--timeout -1s relay status", "--timeout 0 key a:b",
		"--schema A.B install --table t --namespace n --key id"} {
		code, out, errOut := call(t, secretive, strings.Fields(bad)...)
		if code != 2 || !strings.Contains(errOut, "--help") || strings.Contains(out+errOut, secret) {
			t.Errorf("%q: got the exit code %d and\n%s%s\nwant 2 and no password", bad, code, out, errOut)
		}
	}
	for _, nothing := range []string{"inspect a:b", "watch", "copy --to-prefix x", "audit p --query x",
		"purge key a:b", "top", "doctor",
		"replay --from 1m",
		"dlq list",
		"relay status", "relay skip", "install --table t --namespace n --key id"} {
		if code, _, errOut := call(t, nil, strings.Fields(nothing)...); code != 2 || !strings.Contains(errOut, "needed") &&
			!strings.Contains(errOut, "no service") {
			t.Errorf("%s: got the exit code %d and %s, want 2: no service is made up", nothing, code, errOut)
		}
	}
	wrongKafka := map[string]string{"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "KAFKA_SASL_PASSWORD": secret}
	fails(t, wrongKafka, 2, "SASL_SSL", "dlq", "list")
}

func TestRun_ServicesThatAreAway(t *testing.T) {
	for line, want := range map[string]string{
		"inspect a:b": "cannot reach Redis", "relay status": "cannot reach Redis", "watch": "cannot reach Redis",
		"inspect a:c":         "connection refused",
		"purge key a:b --yes": "not everything was reached", "dlq list": "refused", "replay --from earliest": "refused",
		"relay skip --yes": "refused", "copy --to-prefix x": "cannot reach Redis",
		"top http://127.0.0.1:1 --looks 1": "refused",
	} {
		args := append([]string{"--timeout", "1s"}, strings.Fields(line)...)
		code, out, errOut := call(t, secretive, args...)
		if code != 1 || !strings.Contains(out+errOut, want) || strings.Contains(out+errOut, secret) {
			t.Errorf("%s: got the exit code %d and\n%s%s\nwant 1 and %q", line, code, out, errOut, want)
		}
	}
	out := fails(t, secretive, 3, "something is wrong", "doctor", "--timeout", "2s")
	for _, area := range []string{"redis", "postgres", "kafka"} {
		if !strings.Contains(out, "WRONG    "+area) && !strings.Contains(out, "WRONG  "+area) {
			t.Errorf("doctor does not say that %s is away:\n%s", area, out)
		}
	}
	for _, want := range []string{"start the brokers", "3 checks, 3 wrong"} {
		if !strings.Contains(out, want) {
			t.Errorf("doctor does not say %q:\n%s", want, out)
		}
	}
	if strings.ContainsRune(out, '\ufffd') {
		t.Errorf("doctor shows the ends of lines in an error:\n%s", out)
	}
	if strings.Contains(out, secret) {
		t.Errorf("doctor shows a password:\n%s", out)
	}
}

func TestRun_Help(t *testing.T) {
	for _, c := range append([]string{""}, commands...) {
		code, out, errOut := call(t, secretive, append(strings.Fields(c), "--help")...)
		if code != 0 || !strings.Contains(out, "Usage:") || strings.Contains(out+errOut, secret) {
			t.Errorf("%s --help: got the exit code %d and\n%s%s", c, code, out, errOut)
		}
	}
	if out := must(t, nil, "nearcache ", "--version"); !strings.Contains(out, "go1.") || strings.Count(out, "\n") != 1 {
		t.Errorf("got the version %q, want a line that names Go's", out)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		must(t, nil, "nearcache", "completion", shell)
	}
}

func TestMan_HasAPageForEachCommand(t *testing.T) {
	dir := t.TempDir()
	must(t, secretive, "pages are in", "man", dir)
	for _, c := range commands {
		page, err := os.ReadFile(filepath.Join(dir, "nearcache-"+strings.ReplaceAll(c, " ", "-")+".1"))
		if err != nil || !strings.Contains(string(page), ".SH SYNOPSIS") || strings.Contains(string(page), secret) {
			t.Errorf("%s: %v, %d bytes", c, err, len(page))
		}
	}
}

// TestReference_HasEveryCommand: internal/lint compares it with docs/reference/cli.md.
func TestReference_HasEveryCommand(t *testing.T) {
	out := must(t, nil, "Flags of all commands", "reference")
	for _, c := range commands[:len(commands)-1] {
		if !strings.Contains(out, "\n### nearcache "+c+"\n") {
			t.Errorf("the reference does not have %q", c)
		}
	}
}
