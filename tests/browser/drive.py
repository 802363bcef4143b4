"""Open the notebooks in a real browser, run them, move their sliders, and check that the pictures change.

This is not part of `make test`, because it needs a browser:

    python -m venv browser-venv && browser-venv/bin/pip install playwright nbformat notebook ipywidgets k3d
    cp -r runs/quick runs-copy        # finished runs, so that nothing is trained again (optional)
    browser-venv/bin/python tests/browser/drive.py --runs runs-copy --out pictures
    browser-venv/bin/python tests/browser/drive.py --notebook --runs runs-copy --out pictures 00 02

JupyterLab comes from the course's own environment (`--server`), and Notebook 7 from the one that runs this script. In
both, the kernel is the course's Python (`--kernel`). The browser is Debian's (`--chromium`). It may open pages of this
machine only, so a widget that needs the network fails here. The script runs copies of the notebooks, and leaves the
notebooks as they are. The exit status is 0 if every notebook ran without an error and every control changed what is
shown.
"""

import argparse
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from playwright.sync_api import Error, Locator, Page, sync_playwright

ROOT = Path(__file__).parents[2]
COURSE = ROOT / ".venv/bin/python"
WIDGET = "application/vnd.jupyter.widget-view+json"
# What a cell's widgets show: pictures and words, but not the sliders' own numbers. Pictures are compared by their
# content, because their address changes with every drawing; a 3D view is compared by its pixels (see `shown`).
SHOWN = """async cell => {
    const seen = [...cell.querySelectorAll('.widget-html-content')].map(e => e.innerText);
    for (const picture of cell.querySelectorAll('img.widget-image')) {
        const bytes = new Uint8Array(await (await fetch(picture.src)).arrayBuffer());
        seen.push(bytes.length + ':' + bytes.reduce((sum, b) => (31 * sum + b) | 0, 7));
    }
    return JSON.stringify(seen);
}"""


def copies(source: Path, chosen: list[str], folder: Path, runs: str, profile: str) -> list[Path]:
    """Copies of the notebooks whose names begin with one of ``chosen``, with other parameters."""
    made = []
    for path in sorted(source.glob("*.ipynb")):
        if not path.name.startswith(tuple(chosen)):
            continue
        notebook = nbformat.read(path, as_version=4)
        cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
        for name, value in {"runs": runs, "profile": profile}.items():
            cell.source = re.sub(rf"(?m)^({name}: str = )\"[^\"]*\"", rf"\g<1>{json.dumps(value)}", cell.source)
        made.append(folder / path.name)
        nbformat.write(notebook, made[-1])
    return made


@contextmanager
def server(python: Path, kernel: Path, module: str, folder: Path) -> Iterator[tuple[str, str]]:
    """JupyterLab or Notebook 7 on a free port, with the course's Python as its kernel; its address and token."""
    spec = folder / ".jupyter/kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [str(kernel), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3 (ipykernel)", "language": "python"}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [str(python), "-m", module, "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"]
    news = folder / ".jupyter/lab/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    if module == "jupyterlab":  # otherwise it would ask whether it may fetch news
        news.parent.mkdir(parents=True)
        news.write_text('{"fetchNews": "false"}')
    own = {name: str(folder / ".jupyter" / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    own |= {
        "JUPYTERLAB_SETTINGS_DIR": str(folder / ".jupyter/lab"),
        "JUPYTER_PATH": f"{folder / '.jupyter'}{os.pathsep}{os.environ.get('JUPYTER_PATH', '')}",
    }
    with (folder / ".jupyter/server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=os.environ | own, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(120):
            try:
                ask(f"{address}/api/status", token)
                break
            except (urllib.error.URLError, ConnectionError):
                if process.poll() is not None:
                    break
                time.sleep(1)
        else:
            process.terminate()
        if process.poll() is not None:
            raise SystemExit((folder / ".jupyter/server.log").read_text()[-3000:])
        yield address, token
    finally:
        process.terminate()
        process.wait(30)


def ask(address: str, token: str, method: str = "GET"):
    """Ask the server's own interface; returns its answer."""
    request = urllib.request.Request(address, headers={"Authorization": f"token {token}"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or "null")


def click_run_all(page: Page) -> None:
    """Choose Run, Run All Cells from the menu."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def run_all(page: Page, path: Path, address: str, token: str, seconds: float) -> list[str]:
    """Run all cells and wait until every one has run; returns what went wrong."""
    click_run_all(page)
    until, idle = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        page.wait_for_timeout(2000)
        sessions = [s for s in ask(f"{address}/api/sessions", token) if s["path"].endswith(path.name)]
        idle = idle + 1 if sessions and all(s["kernel"]["execution_state"] == "idle" for s in sessions) else 0
        if idle < 2:
            continue
        page.keyboard.press("Control+s")
        page.wait_for_timeout(2000)
        code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code" and c.source.strip()]
        broken = [(c.id, o) for c in code for o in c.outputs if o.output_type == "error"]
        if broken:
            return [f"{cell}: {o.ename}: {o.evalue}" for cell, o in broken]
        if all(c.execution_count for c in code):
            return []
        if idle % 4 == 0 and not any(c.execution_count for c in code):
            click_run_all(page)  # the first click came before the page was ready for it
    return [f"not finished after {seconds:.0f} s"]


def shown(cell: Locator) -> str:
    """A short text that changes when what a cell's widgets show changes."""
    canvases = cell.locator("canvas")
    return cell.evaluate(SHOWN) + "".join(str(hash(c.screenshot())) for c in canvases.all() if c.is_visible())


def changes(page: Page, cell: Locator, before: str, seconds: float = 10) -> bool:
    """Whether a cell soon shows something different from before."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        page.wait_for_timeout(400)
        if shown(cell) != before:
            return True
    return False


def name_of(control: Locator) -> str:
    """The label beside a slider."""
    words = control.locator("xpath=ancestor::*[contains(@class,'widget-inline-hbox')][1]//label").all_inner_texts()
    return words[0] if words else "slider"


def move(page: Page, cell: Locator) -> list[str]:
    """Move each slider of a cell, click every other control, turn each 3D view; returns those that changed nothing."""
    dead = []
    for slider in cell.locator(".noUi-handle").all():
        slider.scroll_into_view_if_needed()
        before = shown(cell)
        for pixels in (25, -50):  # it may already stand at one end
            box = slider.bounding_box() or {}
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x + pixels, y, steps=5)
            page.mouse.up()
            if changed := changes(page, cell, before):
                break
        print(f"      slider {name_of(slider)!r}: {'changes the picture' if changed else 'CHANGES NOTHING'}")
        dead += [] if changed else [f"slider {name_of(slider)!r} changes nothing"]
    buttons = cell.locator(".widget-toggle-buttons button").all()
    for control in (
        buttons[1:] + buttons[:1] + cell.locator(".widget-checkbox input").all()
    ):  # the first one is chosen already
        before, said = shown(cell), control.inner_text() or name_of(control).strip("\u200b") or "checkbox"
        control.click()
        changed = changes(page, cell, before)
        print(f"      control {said!r}: {'changes the picture' if changed else 'CHANGES NOTHING'}")
        dead += [] if changed else [f"control {said!r} changes nothing"]
    for canvas in cell.locator("canvas").all():
        if not canvas.is_visible() or not (box := canvas.bounding_box()):
            continue
        before = shown(cell)
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 120, y + 40, steps=8)
        page.mouse.up()
        changed = changes(page, cell, before)
        print(f"      drawing: {'turns' if changed else 'DOES NOT TURN'}")
        dead += [] if changed else ["a drawing does not turn"]
    return dead


def is_notebooks_own(error: Error) -> bool:
    """Whether this is a fault of Notebook 7 itself: github.com/jupyter/notebook/issues/7862, open in November 2026."""
    return "reading 'schema'" in error.message and "/notebook_core." in (error.stack or "")


def drive(page: Page, path: Path, place: str, address: str, token: str, out: Path, seconds: float) -> list[str]:
    """Open and run one notebook and use its widgets; returns the faults found."""
    refused: list[str] = []
    shouted: list[str] = []
    page.on("requestfailed", lambda r: refused.append(r.url) if not r.url.startswith((address, "blob:")) else None)
    page.on("pageerror", lambda e: None if is_notebooks_own(e) else shouted.append(str(e)))
    page.goto(f"{address}{place.format(path.stem)}{path.name}?token={token}")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=120_000)
    page.wait_for_timeout(3000)
    started = time.monotonic()
    faults = run_all(page, path, address, token, seconds)
    page.screenshot(path=out / f"{path.stem}_run.png")
    print(f"   {path.stem}: run in {time.monotonic() - started:.0f} s; {'; '.join(faults) or 'no error'}", flush=True)
    notebook = nbformat.read(path, as_version=4)
    widgets = [i for i, c in enumerate(notebook.cells) if WIDGET in str(c.get("outputs"))]
    print(f"   widgets in {[notebook.cells[i].id for i in widgets]}")
    for i in widgets:
        cell_id = notebook.cells[i].id
        cell = page.locator(".jp-Notebook .jp-Cell").nth(i)
        cell.scroll_into_view_if_needed()
        try:
            cell.locator(".jupyter-widgets, canvas").first.wait_for(timeout=30_000)
            page.wait_for_timeout(3000)
            cell.screenshot(path=out / f"{path.stem}_{cell_id}_before.png")
            if cell.get_by_text("javascript error").count():
                faults.append(f"{cell_id}: JupyterLab cannot show a widget; is its extension installed beside it?")
            faults += [f"{cell_id}: {fault}" for fault in move(page, cell)]
            page.wait_for_timeout(2000)  # a picture may still be on its way
            cell.screenshot(path=out / f"{path.stem}_{cell_id}_after.png")
        except Exception as e:  # the other widgets are still worth testing
            faults.append(f"{cell_id}: {str(e).splitlines()[0]}")
            page.screenshot(path=out / f"{path.stem}_{cell_id}_fault.png")
    page.locator(".jp-Notebook .jp-Cell").first.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)
    page.screenshot(path=out / f"{path.stem}_top.png")
    faults += [f"asked the network for {url}" for url in sorted(set(refused))]
    faults += [f"the page says: {said}" for said in sorted(set(shouted))]
    return faults


def main() -> int:
    """Drive the chosen notebooks, each on a browser page of its own."""
    say = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    say.add_argument("chosen", nargs="*", default=["00", "01", "02", "03", "04", "05"], help="beginnings of file names")
    say.add_argument("--folder", type=Path, default=ROOT / "notebooks", help="folder of the notebooks")
    say.add_argument("--runs", default="", help="folder of runs; finished runs in it need no training")
    say.add_argument("--profile", default="quick")
    say.add_argument("--out", type=Path, default=Path("drive-pictures"), help="folder for screenshots")
    say.add_argument("--notebook", action="store_true", help="Notebook 7 instead of JupyterLab")
    say.add_argument("--chromium", default="/usr/bin/chromium")
    say.add_argument("--server", type=Path, help="Python that has JupyterLab (or Notebook 7)")
    say.add_argument("--kernel", type=Path, default=COURSE, help="Python that has the course")
    say.add_argument("--timeout", type=float, default=300, help="seconds for a notebook to run")
    chosen = say.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    module, place = ("notebook", "/notebooks/") if chosen.notebook else ("jupyterlab", "/lab/workspaces/{}/tree/")
    python = chosen.server or (Path(sys.executable) if chosen.notebook else COURSE)
    runs = str(Path(chosen.runs).resolve()) if chosen.runs else ""
    faults: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="femur-drive-") as name, sync_playwright() as playwright:
        paths = copies(chosen.folder, chosen.chosen, Path(name), runs, chosen.profile)
        with server(python, chosen.kernel, module, Path(name)) as (address, token):
            # WebGL by software: a machine without a display has no other.
            options = ["--no-sandbox", "--enable-unsafe-swiftshader", "--use-angle=swiftshader"]
            browser = playwright.chromium.launch(executable_path=chosen.chromium, args=options)
            for path in paths:
                context = browser.new_context(viewport={"width": 1400, "height": 1000})
                context.route(lambda url: not url.startswith((address, "blob:", "data:")), lambda route: route.abort())
                found = drive(context.new_page(), path, place, address, token, chosen.out, chosen.timeout)
                faults[path.stem] = found
                context.close()
                for session in ask(f"{address}/api/sessions", token):
                    ask(f"{address}/api/sessions/{session['id']}", token, "DELETE")
            browser.close()
    for stem, found in faults.items():
        print(f"{stem}: {'sound' if not found else ''}")
        print("".join(f"   {fault}\n" for fault in found), end="")
    return int(any(faults.values()))


if __name__ == "__main__":
    sys.exit(main())
