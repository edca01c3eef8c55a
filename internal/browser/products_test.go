package browser

import (
	"testing"

	"github.com/chromedp/chromedp"
)

// tier is the text of the tier that answered.
const tier = `document.querySelector("#tiers [aria-current=true]")?.textContent`

func TestProducts_AreSearchedReadAndEdited(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	b := visit(t, s.url, "/", wide, high, false)
	b.until(`document.querySelectorAll("#list li").length === 40`)
	b.do(chromedp.SendKeys("#text", "marlowe desk lamp"))
	b.until(`document.querySelectorAll("#list li").length > 0 && [...document.querySelectorAll("#list li")].every(
		(x) => x.textContent.startsWith("Marlowe Desk Lamp"))`)
	b.do(chromedp.Click("#list li:first-child button"))
	b.until(tier + ` === "Database"`)
	b.until(`(document.getElementById("again").click(), ` + tier + `) === "Memory (L1)"`)
	b.accessible("a product")
	b.picture("product")
	b.click("Read the database")
	b.until(tier + ` === "Database" || document.getElementById("said").textContent.includes("database has confirmed")`)

	b.do(chromedp.SetValue("#price", "12.345"))
	b.click("Save") // the browser refuses it by itself
	b.do(chromedp.SetValue("#price", "1234567.89"))
	b.click("Save")
	b.until(`document.getElementById("said").textContent.startsWith("Saved as version 2")`)
	b.until(`document.querySelector("#list [aria-current=true]").textContent.includes("1234567.89")`)
	b.click("Read it again")
	b.until(`document.getElementById("facts").textContent.includes("Version2") && document.getElementById("price").value === "1234567.89"`)

	// Another reader changes it meanwhile.
	value[int](b, `fetch("products/" + document.querySelector("#list [aria-current=true]").dataset.id,
		{method: "PUT", body: '{"name":"Marlowe Desk Lamp","price":1}'}).then((r) => r.status)`)
	b.mu.Lock()
	b.lenient = true // the browser logs the answer 412
	b.mu.Unlock()
	b.click("Save")
	b.until(`document.getElementById("said").textContent.startsWith("Somebody else has changed")`)
}

func TestProducts_FitANarrowScreen(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	b := visit(t, s.url, "/", narrow, narrowHigh, true)
	b.until(`document.querySelectorAll("#list li").length === 40`)
	b.click("More")
	b.until(`document.querySelectorAll("#list li").length === 80`)
	b.do(chromedp.Click("#list li:nth-child(2) button"))
	b.until(tier + ` === "Database"`)
	b.fits("360 px")
	b.accessible("360 px, dark")
	b.picture("product-narrow")
}
