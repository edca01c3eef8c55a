import { el, text, at, ms } from "./dom.js";

// The way of the latest write: one lane for each service and instance, on a logarithmic axis of time.

const lanes = [
  ["Database", 0, { database: "committed" }], ["Redis", 0, { redis: "new value" }],
  ["Outbox", 0, { outbox: "read by the relay" }], ["Kafka", 0, { kafka: "event taken" }],
  ["Instance A", 1, { redis: "push", kafka: "event", read: "served" }],
  ["Instance B", 2, { redis: "push", kafka: "event", read: "served" }],
  ["Instance C", 3, { redis: "push", kafka: "event", read: "served" }],
];
const from = 0.1, to = 2000; // milliseconds
const place = (v) => `${(Math.log(Math.min(Math.max(v, from), to) / from) / Math.log(to / from)) * 100}%`;

function lane([name, instance, words]) {
  const line = el("div", { class: "lane", "aria-hidden": "true" }), times = el("div", { class: "times" });
  const node = el("div", { class: "way" }, el("strong", {}, name), line, times);
  node.clear = () => { line.replaceChildren(); times.replaceChildren(); };
  node.add = (a) => {
    if ((a.instance || 0) !== instance || !words[a.by]) return;
    const t = a.us / 1000;
    const point = el("span", { class: `point ${a.by}` });
    point.style.left = place(t);
    line.append(point);
    if (times.childNodes.length) times.append(" · ");
    times.append(words[a.by] + " ", el("b", {}, ms(t)));
  };
  return node;
}

export function journey() {
  const all = lanes.map(lane);
  const axis = el("div", { class: "lane" });
  for (const v of [0.1, 1, 10, 100, 1000]) {
    const tick = el("span", { class: "tick" }, ms(v));
    tick.style.left = place(v);
    axis.append(tick);
  }
  at("journey").append(...all, el("div", { class: "way", "aria-hidden": "true" }, el("span"), axis, el("span")));
  let n = 0, seen = 0, epoch = "";
  const update = (f) => {
    const j = f.journey;
    if (!j) return;
    if (j.n !== n) {
      n = j.n;
      seen = 0;
      for (const l of all) l.clear();
    }
    const arrivals = j.arrivals || [];
    for (; seen < arrivals.length; seen++) for (const l of all) l.add(arrivals[seen]);
    text(at("journey-about"), j.error ? `The write failed: ${j.error}`
      : `${"ABC"[j.from - 1]} gave ${j.name} the price ${j.price.toFixed(2)}` +
        (j.version ? `: version ${j.version}.` : ".") + " Times are measured from the beginning of the write.");
  };
  return { update, restart: (e) => { if (e !== epoch) { epoch = e; n = 0; } } };
}
