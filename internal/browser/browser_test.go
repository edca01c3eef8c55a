package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is the one that all tests share; nil without Chromium.
var browser context.Context

// openBrowser starts Chromium, if there is one, and returns what ends it.
func openBrowser() (end func()) {
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		return func() {}
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("js-flags", "--expose-gc"),
		chromedp.Flag("enable-precise-memory-info", true))
	all, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancelBrowser := chromedp.NewContext(all)
	if err := chromedp.Do(ctx); err != nil {
		panic(fmt.Sprintf("Chromium at %s cannot be started: %v", path, err))
	}
	browser = ctx
	return func() { cancelBrowser(); cancel() }
}

// tab is one page in the browser. Whatever it says on the console, and every request that leaves the server, fails the
// test.
type tab struct {
	t      *testing.T
	ctx    context.Context
	origin string

	mu       sync.Mutex
	lenient  bool // the server is away, so failed requests are expected
	requests int
}

// visit opens an address in a tab of its own.
func visit(t *testing.T, origin, path string, width, height int64, dark bool) *tab {
	t.Helper()
	if browser == nil {
		const missing = "Chromium is not installed; `make install` installs it on Debian"
		if os.Getenv("NEARCACHE_BROWSER") == "required" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx, origin: origin}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatal(err)
	}
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	b.do(chromedp.EmulateViewport(width, height), chromedp.Navigate(origin+path))
	return b
}

// call runs a command of the browser's protocol.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	r, err := chromedp.Call(ctx, command, params)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// hear takes what the page says and asks for.
func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		b.t.Errorf("the page wrote to the console: %s %s", e.Type, e.Args[0].Value)
	case *runtime.EventExceptionThrown:
		b.t.Errorf("the page threw: %s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
	case *log.EventEntryAdded:
		if !b.lenient && (e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning) {
			b.t.Errorf("the browser logged: %s %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		b.requests++
		if !strings.HasPrefix(e.Request.URL, b.origin+"/") {
			b.t.Errorf("the page asked for %s, which is not the server's", e.Request.URL)
		}
	}
}

// until waits until an expression of JavaScript is true. It asks from outside: the page's policy allows no code in
// strings. An expression that throws is not true yet: it may name an element that the page has still to draw.
func (b *tab) until(expression string) {
	b.t.Helper()
	attempt := "(() => { try { return Boolean(" + expression + ") } catch { return false } })()"
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !value[bool](b, attempt); <-tick.C {
		if time.Now().After(deadline) {
			b.t.Fatalf("waited %v in vain for %s; the page says:\n%s", patience, expression,
				value[string](b, `document.body.innerText`))
		}
	}
}

// value evaluates an expression of JavaScript; a promise is awaited.
func value[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%.200s: %v", expression, err)
	}
	return v
}

// click presses the button with this accessible name, or text.
func (b *tab) click(name string) {
	b.t.Helper()
	ok := value[bool](b, fmt.Sprintf(`(() => {
		const b = [...document.querySelectorAll("button")].find(
			(b) => (b.getAttribute("aria-label") ?? b.textContent.trim()) === %q);
		b?.click();
		return Boolean(b);
	})()`, name))
	if !ok {
		b.t.Fatalf("the page has no button %q", name)
	}
}

// picture saves the page as docs/demo/NAME.png if pictures are to be written, and else below .build/demo.
func (b *tab) picture(name string) {
	b.t.Helper()
	dir := "../../.build/demo"
	if os.Getenv("NEARCACHE_PICTURES") == "write" {
		dir = "../../docs/demo"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	png := call(b, page.CaptureScreenshot, page.CaptureScreenshotParams{}).Data
	if len(png) < 10_000 {
		b.t.Errorf("the picture %s has %d bytes: it shows nothing", name, len(png))
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// accessible runs axe-core, and reports what it finds serious.
func (b *tab) accessible(where string) {
	b.t.Helper()
	axe, err := os.ReadFile("testdata/axe/axe.min.js")
	if err != nil {
		b.t.Fatal(err)
	}
	value[int](b, string(axe)+";0")
	found := value[string](b, `axe.run(document, {resultTypes: ["violations"]}).then((r) => JSON.stringify({
		checked: r.passes.length, violations: r.violations.map((v) => ({id: v.id, impact: v.impact, help: v.help,
			nodes: v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200) + " " + n.failureSummary)}))}))`)
	var result struct {
		Checked    int
		Violations []struct {
			ID, Impact, Help string
			Nodes            []string
		}
	}
	if err := json.Unmarshal([]byte(found), &result); err != nil {
		b.t.Fatal(err)
	}
	if result.Checked < 10 {
		b.t.Errorf("%s: axe-core passed only %d rules; it has not looked", where, result.Checked)
	}
	for _, v := range result.Violations {
		if v.Impact == "serious" || v.Impact == "critical" {
			b.t.Errorf("%s: axe-core finds %s %s: %s: %v", where, v.Impact, v.ID, v.Help, v.Nodes)
		} else {
			b.t.Logf("%s: axe-core finds %s %s: %s: %v", where, v.Impact, v.ID, v.Help, v.Nodes)
		}
	}
}

// fits reports a page that is wider than its window.
func (b *tab) fits(where string) {
	b.t.Helper()
	wide := value[float64](b, `document.documentElement.scrollWidth - window.innerWidth`)
	if wide > 0 {
		b.t.Errorf("%s: the page is %v pixels wider than its window", where, wide)
	}
}
