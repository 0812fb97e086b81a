import { ask, useToken } from "./api.js";
import { make, said } from "./dom.js";
import { memories, turns } from "./memories.js";
import { question } from "./ask.js";
import { spending } from "./spending.js";

const view = document.getElementById("view"), status = document.getElementById("status"), form = document.getElementById("token");
let shown = 0; // of the views that were begun, the one to show

// Views by the first word of the address after #.
const views = { "": memories, turns, ask: question, spending };

async function show() {
  const mine = ++shown;
  const [name, ...args] = location.hash.replace(/^#\/?/, "").split("/").map(decode);
  for (const a of document.querySelectorAll("nav a")) {
    if (a.getAttribute("href") === "#/" + (name === "turns" ? "" : name)) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  say("Loading…");
  try {
    const nodes = await (views[name] ?? memories)(ask, ...args);
    if (mine !== shown) return;
    view.replaceChildren(...nodes);
    say("");
    form.hidden = true;
    if (location.hash) view.focus({ preventScroll: true });
  } catch (e) {
    if (mine !== shown) return;
    view.replaceChildren();
    form.hidden = e.status !== 401;
    if (e.status === 401) {
      say("This server wants a token.");
      document.getElementById("token-text").focus();
    } else say(e.message, true);
  }
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function say(text, wrong = false) {
  status.className = wrong ? "wrong" : "faint";
  status.replaceChildren(said(text));
}

form.addEventListener("submit", (e) => {
  e.preventDefault();
  const input = document.getElementById("token-text");
  useToken(input.value);
  input.value = "";
  show();
});
document.querySelector(".skip").addEventListener("click", (e) => {
  e.preventDefault(); // the address names the view
  view.focus();
});
window.addEventListener("hashchange", show);
show();
