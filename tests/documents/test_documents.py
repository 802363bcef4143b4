"""Rendered pages are what their templates give, links lead somewhere, and each claim says what kind it is."""

import json
import re
from pathlib import Path

import pytest
from conftest import script

ROOT = Path(__file__).parents[2]
RENDERED = (
    "README.md",
    "PAPER.md",
    "docs/faults.md",
    "docs/install.md",
    "docs/results.md",
    "femur_lib/weights/README.md",
)
PAGES = (
    *RENDERED,
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    "data/README.md",
    "docs/commands.md",
    "docs/gpu.md",
    "results/README.md",
    "workflow/README.md",
)
TAGS = {  # and where the record of such a claim lies
    "shown on synthetic": ("results/synthetic/", "results/workshop/", "results/open-rows/"),
    "shown on real hips": ("results/hips/", "results/hips-paper/"),
    "computed": (),
    "not testable without the data": (),
}
CLAIMS = re.findall(r"^\| ([A-Z]\d+) \| (.*) \| (.*) \| (.*) \| (.*) \|$", (ROOT / "PAPER.md").read_text(), re.M)


def links(text: str) -> list[str]:
    return re.findall(r"\]\((?!https?://|mailto:)([^)]+)\)", text)


def anchors(page: Path) -> set[str]:
    """Ids of a notebook's cells; headings of a text, as GitHub names them."""
    if page.suffix == ".ipynb":
        return {cell["id"] for cell in json.loads(page.read_text())["cells"]}
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_is_what_its_template_gives():
    rendered = script("documents/render.py").rendered()
    assert tuple(rendered) == RENDERED
    assert not [name for name, text in rendered.items() if (ROOT / name).read_text() != text], "Run make documents"


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files_and_to_the_cells_or_headings_that_they_name(name):
    page = ROOT / name
    for link in sorted(set(links(page.read_text()))):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("name", PAGES)
def test_files_that_are_named_exist(name):
    named = r"`((?:benchmarks|data|documents|femur_lib|notebooks|profiles|teaching|tests|workflow)/[\w/.]*)`"
    for path in re.findall(named, (ROOT / name).read_text()):
        assert (ROOT / path).exists(), path


def test_contributing_shows_every_file_of_the_library():
    library, text = ROOT / "femur_lib", (ROOT / "CONTRIBUTING.md").read_text()
    tree = text.split("femur_lib/\n")[1].split("```")[0]
    shown = re.findall(r"^ +([\w.]+/?) ", tree, re.M)
    there = [
        path.name if path.is_file() else f"{path.name}/"
        for folder in (library, *(library / name for name in ("course", "lab", "paper")))
        for path in folder.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").is_file()) and path.name != "__init__.py"
    ]
    assert sorted(shown) == sorted(there)


@pytest.mark.parametrize(("key", "claim", "here", "finding", "tag"), CLAIMS, ids=[claim[0] for claim in CLAIMS])
def test_each_claim_has_one_known_tag_and_what_was_shown_names_its_record(key, claim, here, finding, tag):
    assert [row[0] for row in CLAIMS].count(key) == 1
    records = TAGS[tag.strip("*")]
    assert not any(f"*{other}*" in cell for other in TAGS for cell in (claim, here, finding))
    if records:
        assert [link for link in links(finding) if link.startswith(records)], "no record is named"


def test_rounding_is_that_of_a_reader():
    render = script("documents/render.py")
    assert render.to(0.926, 2) == "0.93"
    assert render.signed(-0.219, 2) == "−0.22"
    assert render.signed(0.0001, 3) == "+0.000"
    assert render.listed([88, 40, 16]) == "88, 40 and 16"
