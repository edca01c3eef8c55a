package browser

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const (
	wide, high         = 1280, 900
	narrow, narrowHigh = 360, 760
)

// allOpen is true while every instance's gate is open by both channels.
const allOpen = `[..."abc"].every((x) => document.querySelector("#card-" + x + " .badge").textContent === "gate open")`

// pill is the text of a product's cell: row from 0, column from 0 (database, Redis, A, B, C).
func pill(row, column int) string {
	return fmt.Sprintf(`document.querySelectorAll("#versions [role=row]:not(.heads)")[%d].querySelectorAll(".pill")[%d].textContent`,
		row, column)
}

func TestDemo_AWriteReachesEveryInstance(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	b := visit(t, s.url, "/demo/", wide, 1900, false)
	b.until(allOpen)
	for column := 2; column < 5; column++ {
		b.until(pill(1, column) + ` === "1 ✓"`)
	}
	settled := `parseFloat(document.querySelector("#card-%[1]s .facts dd").textContent) > 98`
	for _, x := range []string{"a", "b", "c"} {
		b.until(fmt.Sprintf(settled, x))
	}
	name := value[string](b, `document.querySelectorAll("#versions .name span")[1].textContent`)
	b.click("Write a new price of " + name)
	for column := 1; column < 5; column++ {
		b.until(pill(1, column) + ` === "2 ✓"`)
	}
	b.until(`document.getElementById("journey").innerText.match(/served/g)?.length === 3`)
	b.until(`/event taken/.test(document.getElementById("journey").innerText)`)
	b.until(`/wrote version 2/.test(document.getElementById("log").innerText)`)
	b.accessible("after a write")
	b.picture("write")
}

func TestDemo_LostRedisShowsAndHeals(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	b := visit(t, s.url, "/demo/", wide, 1400, true)
	b.until(allOpen)
	b.click("Cut Redis off B")
	b.until(`document.querySelector("#card-b .badge").textContent === "gate open, by Kafka"`)
	b.until(`/No Redis/.test(document.querySelector("#card-b .says").textContent)`)
	if !value[bool](b, `document.querySelector("#card-a .badge").textContent === "gate open"`) {
		t.Error("A has lost Redis too")
	}
	b.until(`document.querySelector("#card-b .gauge").dataset.state === "over"`)
	b.accessible("without Redis, dark")
	b.picture("lost-redis")
	b.click("Cut Kafka off B")
	b.until(`document.querySelector("#card-b .badge").textContent === "gate closed"`)
	b.picture("gate-closed")
	b.click("Heal everything")
	b.until(allOpen)
	b.click("Stop the relay")
	b.until(`document.querySelector("#controls button[aria-pressed=true]")?.textContent === "Stop the relay"`)
	b.click("Heal everything")
	b.until(allOpen)
	b.click("Pause C")
	b.until(`document.querySelector("#card-c .badge").textContent === "paused"`)
	b.click("Pause C")
	b.until(allOpen)
}

// TestDemo_TourByKeyboardAlone goes to the first step with Tab and Enter. From there the focus leads on.
func TestDemo_TourByKeyboardAlone(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	b := visit(t, s.url, "/demo/", wide, high, false)
	b.until(allOpen)
	focused := `document.activeElement.id || document.activeElement.className || document.activeElement.textContent`
	b.do(chromedp.KeyEvent(kb.Tab))
	if got := value[string](b, focused); got != "skip" {
		t.Errorf("the first Tab goes to %q, want the link that skips to the tour", got)
	}
	for presses := 0; value[string](b, focused) != "go"; presses++ {
		if presses > 20 {
			t.Fatal("Tab does not reach the button that runs the step")
		}
		b.do(chromedp.KeyEvent(kb.Tab))
	}
	if shown := value[string](b, `getComputedStyle(document.activeElement).outlineStyle`); shown == "none" {
		t.Error("the focus does not show")
	}
	for step := 1; step <= 6; step++ {
		b.until(fmt.Sprintf(`document.activeElement.id === "go" && document.querySelector("#step h3").textContent.startsWith("%d.")`,
			step))
		b.do(chromedp.KeyEvent(kb.Enter))
		b.until(`document.getElementById("findings").dataset.state === "running"`)
		b.until(`document.getElementById("findings").dataset.state !== "running"`)
		if state := value[string](b, `document.getElementById("findings").dataset.state`); state != "done" {
			t.Fatalf("step %d ended as %q: %s", step, state, value[string](b, `document.getElementById("tour").innerText`))
		}
		if wrong := value[string](b, `[...document.querySelectorAll("#findings .nearcache.not")].map((x) => x.innerText).join()`); wrong != "" {
			t.Errorf("step %d: nearcache was caught: %s", step, wrong)
		}
		if n := value[int](b, `document.querySelectorAll("#findings .ttl.not, #findings .pubsub.not").length`); n == 0 {
			t.Errorf("step %d caught no plain cache", step)
		}
		b.accessible(fmt.Sprintf("step %d", step))
		b.picture(fmt.Sprintf("tour-%d", step))
		if step < 6 {
			b.until(`document.activeElement.id === "next"`)
			b.do(chromedp.KeyEvent(kb.Enter))
		}
	}
}

func TestDemo_FitsANarrowScreen(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	b := visit(t, s.url, "/demo/", narrow, narrowHigh, true)
	b.until(allOpen)
	b.click("Compare")
	b.click("Load")
	b.until(`/none older than/.test(document.getElementById("verdict-text").textContent)`)
	b.until(`document.querySelectorAll("#scores tbody tr")[2].textContent.includes("off") === false`)
	b.fits("360 px")
	b.accessible("360 px, dark")
	b.picture("narrow")
}

func TestDemo_SurvivesARestart(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	b := visit(t, s.url, "/demo/", wide, high, false)
	b.until(allOpen)
	b.mu.Lock()
	b.lenient = true
	b.mu.Unlock()
	s.stop(t)
	b.until(`!document.getElementById("lost").hidden`)
	serve(t, strings.TrimPrefix(s.url, "http://"))
	b.until(`document.getElementById("lost").hidden`)
	b.until(allOpen)
	b.until(`/restarted/.test(document.getElementById("now").textContent)`)
}

func TestDemo_UnderLoad(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	b := visit(t, s.url, "/demo/", wide, 2300, false)
	b.until(allOpen)
	b.click("Compare")
	b.click("Load")
	b.until(`document.querySelectorAll("#scores td.bad").length > 0`)
	b.until(`Number(document.querySelector("#scores tbody td").textContent.replaceAll(",", "")) > 20000`)
	if over := value[string](b, `document.querySelectorAll("#scores tbody tr")[0].children[3].textContent`); over != "0" {
		t.Errorf("%s answers of nearcache were older than the bound", over)
	}
	b.accessible("under load")
	b.picture("load")
}
