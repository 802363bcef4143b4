"""Pages made of notebooks stand alone: they are read where there is no network, and nobody learns who reads them."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from nbconvert import HTMLExporter
from nbformat import v4

ROOT = Path(__file__).parents[2]
WIDGET = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
LOADS = {"src", "srcset", "poster", "data", "background"}


class Loaded(HTMLParser):
    """What a page loads by itself, and what its scripts and styles say."""

    def __init__(self):
        super().__init__()
        self.loaded: list[str] = []
        self.code: list[str] = []
        self.within = ""

    def handle_starttag(self, tag, attrs):
        self.within = tag
        for name, value in attrs:
            if (name in LOADS or (tag == "link" and name == "href")) and not (value or "").startswith("data:"):
                self.loaded.append(f"{tag} {name}={value}")

    def handle_data(self, data):
        if self.within in ("script", "style"):
            self.code.append(data)


@pytest.fixture(scope="module")
def page() -> str:
    """A notebook with everything that ours have: text, code, a picture, a table, a widget and its state."""
    shown = [
        v4.new_output("stream", text="a line"),
        v4.new_output("display_data", {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure>"}),
        v4.new_output("execute_result", {"text/html": "<table><tr><td>1</td></tr></table>", "text/plain": "1"}),
        v4.new_output("display_data", {WIDGET: {"model_id": "a", "version_major": 2}, "text/plain": "VBox(children)"}),
    ]
    cells = [v4.new_markdown_cell("# Title\n\n[next](01.ipynb)"), v4.new_code_cell("x", outputs=shown)]
    notebook = v4.new_notebook(cells=cells)
    notebook.metadata["widgets"] = {STATE: {"state": {"a": {}}, "version_major": 2, "version_minor": 0}}
    exporter = HTMLExporter(template_name="page", extra_template_basedirs=[str(ROOT / "workflow")])
    return exporter.from_notebook_node(notebook)[0]


def test_nothing_is_loaded_from_elsewhere(page):
    found = Loaded()
    found.feed(page)
    assert found.loaded == []
    assert not re.search(r"<script", page)
    assert not re.search(r"@import|url\(\s*['\"]?(?:https?:)?//", "".join(found.code))


def test_a_page_shows_what_the_notebook_shows_and_says_where_a_widget_stands(page):
    assert all(words in page for words in ("Title", "a line", "data:image/png;base64,iVBORw0KGgo=", "<td>1</td>"))
    assert page.count("A widget stands here") == 1
    assert "VBox(children)" not in page
    assert page.rstrip().endswith("</html>")


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_no_notebook_has_what_a_page_would_need_scripts_for(path):
    text = "\n\n".join("".join(c["source"]) for c in json.loads(path.read_text("utf-8"))["cells"]
                       if c["cell_type"] == "markdown")  # fmt: skip
    plain = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S)
    assert not re.search(r"\$[^$\n]+\$|\\\(|\\\[|\\begin\{", plain), "formulas are written in letters (α, ², ×)"
    assert "```mermaid" not in text
    assert not re.search(r"!\[[^]]*\]\(https?:|<(?:script|img|iframe)\b[^>]*https?:", text)
