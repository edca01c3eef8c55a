import { el, text, attr, at, ms, count } from "./dom.js";

// The comparison, and the light at the top.

const heads = ["Cache", "Reads", "Replaced before the read", "Older than Δ", "Oldest answer", "Loads of the database"];

export function scores() {
  const body = el("tbody");
  at("scores").append(el("table", {}, el("thead", {}, el("tr", {}, ...heads.map((h) => el("th", { scope: "col" }, h)))), body));
  const rows = ["nearcache", "TTL only", "pub/sub"].map((name) => {
    const cells = heads.slice(1).map(() => el("td", {}, "–"));
    body.append(el("tr", {}, el("th", { scope: "row" }, name), ...cells));
    return cells;
  });
  return (f) => {
    f.scores.forEach((s, i) => {
      const off = i > 0 && !s.reads, c = rows[i];
      text(c[0], off ? "off" : count(s.reads));
      text(c[1], off ? "–" : `${count(s.stale)} (${s.reads ? ((s.stale / s.reads) * 100).toFixed(2) : "0.00"}%)`);
      text(c[2], off ? "–" : count(s.over));
      attr(c[2], "class", off ? "" : s.over ? "bad" : "good");
      text(c[3], off ? "–" : s.worst ? ms(s.worst) : "none");
      text(c[4], off ? "–" : count(s.loads));
    });
    const s = f.scores[0];
    const audit = f.audit;
    attr(at("verdict"), "data-state", s.over || audit.inconsistent ? "bad" : s.reads ? "good" : "wait");
    text(at("verdict-text"), s.over ? `${count(s.over)} of ${count(s.reads)} reads were older than Δ`
      : s.reads ? `${count(s.reads)} reads, none older than Δ = ${ms(f.bound)}` : "Waiting for the first reads");
    text(at("verdict-detail"), audit.inconsistent ? `The auditors found ${count(audit.inconsistent)} inconsistencies: ${audit.why}`
      : audit.reads ? `The auditors compared ${count(audit.reads)} reads with the database, and found nothing.`
        : "Each answer is compared with the time of the commit.");
  };
}
