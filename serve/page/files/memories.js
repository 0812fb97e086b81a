import { memory } from "./api.js";
import { count, make, said, table, turn, when } from "./dom.js";

// memories lists them.
export async function memories(ask) {
  const list = (await ask("memories")).memories;
  if (!list.length) return [make("h2", {}, "Memories"), make("p", {}, "There is none yet. An agent adds to one with add_memory, and `bmem memory add` reads a file.")];
  return [make("h2", {}, "Memories"), table("Memories", ["Name", "Turns", "Sessions", "Bytes", "Changed", ""], list.map((m) => [
    make("a", { href: "#/turns/" + encodeURIComponent(m.name) }, said(m.name)), count(m.turns), count(m.sessions), count(m.bytes), when(m.changed),
    make("a", { href: "#/ask/" + encodeURIComponent(m.name) }, "Ask"),
  ]))];
}

const pageLength = 50;

// turns shows a memory page by page, or what a search finds in it.
export async function turns(ask, name) {
  const list = make("ol", { class: "turns" }), note = make("p", { role: "status", class: "faint" });
  const back = make("button", { type: "button", click: () => go(cursors.pop() ?? "") }, "Earlier");
  const on = make("button", { type: "button", click: () => { cursors.push(here); go(next); } }, "Later");
  const query = make("input", { id: "query", type: "search", maxlength: 2000, size: 40 });
  const search = make("form", { role: "search", submit: (e) => { e.preventDefault(); find(query.value.trim()); } },
    make("label", { for: "query" }, "Search this memory"), query, make("button", {}, "Search"),
    make("button", { type: "button", click: () => { query.value = ""; find(""); } }, "All turns"));
  const cursors = []; // of the pages before
  let here = "", next = "";

  async function load(cursor) {
    const page = await ask(memory(name, `turns?limit=${pageLength}` + (cursor ? "&cursor=" + encodeURIComponent(cursor) : "")));
    here = cursor;
    next = page.next;
    list.replaceChildren(...page.turns.map((t) => turn(t)));
    back.disabled = !cursor;
    on.disabled = !next;
    note.textContent = `${page.turns.length} turns${cursor ? "" : ", from the first"}${next ? "" : ", to the last"}`;
  }

  // attempt shows what went wrong in the place of the list's description.
  async function attempt(work) {
    try {
      note.className = "faint";
      await work();
    } catch (e) {
      note.className = "wrong";
      note.replaceChildren(said(e.message));
    }
  }

  const go = (cursor) => attempt(() => load(cursor));
  const find = (text) => attempt(async () => {
    if (!text) {
      cursors.length = 0;
      return load("");
    }
    const found = (await ask(memory(name, "search"), { query: text, limit: 20 })).turns;
    list.replaceChildren(...found.map((t) => turn(t, ` · score ${t.score.toFixed(2)}`)));
    back.disabled = on.disabled = true;
    note.textContent = `${found.length} turns found, best first`;
  });

  await load("");
  return [make("h2", {}, "Memory ", said(name)), make("p", {}, make("a", { href: "#/ask/" + encodeURIComponent(name) }, "Ask it")), search, note, list, make("p", {}, back, " ", on)];
}
