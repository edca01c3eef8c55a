import { el, text, attr, at, letters, ms, count } from "./dom.js";
import { act } from "./api.js";

// The three instances, and the buttons beside and above them.

function toggle(label, pressed, start, end, instance, extra = {}) {
  const b = el("button", { type: "button", "aria-pressed": "false", ...extra,
    onclick: () => act(b.getAttribute("aria-pressed") === "true" ? end : start, instance) }, label);
  b.update = (f, in_) => attr(b, "aria-pressed", String(pressed(f, in_)));
  return b;
}

function gauge(name, who) {
  const fill = el("div", { class: "fill" }), value = el("span", { class: "value" });
  const meter = el("div", { class: "track", role: "meter", "aria-label": `Bound that ${name} proves for ${who}`,
    "aria-valuemin": "0" }, fill, el("div", { class: "delta" }));
  const row = el("div", { class: "gauge" }, el("span", {}, name), meter, value);
  row.update = (proved, bound) => {
    const shown = proved > 0 ? Math.min(proved, 2 * bound) : 2 * bound;
    const words = proved > 0 ? ms(proved) : "no proof";
    attr(row, "data-state", proved > 0 && proved <= bound ? "in" : "over");
    attr(meter, "aria-valuemax", String(2 * bound));
    attr(meter, "aria-valuenow", String(Math.round(shown)));
    attr(meter, "aria-valuetext", words);
    fill.style.width = `${(shown / (2 * bound)) * 100}%`;
    text(value, words);
  };
  return row;
}

function fact(name) {
  const dd = el("dd", {}, "–");
  return { dd, node: el("div", {}, el("dt", {}, name), dd) };
}

function card(i) {
  const who = letters[i].toUpperCase();
  const badge = el("span", { class: "badge" });
  const says = el("span"), guarantee = el("abbr");
  const redis = gauge("Redis", who), kafka = gauge("Kafka", who), delta = el("span");
  const hits = fact("L1 hits"), reads = fact("reads/s"), p99 = fact("p99"), loads = fact("loads/s");
  const buttons = [
    toggle("Cut Redis", (_, x) => x.redisCut, "cut-redis", "heal-redis", i, { "aria-label": `Cut Redis off ${who}` }),
    toggle("Cut Kafka", (_, x) => x.kafkaCut, "cut-kafka", "heal-kafka", i, { "aria-label": `Cut Kafka off ${who}` }),
    toggle("Pause", (_, x) => x.paused, "pause", "resume", i, { "aria-label": `Pause ${who}` }),
  ];
  const node = el("article", { class: "card", id: `card-${letters[i]}`, "aria-label": `Instance ${who}` },
    el("div", { class: "title" }, el("h3", {}, el("span", { class: `dot ${letters[i]}`, "aria-hidden": "true" }), `Instance ${who}`), badge),
    el("p", { class: "says" }, says, " ", guarantee),
    el("div", { class: "gauges" }, redis, kafka,
      el("div", { class: "scale", "aria-hidden": "true" }, el("span"), delta, el("span"))),
    el("dl", { class: "facts" }, hits.node, reads.node, p99.node, loads.node),
    el("div", { class: "bar" }, ...buttons));
  node.update = (f) => {
    const x = f.instances[i];
    const [state, word] = x.paused ? ["paused", "paused"] : !x.gate ? ["closed", "gate closed"]
      : x.redisCut || x.kafkaCut || !x.redis || !x.events ? ["warn", "gate open, by " + (x.channel === "events" ? "Kafka" : "Redis")]
        : ["good", "gate open"];
    attr(node, "data-state", state);
    text(badge, word);
    text(says, x.says);
    text(guarantee, x.guarantee);
    redis.update(x.byRedis, f.bound);
    kafka.update(x.byEvents, f.bound);
    text(delta, `Δ ${ms(f.bound)}`);
    text(hits.dd, x.hitRatio < 0 ? "–" : (x.hitRatio * 100).toFixed(1) + "%");
    text(reads.dd, count(x.reads));
    text(p99.dd, x.p99Us ? ms(x.p99Us / 1000) : "–");
    text(loads.dd, count(x.loads));
    for (const b of buttons) b.update(f, x);
  };
  return node;
}

export function fleet() {
  const cards = [0, 1, 2].map(card);
  at("fleet").append(...cards);
  const controls = [
    toggle("Load", (f) => f.load, "start-load", "stop-load", undefined, { class: "on" }),
    toggle("Compare", (f) => f.compare, "start-compare", "stop-compare", undefined, { class: "on" }),
    toggle("Stop the relay", (f) => !f.relay, "stop-relay", "start-relay"),
    el("button", { type: "button", onclick: () => act("flush") }, "Flush Redis"),
    el("button", { type: "button", onclick: () => act("heal") }, "Heal everything"),
  ];
  at("controls").append(...controls);
  return (f) => {
    for (const c of cards) c.update(f);
    for (const b of controls) b.update?.(f);
  };
}
