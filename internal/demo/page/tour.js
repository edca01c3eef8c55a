import { el, at } from "./dom.js";
import { post } from "./api.js";

// The guided tour. A step runs on the server, which sends what it finds, line by line.

const names = { nearcache: "nearcache", ttl: "TTL cache", pubsub: "pub/sub", "": "step" };

export function tour() {
  let steps = [], current = 0;
  const reports = new Map();

  function list() {
    at("steps").replaceChildren(...steps.map((s, i) => el("li", {}, el("button", {
      type: "button", "aria-current": i === current ? "step" : undefined,
      class: reports.get(i + 1)?.state === "done" ? "done" : undefined,
      onclick: () => { current = i; show(); at("steps").querySelectorAll("button")[i].focus(); },
    }, el("span", { class: "n" }, reports.get(i + 1)?.state === "done" ? "✓" : String(i + 1)), s.title))));
  }

  function finding(x) {
    const kind = x.of === "" ? "step-line" : x.of + (x.ok ? " ok" : " not");
    const mark = x.of === "" ? "→" : x.ok ? "✓" : "✗";
    const words = x.of === "" ? "" : x.ok ? "right: " : "wrong: ";
    return el("li", { class: kind }, el("span", { class: "mark", "aria-hidden": "true" }, mark),
      el("span", { class: "who" }, names[x.of]), el("span", {}, el("span", { class: "hidden" }, words), x.text));
  }

  // lines appends what a report has found since the last time, so that a screen reader speaks only the new lines.
  function lines(r) {
    const ul = at("findings");
    for (const x of (r?.findings ?? []).slice(ul.childElementCount)) ul.append(finding(x));
    ul.dataset.state = r?.state ?? "";
  }

  function show() {
    list();
    const s = steps[current], r = reports.get(current + 1);
    if (!s) return;
    const running = r?.state === "running";
    const go = el("button", { type: "button", class: "main", id: "go", disabled: running,
      onclick: () => run(current + 1) }, running ? "Running …" : r ? "Run it again" : `Run step ${current + 1}`);
    const next = el("button", { type: "button", id: "next",
      onclick: () => { current++; show(); at("go").focus(); } }, "Next: " + (steps[current + 1]?.title ?? ""));
    const row = el("div", { class: "go" }, go);
    if (r && !running && current + 1 < steps.length) row.append(next);
    at("step").replaceChildren(el("h3", {}, `${current + 1}. ${s.title}`), el("p", { class: "story" }, s.story),
      el("p", { class: "does" }, `${s.does} The guarantee is ${s.guarantee}.`), row);
    if (r?.error) at("step").append(el("p", { class: "lost" }, `The step did not end: ${r.error}.`));
    at("findings").replaceChildren();
    lines(r);
  }

  async function run(step) {
    reports.set(step, { state: "running", findings: [] });
    show();
    const r = await post("tour", { step });
    if (r) reports.set(step, r); else reports.delete(step);
    show();
    at(r && current + 1 < steps.length ? "next" : "go")?.focus();
  }

  return {
    hello(h) { steps = h.steps; show(); },
    restart() { reports.clear(); current = 0; },
    update(r) {
      const before = reports.get(r.step);
      reports.set(r.step, r);
      if (r.state === "running" && current === r.step - 1 && before?.state === "running") {
        lines(r);
        return;
      }
      if (r.state === "running") current = r.step - 1;
      show();
    },
  };
}
