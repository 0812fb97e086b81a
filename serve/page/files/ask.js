import { memory } from "./api.js";
import { bar, count, dollars, make, said, table, turn } from "./dom.js";

// question asks one question under two budgets and shows what each took, side by side.
export async function question(ask, chosen) {
  const [{ memories: list }, tiers] = await Promise.all([ask("memories"), budgets(ask)]);
  const where = make("select", { id: "where" }, ...list.map((m) => make("option", { value: m.name, selected: m.name === chosen }, m.name)));
  const text = make("textarea", { id: "text", rows: 2, maxlength: 2000, required: true });
  const sides = [budget("A", tiers, tiers[0]), budget("B", tiers, tiers.slice(1).at(-1) ?? "")];
  const results = make("div", { class: "pair", "aria-live": "polite" });
  const button = make("button", { disabled: !list.length }, "Ask under both");
  const form = make("form", { submit }, make("p", {}, make("label", { for: "where" }, "Memory"), where), make("label", { for: "text" }, "Question"), text,
    make("div", { class: "pair" }, ...sides.map((s) => s.fields)), make("p", {}, button));

  async function submit(e) {
    e.preventDefault();
    button.disabled = true;
    results.replaceChildren(...sides.map(() => make("p", { class: "faint" }, "Asking…")));
    const answers = await Promise.all(sides.map(async (side) => {
      try {
        return await ask(memory(where.value, "ask"), { question: text.value, steps: true, ...side.request() });
      } catch (error) {
        return error;
      }
    }));
    const [a, b] = answers.map((r) => new Set((r.evidence ?? []).map((t) => t.id)));
    results.replaceChildren(...answers.map((r, i) => result(sides[i].name, r, i ? a : b)));
    button.disabled = false;
  }
  return [make("h2", {}, "One question, two budgets"), list.length ? form : make("p", {}, "There is no memory to ask yet."), results];
}

// budgets lists the tiers that a question may name; none where the server does not describe itself.
async function budgets(ask) {
  try {
    return (await ask("openapi.json")).components?.schemas?.AskRequest?.properties?.budget?.enum ?? [];
  } catch (error) {
    if (error.status === 401) throw error;
    return [];
  }
}

// budget is one side of the form.
function budget(name, levels, level) {
  const tiers = make("select", { id: "tiers" + name }, ...["", ...levels].map((l) => make("option", { value: l, selected: l === level }, l || "as the server decides")));
  const most = make("input", { id: "most" + name, type: "number", min: 0, step: "any", inputmode: "decimal" });
  const fields = make("fieldset", {}, make("legend", {}, "Budget " + name), make("label", { for: tiers.id }, "Tiers"), tiers, make("br"), make("label", { for: most.id }, "At most, in dollars"), most);
  return { name, fields, request: () => ({ ...(tiers.value && { budget: tiers.value }), ...(most.value && { max_dollars: Number(most.value) }) }) };
}

// result shows an answer, or the error in its place. Evidence that the other side has too is marked.
function result(name, r, others) {
  const head = make("h3", {}, "Budget " + name);
  if (r instanceof Error) return make("section", {}, head, make("p", { class: "wrong" }, said(r.message)));
  const end = Math.max(...r.steps.map((s) => s.start + s.milliseconds), 1e-9);
  const steps = r.steps.map((s) => [
    make("td", {}, s.step, s.tier ? make("div", { class: "faint" }, said(s.tier), s.why ? ", not the one asked for" : "") : ""),
    make("td", { class: "track" }, bar(s.start / end, s.milliseconds / end)),
    s.milliseconds.toFixed(1), dollars(s.dollars),
  ]);
  const sure = r.confidence == null ? "" : ` · confidence ${r.confidence.toFixed(2)}`;
  return make("section", {}, head, make("div", { class: "answer" }, said(r.answer, "p")),
    make("p", {}, `${dollars(r.dollars)} · ${count(r.tokens_in)} tokens in, ${count(r.tokens_out)} out · ${r.milliseconds.toFixed(0)} ms${sure}`),
    left(r.budget), table("Steps under budget " + name, ["Step and tier", make("th", { scope: "col", class: "track" }, "Timeline"), "ms", "Cost"], steps), ...why(r.steps),
    make("h4", {}, `Evidence: ${r.evidence.length} turns`),
    make("ol", { class: "turns" }, ...r.evidence.map((t) => {
      const item = turn(t, others.has(t.id) ? " · under both" : "");
      if (others.has(t.id)) item.classList.add("both");
      return item;
    })));
}

const why = (steps) => steps.filter((s) => s.why).map((s) => make("p", { class: "faint" }, s.step + ": ", said(s.why)));

// left says what may still be spent.
export function left(budget) {
  const parts = ["hour", "day"].filter((w) => budget?.[w]).map((w) => `${dollars(budget[w].left)} of ${dollars(budget[w].limit)} left this ${w}`);
  if (budget?.question != null) parts.push(`${dollars(budget.question)} a question`);
  return parts.length ? make("p", { class: "faint" }, parts.join(" · ")) : null;
}
