"""Tests the page of `bmem serve --memories` in a real headless Chromium: `make test-browser` runs it by a Go test that serves a hostile
conversation.

    test_page.py --out DIR URL TOKEN EMPTY_TOKEN

TOKEN is that of a tenant with memories, EMPTY_TOKEN of one without. Nothing that the memories say may run, load anything, or be HTML; no
address but the server's may be asked; all views must be reached and used by keyboard; and texts must be readable on a dark and a
light page. Screenshots go to DIR. Exit code 1 says what failed.
"""

import argparse
import pathlib
import sys

from playwright.sync_api import Error, Page, expect

from test_browser import Failure, browser, check_quiet, watch


def check_harmless(page: Page):
    """What was said ran nothing and made no element that the page does not make itself."""
    if page.evaluate("window.hacked !== undefined"):
        raise Failure("a script of the conversation ran")
    foreign = page.evaluate(
        """() => [...document.body.querySelectorAll("script, img, iframe, svg, style, link, meta, base, object, embed, b, i, [onerror], [onload], [style*=url]")].map(e => e.outerHTML.slice(0, 100))""")
    if foreign:
        raise Failure(f"the conversation made elements: {foreign[:3]}")
    links = page.evaluate("""() => [...document.links].filter(a => a.origin !== location.origin || a.protocol === "javascript:").map(a => a.href)""")
    if links:
        raise Failure(f"links lead elsewhere: {links[:3]}")


def check_contrast(page: Page, what: str):
    """The colours of texts stand out from the page by 4.5 to 1, as WCAG 2 asks."""
    worst = page.evaluate(
        """() => {
          const lum = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
          const back = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } return "rgb(255, 255, 255)"; };
          let worst = [99, ""];
          for (const e of document.body.querySelectorAll("*")) {
            if (!e.checkVisibility() || e.disabled || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
            const [a, b] = [lum(getComputedStyle(e).color), lum(back(e))].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
            if (ratio < worst[0]) worst = [ratio, e.outerHTML.slice(0, 80)];
          }
          return worst; }""")
    if worst[0] < 4.5:
        raise Failure(f"{what}: a contrast of {worst[0]:.2f}: {worst[1]}")


def tab_to(page: Page, name: str, role: str):
    """Moves the focus by the Tab key alone."""
    for _ in range(400):
        page.keyboard.press("Tab")
        if page.get_by_role(role, name=name, exact=True).evaluate_all("(found) => found.includes(document.activeElement)"):
            return
    raise Failure(f"the Tab key does not reach the {role} {name!r}")


def sign_in(page: Page, url: str, token: str):
    page.goto(url)
    expect(page.get_by_label("Token of this server")).to_be_focused()
    page.keyboard.type(token)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Token of this server")).to_be_hidden()


def test(page: Page, url: str, token: str, out: pathlib.Path, scheme: str):
    page.goto(url)
    expect(page.get_by_role("status").first).to_have_text("This server wants a token.")
    page.get_by_label("Token of this server").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_have_text("This server wants a token.")
    sign_in(page, url, token)
    expect(page.get_by_role("table", name="Memories").get_by_role("row")).to_have_count(5)
    check_harmless(page)
    check_contrast(page, "memories")
    page.screenshot(path=out / f"memories-{scheme}.png", full_page=True)

    tab_to(page, "diary", "link")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Memory diary")).to_be_visible()
    turns = page.locator("ol.turns > li")
    expect(turns).to_have_count(50)
    text = turns.locator("p.said").all_inner_texts()
    for part in ("<script>window.hacked = 1</script><img src=x", "javascript:hacked=1", "U+0000", "U+001B", "U+202E", "U+2066", "U+2028", "U+FEFF", "U+E0041", "👩\u200d👧", "http://evil.example/?q=secret"):
        if not any(part in t for t in text):
            raise Failure(f"{part!r} is not shown as text")
    if any(c in t for t in text for c in "\u202e\u2066\u2028\u200b\x1b\x00"):
        raise Failure("a character that cannot be seen is on the page")
    check_harmless(page)
    check_contrast(page, "turns")
    if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
        raise Failure("a turn makes the page wider than the window")
    page.screenshot(path=out / f"turns-{scheme}.png", full_page=True)
    tab_to(page, "Later", "button")
    page.keyboard.press("Enter")
    expect(turns.first).to_contain_text("In year 1939")
    tab_to(page, "Later", "button")
    page.keyboard.press("Enter")
    expect(turns).to_have_count(21)
    expect(page.get_by_role("button", name="Later")).to_be_disabled()
    tab_to(page, "Earlier", "button")
    page.keyboard.press("Enter")
    expect(turns.first).to_contain_text("In year 1939")
    search = page.get_by_label("Search this memory")
    search.focus()
    page.keyboard.type("Who moved to Bern in year 1955?")
    page.keyboard.press("Enter")
    expect(page.get_by_text("20 turns found, best first")).to_be_visible()
    check_harmless(page)

    tab_to(page, "Ask it", "link")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Memory")).to_have_value("diary")
    page.get_by_label("Question").focus()
    page.keyboard.type("Where did Ann move in year 1955?")
    tab_to(page, "Ask under both", "button")
    page.keyboard.press("Enter")
    results = page.locator(".pair > section")
    expect(results).to_have_count(2, timeout=30_000)
    for i, side in enumerate("AB"):
        section = results.nth(i)
        expect(section.get_by_role("heading", name=f"Budget {side}")).to_be_visible()
        expect(section.get_by_role("table").get_by_role("row")).to_have_count(8)  # retrieval, five modules, the answer
        expect(section.locator(".answer")).to_contain_text("Bern")
        expect(section).to_contain_text("left this hour")
        if not section.locator("ol.turns > li").count():
            raise Failure("an answer without evidence")
    tiers = [results.nth(i).get_by_role("row").filter(has_text="entity").locator(".faint").inner_text() for i in (0, 1)]
    if tiers != ["low", "high"]:
        raise Failure(f"the sides ran at {tiers}")
    check_harmless(page)
    check_contrast(page, "ask")
    page.screenshot(path=out / f"ask-{scheme}.png", full_page=True)

    page.get_by_label("At most, in dollars").first.fill("0.0000001")
    page.get_by_role("button", name="Ask under both").click()
    expect(results.first.locator(".wrong")).to_contain_text("cost limit is too low", timeout=30_000)
    tab_to(page, "Spending", "link")
    page.keyboard.press("Enter")
    table = page.get_by_role("table", name="Spending of ann")
    expect(table.get_by_role("row")).to_have_count(2)
    expect(page.get_by_text("left this hour")).to_be_visible()
    check_contrast(page, "spending")
    page.screenshot(path=out / f"spending-{scheme}.png", full_page=True)

    for name in ("<img src=x onerror=hacked=1>", "javascript:hacked=1"):
        page.goto(url + "/#/")  # by its address the token stays
        page.get_by_role("link", name=name).first.click()
        expect(turns).to_have_count(50)
        check_harmless(page)
    for address in ("#/turns/<script>hacked=1</script>", "#/turns/..", "#/%zz", "#/constructor", "#/ask/<b>x", "#javascript:hacked=1"):
        page.evaluate("(a) => { location.hash = a; }", address)
        page.wait_for_timeout(150)
        check_harmless(page)
    page.reload()
    expect(page.get_by_label("Token of this server")).to_be_visible()  # it was kept nowhere
    if page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length"):
        raise Failure("the page keeps something")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for screenshots")
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("empty")
    args = parser.parse_args()
    try:
        with browser() as b:
            for scheme in ("light", "dark"):
                context = b.new_context(viewport={"width": 1000, "height": 900}, color_scheme=scheme)
                page = context.new_page()
                refused = watch(page, args.url)
                # What the policy of the page stops is told on the console. The wrong token's answers are too.
                page.on("console", lambda m: refused.append(m.text) if m.type == "error" and " 40" not in m.text and " 40" not in str(m.location) else None)
                test(page, args.url, args.token, args.out, scheme)
                check_quiet(refused)
                context.close()
                print(f"  {scheme}: every view by keyboard, nothing ran, nothing was loaded from elsewhere")
            context = b.new_context(viewport={"width": 360, "height": 700})
            page = context.new_page()
            refused = watch(page, args.url)
            sign_in(page, args.url, args.empty)
            expect(page.get_by_text("There is none yet.")).to_be_visible()
            page.goto(args.url + "/#/ask")
            expect(page.get_by_text("There is no memory to ask yet.")).to_be_visible()
            page.goto(args.url + "/#/spending")
            expect(page.get_by_text("Nothing was spent")).to_be_visible()
            check_quiet(refused)
            context.close()
    except (Failure, AssertionError, Error) as e:
        print(f"test_page: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
