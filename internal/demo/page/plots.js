import { el, text, at, letters, ms } from "./dom.js";

// Three plots of the last minute. Their points are kept in arrays of a fixed size.

const points = 600, step = 100; // milliseconds between points

const kinds = [
  { name: "L1 hit ratio", unit: "of reads", of: (x) => (x.hitRatio < 0 ? NaN : x.hitRatio * 100), low: 0, high: 100,
    say: (v) => v.toFixed(1) + "%", lines: [50, 100], label: (v) => v + "%" },
  { name: "Read latency, p99", unit: "logarithmic", of: (x) => (x.p99Us > 0 ? x.p99Us / 1000 : NaN), low: 0.0005,
    high: 1000, log: true, say: ms, lines: [0.001, 0.01, 0.1, 1, 10, 100], label: ms },
  { name: "Oldest answer, in truth", unit: "logarithmic, Δ is dashed", of: (x) => Math.max(x.stale, 0.1), low: 0.1,
    high: 10000, log: true, say: (v) => (v <= 0.1 ? "none" : ms(v)), lines: [1, 10, 100, 1000], label: ms, delta: true },
];

function plot(kind) {
  const canvas = el("canvas", { role: "img" }), legend = el("p");
  const node = el("div", { class: "plot" }, el("h3", {}, kind.name, el("small", {}, kind.unit)), canvas, legend);
  const data = letters.map(() => new Float32Array(points).fill(NaN));
  const marks = letters.map((l) => {
    const value = el("span");
    legend.append(el("span", {}, el("i", { class: `dot ${l}` }), `${l.toUpperCase()} `, value));
    return value;
  });
  let n = 0, bound = 0;
  const scale = kind.log ? Math.log : (v) => v;
  const height = (v) => (scale(Math.min(Math.max(v, kind.low), kind.high)) - scale(kind.low)) / (scale(kind.high) - scale(kind.low));

  node.add = (f) => {
    bound = f.bound;
    f.instances.forEach((x, i) => { data[i][n % points] = kind.of(x); });
    n++;
  };
  node.clear = () => { for (const d of data) d.fill(NaN); };
  node.say = () => {
    const words = data.map((d, i) => {
      const v = d[(n - 1 + points) % points];
      const s = Number.isNaN(v) ? "–" : kind.say(v);
      text(marks[i], s);
      return `${letters[i].toUpperCase()} ${s}`;
    });
    canvas.setAttribute("aria-label", `${kind.name}: now ${words.join(", ")}`);
  };
  node.draw = (style) => {
    const ratio = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
    if (canvas.width !== Math.round(w * ratio)) canvas.width = Math.round(w * ratio);
    if (canvas.height !== Math.round(h * ratio)) canvas.height = Math.round(h * ratio);
    const c = canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, w, h);
    const left = 46, y = (v) => h - 6 - height(v) * (h - 14);
    c.font = "11px system-ui, sans-serif";
    c.textAlign = "right";
    c.lineWidth = 1;
    for (const v of kind.lines) {
      c.strokeStyle = style.line;
      c.fillStyle = style.soft;
      c.beginPath();
      c.moveTo(left, y(v));
      c.lineTo(w, y(v));
      c.stroke();
      c.fillText(kind.label(v), left - 5, y(v) + 4);
    }
    if (kind.delta && bound > 0) {
      c.strokeStyle = style.bad;
      c.setLineDash([5, 4]);
      c.beginPath();
      c.moveTo(left, y(bound));
      c.lineTo(w, y(bound));
      c.stroke();
      c.setLineDash([]);
      c.fillStyle = style.bad;
      c.fillText("Δ", left - 5, y(bound) + 4);
    }
    c.lineWidth = 1.8;
    data.forEach((d, i) => {
      c.strokeStyle = style[letters[i]];
      c.beginPath();
      let drawn = false;
      for (let p = 0; p < points; p++) {
        const v = d[(n + p) % points];
        if (Number.isNaN(v)) { drawn = false; continue; }
        const x = left + (p / (points - 1)) * (w - left - 2);
        if (drawn) c.lineTo(x, y(v)); else c.moveTo(x, y(v));
        drawn = true;
      }
      c.stroke();
    });
  };
  return node;
}

export function plots() {
  const all = kinds.map(plot);
  at("plots").append(...all);
  const colours = () => {
    const s = getComputedStyle(document.documentElement), v = (n) => s.getPropertyValue("--" + n).trim();
    return { line: v("line"), soft: v("soft"), bad: v("bad"), a: v("a"), b: v("b"), c: v("c") };
  };
  let style = colours(), last = 0, fresh = false;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { style = colours(); });
  return {
    add(f) {
      if (f.t - last < step) return;
      last = f.t;
      fresh = true;
      for (const p of all) p.add(f);
    },
    draw() {
      if (!fresh) return;
      fresh = false;
      for (const p of all) { p.draw(style); p.say(); }
    },
    restart() { last = 0; for (const p of all) p.clear(); },
  };
}
