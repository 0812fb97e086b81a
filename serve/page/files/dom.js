// Elements are made here and nowhere else, and what people said becomes text, never HTML.

// Characters that are not seen, or that change how those around them are read: controls, bidirectional marks, overrides and isolates,
// line separators, invisible signs and tags.
const hidden = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

// make returns an element. Children are nodes or texts.
export function make(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") e.addEventListener(key, value);
    else if (value !== false && value != null) e.setAttribute(key, value === true ? "" : value);
  }
  e.append(...children.filter((c) => c != null));
  return e;
}

// said shows a text that somebody wrote, set apart from its surroundings. What cannot be seen in it is shown by its number.
export function said(text, name = "bdi") {
  const e = make(name, { class: "said", dir: "auto" });
  let at = 0;
  for (const m of text.matchAll(hidden)) {
    const code = "U+" + m[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    e.append(text.slice(at, m.index), make("span", { class: "sign" }, code));
    at = m.index + m[0].length;
  }
  e.append(text.slice(at));
  return e;
}

// bar is a part of a track, in shares of it.
export function bar(start, length) {
  const e = make("div", { class: "bar" });
  e.style.marginInlineStart = 100 * start + "%";
  e.style.width = 100 * length + "%";
  return e;
}

export function table(caption, heads, rows) {
  return make("div", { class: "wide" }, make("table", { "aria-label": caption },
    make("thead", {}, make("tr", {}, ...heads.map((h) => (h instanceof Element ? h : make("th", { scope: "col" }, h))))),
    make("tbody", {}, ...rows.map((cells) => make("tr", {}, ...cells.map((c) => (c instanceof HTMLTableCellElement ? c : make("td", {}, c))))))));
}

export const dollars = (d) => "$" + (d === 0 ? "0" : d >= 0.01 ? d.toFixed(4) : d.toPrecision(3));
export const count = (n) => n.toLocaleString("en");
export const when = (text) => (text ? text.replace("T", " ").replace("Z", " UTC") : "");

// turn is an item of a list of turns.
export function turn(t, extra) {
  return make("li", {}, make("div", { class: "faint" }, said(t.speaker || "?"), " · ", said(t.time), " · session ", said(t.session), extra ?? ""), said(t.text, "p"));
}
