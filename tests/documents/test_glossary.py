"""The glossary: in order, with a notebook for each word, and found by the links of the notebooks."""

import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs/glossary.md").read_text("utf-8")
WORDS = re.findall(r"^## (.+)$", GLOSSARY, re.M)


def test_words_are_in_order_and_each_names_a_notebook_that_exists():
    assert sorted(WORDS, key=str.lower) == WORDS
    for entry in GLOSSARY.split("\n## ")[1:]:
        links = re.findall(r"\]\(\.\./(notebooks/\S+?\.ipynb)\)", entry)
        assert links, entry
        assert all((ROOT / link).is_file() for link in links)


def test_a_link_from_a_notebook_leads_to_a_word():
    anchors = {word.lower().replace(" ", "-") for word in WORDS}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            assert set(re.findall(r"\.\./docs/glossary\.md#([\w-]+)", cell.source)) <= anchors, cell.id
