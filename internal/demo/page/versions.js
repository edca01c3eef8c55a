import { el, text, attr, at, letters } from "./dom.js";
import { post } from "./api.js";

// The table of versions: the database, Redis, and each instance's L1.

const columns = ["Database", "Redis", "A", "B", "C"];

function cell(column) {
  const pill = el("span", { class: "pill none" }, "–");
  const node = el("div", { role: "cell" }, pill);
  let shown = -1;
  node.update = (version, serves, why, newest) => {
    let kind = "none", mark = "–", words = "not held";
    if (version > 0) {
      if (column === 0) [kind, mark, words] = ["base", "", "the newest"];
      else if (!serves) [kind, mark, words] = ["idle", "·", "not served: " + (why || "replaced")];
      else if (version >= newest) [kind, mark, words] = ["same", "✓", "the newest"];
      else [kind, mark, words] = ["old", "!", "older, and served within the bound"];
    }
    const fresh = version > 0 && shown >= 0 && version !== shown;
    if (version !== shown) shown = version;
    text(pill, version > 0 ? `${version} ${mark}`.trim() : "–");
    if (fresh) {
      pill.className = "pill " + kind;
      void pill.offsetWidth; // begins the animation again
      pill.className = `pill ${kind} flash`;
    } else if (!pill.classList.contains(kind)) {
      pill.className = "pill " + kind;
    }
    attr(pill, "title", `${columns[column]}: ${words}`);
  };
  return node;
}

function row(k, writer) {
  const price = el("small"), name = el("span", {}, k.name);
  const cells = columns.map((_, c) => cell(c));
  const write = el("button", { type: "button", "aria-label": `Write a new price of ${k.name}`, onclick: async () => {
    write.disabled = true;
    await post("write", { instance: writer(), id: k.id });
    write.disabled = false;
    write.focus();
  } }, "Write");
  const node = el("div", { role: "row" }, el("div", { role: "rowheader", class: "name" }, name, price), ...cells,
    el("div", { role: "cell", class: "do" }, write));
  node.update = (k) => {
    text(name, k.name);
    text(price, k.price.toFixed(2));
    cells[0].update(k.db, true, "", k.db);
    cells[1].update(k.redis, k.redis >= k.db, "replaced", k.db);
    k.l1.forEach((c, i) => cells[i + 2].update(c.v, c.serves, c.why, k.db));
  };
  return node;
}

export function versions() {
  const table = at("versions"), rows = new Map();
  table.append(el("div", { role: "row", class: "heads" }, el("div", { role: "columnheader", class: "name" }, "Product"),
    ...columns.map((c, i) => el("div", { role: "columnheader" }, i > 1 ? `L1 of ${c}` : c)),
    el("div", { role: "columnheader", class: "do" }, "Write")));
  const choice = letters.map((l, i) => el("label", {},
    el("input", { type: "radio", name: "writer", value: String(i), checked: i === 0 }), l.toUpperCase()));
  at("writer").append(...choice);
  const writer = () => Number(document.querySelector('input[name="writer"]:checked').value);
  return (f) => {
    for (const k of f.keys) {
      if (!rows.has(k.id)) {
        if (!k.name) continue;
        rows.set(k.id, row(k, writer));
        table.append(rows.get(k.id));
      }
      rows.get(k.id).update(k);
    }
  };
}
