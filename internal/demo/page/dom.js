// Elements without markup in strings: the page's policy allows none.

// el makes an element with attributes and children. A property that begins with "on" is a listener.
export function el(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (key.startsWith("on")) e.addEventListener(key.slice(2), value);
    else e.setAttribute(key, value === true ? "" : value);
  }
  e.append(...children);
  return e;
}

// text, attr and hide change an element only if something is new: a frame comes up to 60 times a second.
export function text(e, s) {
  if (e.textContent !== s) e.textContent = s;
}

export function attr(e, name, value) {
  if (e.getAttribute(name) !== value) e.setAttribute(name, value);
}

export function hide(e, hidden) {
  if (e.hidden !== hidden) e.hidden = hidden;
}

export const at = (id) => document.getElementById(id);

export const letters = ["a", "b", "c"];

// ms is a time of milliseconds as people read it.
export function ms(v) {
  if (v >= 10000) return (v / 1000).toFixed(0) + " s";
  if (v >= 1000) return (v / 1000).toFixed(1) + " s";
  if (v >= 10) return v.toFixed(0) + " ms";
  if (v >= 1) return v.toFixed(1) + " ms";
  return (v * 1000).toFixed(0) + " µs";
}

export const count = (n) => Math.round(n).toLocaleString("en");
