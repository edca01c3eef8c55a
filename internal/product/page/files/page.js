// The page of one instance: it uses the API alone, and shows what the API's headers say of each answer.

const at = (id) => document.getElementById(id);
let next = "", shown = null, etag = "";

function el(name, attributes, ...children) {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  e.append(...children);
  return e;
}

function say(text, bad = false) {
  at("said").textContent = text;
  at("said").className = bad ? "bad" : "";
}

// ask sends a request. It returns the response and its body, or null if there is no answer.
async function ask(path, options = {}) {
  try {
    const began = performance.now();
    const res = await fetch(path, options);
    const body = await res.json();
    return { res, body, took: performance.now() - began };
  } catch {
    say("The server does not answer.", true);
    return null;
  }
}

async function list(path, fresh) {
  const a = await ask(path);
  if (!a) return;
  if (!a.res.ok) {
    at("found").textContent = a.body.detail ?? a.res.statusText;
    return;
  }
  if (fresh) at("list").replaceChildren();
  for (const p of a.body.products) {
    const b = el("button", { type: "button", "data-id": p.id }, el("span", {}, p.name), el("small", {}, p.price.toFixed(2)));
    b.addEventListener("click", () => read(p.id));
    at("list").append(el("li", {}, b));
  }
  next = a.body.next ?? "";
  at("more").hidden = !next;
  const n = at("list").children.length;
  at("found").textContent = n === 0 ? "No product has this name or id." : `${n} shown${next ? ", and there are more" : ""}.`;
  mark();
}

function search() {
  const q = new URLSearchParams({ limit: "40" });
  if (at("text").value) q.set("search", at("text").value);
  list("products?" + q, true);
}

function mark() {
  for (const b of at("list").querySelectorAll("button")) b.setAttribute("aria-current", String(b.dataset.id === shown));
}

const seconds = (s) => (Number(s) < 1 ? `${(Number(s) * 1000).toFixed(0)} ms` : `${Number(s).toFixed(1)} s`);

// describe shows what the headers of an answer say.
function describe(a, wrote) {
  const h = a.res.headers, status = h.get("Cache-Status") ?? "";
  const tier = /detail=(L1|L2|source)/.exec(status)?.[1];
  for (const li of at("tiers").children) li.setAttribute("aria-current", String(li.dataset.tier === tier));
  const facts = [["Version", h.get("Nearcache-Version")], ["Proved age", h.get("Nearcache-Staleness") &&
    `at most ${seconds(h.get("Nearcache-Staleness"))}`], ["In this tier since", h.get("Age") && `${h.get("Age")} s`],
  ["Answered after", `${a.took.toFixed(1)} ms`], ["Cache-Status", status], ["ETag", h.get("ETag")]];
  at("facts").replaceChildren(...facts.filter(([, v]) => v).flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)]));
  at("tiers").hidden = wrote;
  at("answer").hidden = false;
}

async function read(id, headers = {}) {
  const a = await ask("products/" + encodeURIComponent(id), { headers, cache: "no-store" });
  if (!a) return;
  if (!a.res.ok) {
    say(a.body.detail ?? a.res.statusText, true);
    return;
  }
  shown = id;
  etag = a.res.headers.get("ETag");
  at("product-title").textContent = a.body.name;
  at("name").value = a.body.name;
  at("description").value = a.body.description ?? "";
  at("price").value = a.body.price.toFixed(2);
  at("hint").hidden = true;
  at("edit").hidden = false;
  describe(a, false);
  const kept = "Nearcache-Fresh" in headers && !a.res.headers.get("Cache-Status").includes("source");
  say(kept ? "The database has confirmed that this is the newest version." : "");
  mark();
}

at("edit").addEventListener("submit", async (e) => {
  e.preventDefault();
  const product = { name: at("name").value, price: 0 };
  if (at("description").value) product.description = at("description").value;
  // The price goes as the text that was typed: a number of JavaScript could round it.
  const body = JSON.stringify(product).replace('"price":0', `"price":${at("price").value}`);
  const a = await ask("products/" + encodeURIComponent(shown), { method: "PUT", body, headers: { "If-Match": etag } });
  if (!a) return;
  if (a.res.status === 412) {
    say("Somebody else has changed this product. Read it again, and then save.", true);
    return;
  }
  if (!a.res.ok) {
    say([a.body.detail, ...(a.body.errors ?? []).map((x) => `${x.field} ${x.detail}`)].join(": "), true);
    return;
  }
  etag = a.res.headers.get("ETag");
  at("product-title").textContent = a.body.name;
  describe(a, true);
  say(`Saved as version ${a.res.headers.get("Nearcache-Version")}. Every instance now reads it.`);
  const inList = [...at("list").querySelectorAll("button")].find((b) => b.dataset.id === shown);
  inList?.replaceChildren(el("span", {}, a.body.name), el("small", {}, a.body.price.toFixed(2)));
});

at("again").addEventListener("click", () => read(shown));
at("fresh").addEventListener("click", () => read(shown, { "Nearcache-Fresh": "?1" }));
at("more").addEventListener("click", () => list(next.slice(1), false));
let typed;
at("text").addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(search, 200); });
at("search").addEventListener("submit", (e) => { e.preventDefault(); search(); });

async function state() {
  const a = await ask("page/state");
  if (!a) return;
  const s = a.body;
  at("demo").hidden = !s.demo;
  const bound = s.proved_staleness ? `what it proves is at most ${seconds(s.proved_staleness)} old, by ${s.proved_by}`
    : "it proves no bound now";
  at("state").textContent = `This instance is ${s.ready ? "ready" : "not ready"}; Redis is ${s.redis_connected ? "" : "not "}connected; ${bound}.`;
}

search();
state();
