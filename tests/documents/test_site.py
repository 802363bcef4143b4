"""The site is whole: every link leads somewhere, nothing comes from elsewhere, and everybody can read and search it.

`make site` builds it in build/site; SITE names another folder. `make check-site` installs what drives the browser.
"""

import os
import re
import shutil
import threading
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import script

ROOT = Path(__file__).parents[2]
SITE = Path(os.environ.get("SITE") or ROOT / "build" / "site")
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html") if "_static" not in path.parts)
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WIDTHS = (1280, 390)
LOADS = {"img": "src", "script": "src", "link": "href", "source": "src", "iframe": "src", "video": "src"}

built = pytest.mark.skipif(not PAGES, reason=f"{SITE} holds no site; make site builds it")


class Page(HTMLParser):
    """A page's links, what it loads, its anchors, and pictures without a description."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.silent: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if given.get(LOADS.get(tag, "")) and given.get("rel") != "canonical":
            self.loads.append(given[LOADS[tag]])
        if tag == "img" and not given.get("alt", "").strip():
            self.silent.append(given.get("src", "")[:60])


@cache
def page(name: str) -> Page:
    return Page((SITE / name).read_text("utf-8"))


def leads_somewhere(name: str, link: str) -> bool:
    """Whether a link from a page leads to a file of the site, and to an anchor that is there; others' are not asked."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (SITE / name).parent / unquote(parts.path) if parts.path else SITE / name
    target = (target / "index.html" if target.is_dir() else target).resolve()
    if not target.is_file() or not target.is_relative_to(SITE.resolve()):
        return False
    if not parts.fragment or target.suffix != ".html":
        return True
    return unquote(parts.fragment) in page(target.relative_to(SITE.resolve()).as_posix()).anchors


# What the files say


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere_and_pictures_are_described(name):
    found = page(name)
    assert [link for link in found.links + found.loads if not leads_somewhere(name, link)] == []
    assert found.silent == []


@built
def test_the_site_has_the_course_and_what_belongs_to_it():
    expected = {f"notebooks/{path.stem}.html" for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    expected |= {"index.html", "PAPER.html", "teaching/quiz.html", "data/README.html", "api/architecture.html"}
    assert expected <= set(PAGES)


@built
def test_pages_name_no_path_of_the_machine_that_made_them():
    for name in PAGES:
        assert str(ROOT) not in (SITE / name).read_text("utf-8"), name


@built
def test_a_claim_of_the_paper_leads_to_the_cell_that_shows_it():
    links = [link for link in page("PAPER.html").links if re.match(r"notebooks/\d\d_\w+\.html#\w", link)]
    assert len(links) > 50


# How its parts are made


@pytest.fixture(scope="module")
def build():
    pytest.importorskip("sphinx", reason="the extra 'site' is not installed")
    return script("site/build.py")


def test_every_question_of_the_quiz_has_choices_and_explains_each(build):
    text = (ROOT / "teaching" / "quiz.md").read_text("utf-8")
    questions = re.findall(r"^### ", text, re.M)
    made = build.quiz(text).split('<div class="quiz">')[1:]
    assert len(made) == len(questions) > 0
    for question in made:
        assert (
            question.count('<div class="choice">')
            == len(re.findall(r'<div class="why (?:right|wrong)">', question))
            > 2
        )
        assert question.count('<div class="why right">') == 1


def test_a_widget_is_a_sentence_and_no_path_of_the_machine_is_left(build):
    from nbformat import v4

    shown = [
        v4.new_output("display_data", {build.WIDGET: {"model_id": "a"}, "text/plain": "VBox(children)"}),
        v4.new_output("stream", text="page: /somewhere/checkout/runs/quick/report.html\n"),
    ]
    cells = [v4.new_code_cell("x", outputs=shown, metadata={"tags": ["solution"], "alt": "a picture"})]
    cells += [v4.new_code_cell("runs = '/somewhere'", metadata={"tags": ["injected-parameters"]})]
    notebook = v4.new_notebook(cells=cells)
    notebook.metadata["papermill"] = {"parameters": {"runs": "/somewhere/checkout/runs/quick"}}
    anchor, cell = build.page_of(notebook).cells
    assert anchor.source == f"({cell.id})=\n"
    assert "A widget stands here" in cell.outputs[0].data["text/html"]
    assert cell.outputs[1].text == "page: runs/quick/report.html\n"
    assert "hide-input" in cell.metadata.tags
    assert cell.metadata.mystnb.image == {"alt": "a picture"}


def test_links_lead_to_cells_to_headings_and_to_the_repository(build, tmp_path, monkeypatch):
    pages, cells = {"PAPER.md", "notebooks/01.ipynb", "data/README.md"}, {"nb01-cell"}

    def link(to: str, page: str = "PAPER.md") -> str:
        return build.relink(f"[a]({to})", page, pages, cells, tmp_path)

    assert link("notebooks/01.ipynb#nb01-cell") == "[a](#nb01-cell)"
    assert link("notebooks/01.ipynb#2-Hardware") == "[a](notebooks/01.ipynb#2-hardware)"
    assert link("../data", "notebooks/01.ipynb") == "[a](../data/README.md)"
    assert link("../README.md", "data/README.md") == "[a](../index.md)"
    assert link("https://doi.org/1") == "[a](https://doi.org/1)"
    assert link("results") == "a"
    assert link("LICENSE") == "[a](LICENSE)"
    assert (tmp_path / "LICENSE").is_file()
    monkeypatch.setenv("REPOSITORY", "https://example.org/hips/")
    assert link("results") == "[a](https://example.org/hips/tree/main/results)"
    assert link("LICENSE") == "[a](https://example.org/hips/blob/main/LICENSE)"


# In a browser


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The site on a server of this machine."""
    if not PAGES:
        pytest.skip(f"{SITE} holds no site; make site builds it")
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: Quiet(*given, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; make check-site does it")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if not path:
        pytest.skip("no Chromium was found; CHROMIUM names one")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def view(browser, address):
    """A browser's page; it fails if another machine is asked, if a file is missing, or if a script fails."""
    context = browser.new_context(viewport={"width": WIDTHS[0], "height": 900})
    view, faults = context.new_page(), []
    view.on("request", lambda r: None if r.url.startswith((address, "data:")) else faults.append(r.url))
    view.on("response", lambda r: faults.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    view.on("pageerror", lambda error: faults.append(str(error)))
    yield view
    context.close()
    assert faults == []


@pytest.mark.parametrize("name", PAGES)
def test_everybody_can_read_it(view, address, name):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    for width in WIDTHS:
        view.set_viewport_size({"width": width, "height": 900})
        view.goto(address + name)
        contrast = {"color-contrast": {"enabled": width == WIDTHS[0]}}  # slow, and colours do not depend on the width
        options = {"preload": False, "resultTypes": ["violations"], "rules": contrast}
        found = axe.run(view, options=options).response["violations"]
        serious = {v["id"]: [n["target"] for n in v["nodes"]] for v in found if v["impact"] in ("serious", "critical")}
        assert serious == {}, f"{width} pixels wide"
        assert view.evaluate("document.documentElement.scrollWidth") <= width + 1, "it must be moved from side to side"


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("nine patches", "notebooks/02_unpadded_unet_2d.html"),
        ("early stopping", "notebooks/04_train_until_validation_stops.html"),
        ("unpadded_geometry", "api/architecture.html"),
    ],
)
def test_the_search_finds(view, address, words, page):
    view.goto(f"{address}search.html?q={words}")
    view.locator("#search-results li").first.wait_for(timeout=20_000)
    view.wait_for_function("document.querySelectorAll('#search-results li a').length > 0")
    found = view.locator("#search-results li a").evaluate_all("links => links.map(link => link.href)")
    assert page in [link.removeprefix(address).partition("#")[0].partition("?")[0] for link in found[:10]]


def test_the_quiz_is_answered_with_the_keyboard(view, address):
    view.goto(f"{address}teaching/quiz.html")
    question = view.locator(".quiz").first
    assert question.locator(".why:visible").count() == 0
    for choice in question.get_by_role("button").all():
        choice.focus()
        view.keyboard.press("Enter")
    assert question.locator(".why:visible").count() == question.get_by_role("button").count()
    assert view.get_by_role("status").inner_text().startswith("1 of ")
    first_right = "right" in (question.locator(".why").first.get_attribute("class") or "")
    assert f"{int(first_right)} right at the first try" in view.get_by_role("status").inner_text()
