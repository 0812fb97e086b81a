"""Tests, in a real headless Chromium, that charts are drawn: on pages from a file without any network, and in JupyterLab.

    test_browser.py --out DIR page FILE.html [--tooltip NAME] ...    exported pages and reports
    test_browser.py --out DIR lab NOTEBOOK.ipynb [--tooltip NAME]    opens a copy in JupyterLab and runs all cells

Every chart (figure[data-chart]) must be drawn on a canvas that is not blank, with its image hidden; the chart shown under
--tooltip NAME (an element with data-show="chart:NAME") must answer the mouse; without scripts each must show its image and
no canvas; and nothing may be requested from a network. Screenshots go to DIR. Exit code 1 says what failed.
"""

import argparse
import contextlib
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from playwright.sync_api import Error, Page, expect, sync_playwright

FIGURE = "figure[data-chart]"


class Failure(Exception):
    """What a test found wrong."""


def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    sys.exit("test_browser: no Chromium on the PATH; on Debian: apt-get install chromium")


@contextlib.contextmanager
def browser():
    # Chromium's sandbox does not work for root, as which tests run in containers.
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path=chromium(), args=args)
        try:
            yield b
        finally:
            b.close()


def watch(page: Page, allowed: str) -> list[str]:
    """Refuses and returns what the page requests beyond addresses that begin with allowed, and notes its errors."""
    refused: list[str] = []

    def route(r):
        if r.request.url.startswith((allowed, "data:", "blob:")):
            r.continue_()
        else:
            refused.append(r.request.url)
            r.abort()

    page.route("**/*", route)
    page.on("pageerror", lambda e: refused.append(f"script error: {e}"))
    return refused


def check_quiet(refused: list[str]):
    if refused:
        raise Failure(f"{len(refused)} requests or errors: " + ", ".join(refused[:5]))


def check_drawn(page: Page, figure, what: str):
    """Waits until a chart is drawn and its image has made way."""
    figure.scroll_into_view_if_needed()
    try:
        expect(figure.locator("canvas").first).to_be_visible(timeout=20_000)
    except AssertionError:
        raise Failure(f"{what}: no canvas was drawn") from None
    expect(figure.locator("img")).to_be_hidden()
    inked = figure.locator("canvas").first.evaluate(
        """c => { const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data; let n = 0;
                  for (let i = 0; i < d.length; i += 4) if (d[i+3] && d[i] + d[i+1] + d[i+2] < 600) n++;
                  return n / (c.width * c.height); }"""
    )
    if inked < 0.002:
        raise Failure(f"{what}: the canvas is blank ({inked:.2%} of it is drawn on)")


def check_tooltip(page: Page, figure, what: str) -> str:
    """Moves the mouse onto a datum of a chart and returns what the tooltip says, which must begin with the datum's name."""
    figure.scroll_into_view_if_needed()
    at = figure.evaluate(
        """f => { const c = echarts.getInstanceByDom(f.querySelector("div")), { series, tooltip } = c.getOption();
                  if (tooltip[0].trigger === "axis") // anywhere between the axes
                    return { x: c.getWidth() / 2, y: c.getHeight() / 2, name: series.find(s => s.name).name };
                  for (let s = 0; s < series.length; s++) for (const d of series[s].data)
                    if (d && d.name && Array.isArray(d.value)) {
                      const [x, y] = c.convertToPixel({ seriesIndex: s }, d.value);
                      return { x, y, name: d.name };
                    } }"""
    )
    if not at:
        raise Failure(f"{what}: no datum to point at")
    box = figure.locator("canvas").first.bounding_box()
    page.mouse.move(box["x"] + at["x"] + 40, box["y"] + at["y"] + 40)
    page.mouse.move(box["x"] + at["x"], box["y"] + at["y"], steps=4)
    first = at["name"].split("\n")[0]
    tip = figure.get_by_text(first).locator("visible=true").first
    try:
        expect(tip).to_be_visible(timeout=5_000)
    except AssertionError:
        raise Failure(f"{what}: no tooltip {first!r}") from None
    return tip.inner_text()


def check_still(figure) -> int:
    """Where no script runs a chart shows its image, and nothing else."""
    image = figure.locator("img")
    expect(image).to_be_visible()
    complete, natural, shown = image.evaluate("i => [i.complete, i.naturalWidth, i.clientWidth]")
    if not complete or natural < 1000 or shown < 300:
        raise Failure(f"without scripts: an image is {natural} pixels, shown {shown} wide")
    if figure.locator("canvas").count():
        raise Failure("without scripts: a canvas stands beside the image")
    return 1


def named(page: Page, name: str):
    return page.locator(f'[data-show="chart:{name}"]').locator(FIGURE).first


def test_page(b, path: pathlib.Path, tooltip: list[str], out: pathlib.Path):
    url = path.resolve().as_uri()
    context = b.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    page = context.new_page()
    refused = watch(page, "file:")
    page.goto(url)
    figures = page.locator(FIGURE).all()
    if not figures:
        raise Failure("no chart on the page")
    for i, figure in enumerate(figures):
        check_drawn(page, figure, f"chart {i}")
    page.screenshot(path=out / f"{path.stem}.png", full_page=True)
    for name in tooltip:
        figure = named(page, name)
        said = check_tooltip(page, figure, name)
        figure.screenshot(path=out / f"{path.stem}-{name}-tooltip.png")
        print(f"  tooltip of {name}: {said!r}")
    page.wait_for_timeout(500)
    check_quiet(refused)
    context.close()

    context = b.new_context(viewport={"width": 1200, "height": 900}, offline=True, java_script_enabled=False)
    page = context.new_page()
    page.goto(url)
    if (n := sum(check_still(figure) for figure in page.locator(FIGURE).all())) != len(figures):
        raise Failure(f"without scripts: {n} images of {len(figures)}")
    page.screenshot(path=out / f"{path.stem}-no-scripts.png", full_page=True)
    context.close()
    print(f"  {n} charts drawn, no request; and as images without scripts")


@contextlib.contextmanager
def jupyterlab(jupyter: str, root: pathlib.Path, log: pathlib.Path):
    """Runs JupyterLab on a free port of loopback, and ends it with its kernels."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    token = secrets.token_hex(16)
    url = f"http://127.0.0.1:{port}"
    # Nothing of the person's own Jupyter is read or changed: settings, workspaces, trusted notebooks.
    own = root / ".jupyter"
    settings = own / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    environment = {**os.environ, "JUPYTER_TOKEN": token, "JUPYTER_CONFIG_DIR": str(own / "config"), "JUPYTER_DATA_DIR": str(own / "data"),
                   "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces")}
    with log.open("w") as f:
        server = subprocess.Popen(
            [jupyter, "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0", "--allow-root",
             f"--ServerApp.root_dir={root}", "--expose-app-in-browser"],
            env=environment, stdout=f, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            for _ in range(240):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"{url}/api/status?token={token}", timeout=5)
                    break
                if server.poll() is not None:
                    raise Failure(f"JupyterLab ended at once; see {log}")
                time.sleep(0.25)
            else:
                raise Failure(f"JupyterLab has not started within a minute; see {log}")
            yield url, token
        finally:
            # A signal would end the server and leave its kernels.
            def ask(method, path):
                request = urllib.request.Request(f"{url}{path}", method=method, headers={"Authorization": f"token {token}"})
                return urllib.request.urlopen(request, timeout=30).read()

            with contextlib.suppress(OSError):
                for kernel in json.loads(ask("GET", "/api/kernels")):
                    ask("DELETE", f"/api/kernels/{kernel['id']}")
                ask("POST", "/api/shutdown")
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def open_notebook(page: Page, url: str, token: str, name: str):
    page.goto(f"{url}/lab/workspaces/test-{secrets.token_hex(4)}/tree/{name}?token={token}")
    expect(page.locator(".jp-Notebook").first).to_be_visible(timeout=60_000)
    page.wait_for_function("() => window.jupyterapp.shell.currentWidget?.context?.isReady", timeout=60_000)


def each_chart(page: Page, selector: str):
    """Yields what selector finds for each chart of the notebook. Only cells near the view are on the page, so each cell that
    has charts is brought there."""
    counts = page.evaluate(
        """window.jupyterapp.shell.currentWidget.content.widgets.map(w => w.model.type !== "code" ? 0 :
             w.model.outputs.toJSON().filter(o => String(o.data?.["text/html"] ?? "").includes("data-chart=")).length)"""
    )
    for i, n in enumerate(counts):
        if n:
            page.evaluate("""i => window.jupyterapp.shell.currentWidget.content.scrollToItem(i, "center")""", i)
            found = page.locator(f'[data-windowed-list-index="{i}"] {selector}')
            expect(found).to_have_count(n, timeout=20_000)
            yield from found.all()


def test_lab(b, notebook: pathlib.Path, tooltip: list[str], jupyter: str, timeout: float, out: pathlib.Path):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        shutil.copy(notebook, root / notebook.name)
        charts = run_in_lab(b, root, notebook.name, tooltip, jupyter, timeout, out)
        print(f"  JupyterLab ran it and drew {charts} charts")


def run_in_lab(b, root: pathlib.Path, name: str, tooltip: list[str], jupyter: str, timeout: float, out: pathlib.Path) -> int:
    stem = pathlib.Path(name).stem
    with jupyterlab(jupyter, root, out / f"{stem}-lab.log") as (url, token):
        context = b.new_context(viewport={"width": 1400, "height": 1000})
        page = context.new_page()
        refused = watch(page, url)
        open_notebook(page, url, token, name)
        # The command resolves when all cells have run, with whether they all succeeded.
        page.wait_for_function("() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.connectionStatus === 'connected'", timeout=60_000)
        page.evaluate("""() => { window.ran = undefined; window.jupyterapp.commands.execute("notebook:run-all-cells").then(ok => window.ran = ok !== false); }""")
        try:
            page.wait_for_function("() => window.ran !== undefined", timeout=timeout * 1000)
        except Error:
            page.screenshot(path=out / f"{stem}-lab-timeout.png")
            raise Failure(f"the cells have not run within {timeout:g} s") from None
        if not page.evaluate("window.ran"):
            page.screenshot(path=out / f"{stem}-lab-failed.png")
            raise Failure("a cell failed")
        charts = 0
        for figure in each_chart(page, FIGURE):
            check_drawn(page, figure, f"chart {charts} in JupyterLab")
            charts += 1
        if not charts:
            raise Failure("no chart in the notebook")
        for chart in tooltip:
            figure = named(page, chart)
            said = check_tooltip(page, figure, chart)
            page.screenshot(path=out / f"{stem}-lab-{chart}.png")
            print(f"  tooltip of {chart} in JupyterLab: {said!r}")
        page.evaluate("""() => window.jupyterapp.commands.execute("docmanager:save")""")
        shutil.copy(root / name, out)
        check_quiet(refused)
        context.close()

        # A notebook that this user has not run is not trusted: its scripts are taken away and the images stay.
        stranger = json.loads((root / name).read_text())
        stranger["cells"].append({"cell_type": "markdown", "id": "stranger", "metadata": {}, "source": "from somebody else"})
        (root / "stranger.ipynb").write_text(json.dumps(stranger))
        context = b.new_context(viewport={"width": 1400, "height": 1000})
        page = context.new_page()
        refused = watch(page, url)
        open_notebook(page, url, token, "stranger.ipynb")
        n = sum(check_still(output) for output in each_chart(page, ".jp-OutputArea-output:has(img)"))
        if n != charts:
            raise Failure(f"not trusted, the notebook shows {n} images of {charts}")
        page.screenshot(path=out / f"{stem}-lab-not-trusted.png")
        check_quiet(refused)
        context.close()

        # Opened again, the saved notebook draws without running anything.
        context = b.new_context(viewport={"width": 1400, "height": 1000})
        page = context.new_page()
        refused = watch(page, url)
        open_notebook(page, url, token, name)
        for i, figure in enumerate(each_chart(page, FIGURE)):
            check_drawn(page, figure, f"chart {i} of the saved notebook")
        check_quiet(refused)
        context.close()
    return charts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for screenshots")
    sub = parser.add_subparsers(dest="kind", required=True)
    for kind in ("page", "lab"):
        p = sub.add_parser(kind)
        p.add_argument("file", type=pathlib.Path)
        p.add_argument("--tooltip", action="append", default=[], metavar="NAME", help="a chart whose tooltip is tried")
    p.add_argument("--jupyter", default=".venv/bin/jupyter", help="the program that starts JupyterLab")
    p.add_argument("--timeout", type=float, default=300, help="seconds for running all cells")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.file.exists():
        sys.exit(f"test_browser: {args.file} does not exist")
    print(args.file)
    try:
        with browser() as b:
            if args.kind == "page":
                test_page(b, args.file, args.tooltip, args.out)
            else:
                test_lab(b, args.file, args.tooltip, args.jupyter, args.timeout, args.out)
    except (Failure, AssertionError, Error) as e:
        print(f"test_browser: {args.file}: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
