import { left } from "./ask.js";
import { bar, count, dollars, make, said, table } from "./dom.js";

// spending shows what each account spent by day.
export async function spending(ask) {
  const accounts = (await ask("spending")).accounts.filter((a) => a.days.length || a.budget);
  const most = Math.max(...accounts.flatMap((a) => a.days.map((d) => d.dollars)), 1e-12);
  const nodes = accounts.flatMap((a) => [
    make("h3", {}, a.name ? said(a.name) : "This server's owner"), left(a.budget),
    a.days.length
      ? table("Spending of " + (a.name || "the owner"), ["Day (UTC)", make("th", { scope: "col", class: "track" }, "Share of the dearest day"), "Asked", "Cost"], a.days.map((d) => [d.day, make("td", { class: "track" }, bar(0, d.dollars / most)), count(d.asked), dollars(d.dollars)]))
      : make("p", { class: "faint" }, "Nothing was spent in the last 31 days."),
  ].filter(Boolean));
  return [make("h2", {}, "Spending by day"), ...(nodes.length ? nodes : [make("p", {}, "Nothing was spent in the last 31 days.")])];
}
