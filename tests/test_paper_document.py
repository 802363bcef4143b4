"""PAPER.md: its links lead somewhere, each claim has one tag, and each number in a finding is computed again here.

What from, paper_numbers.py says.
"""

import json
import re

import pytest
from paper_numbers import DEEP, DILATED, FLAT, NUMBERS, OURS, ROOT, hips, published, record

from femur_lib.paper import NETWORKS

TEXT = (ROOT / "PAPER.md").read_text()
TAGS = (
    "shown on synthetic",
    "shown on real hips",
    "computed",
    "not testable without the data",
    "not yet run",
)


def claims() -> dict[str, list[str]]:
    """Of each row of the tables of claims: number, claim, links, finding, tag."""
    rows = re.findall(r"^\| [A-Z]\d+ \|.*$", TEXT, re.M)
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert len({c[0] for c in cells}) == len(cells), "a claim's number is used twice"
    return {c[0]: c for c in cells}


CLAIMS = claims()


def numbers(text: str) -> list[str]:
    """Numbers of a text; not those in links, in code, in 2D and 3D, and in names such as Table 1, row C4 or L 4."""
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"\[[^\]]*\]|`[^`]*`", " ", text)
    text = re.sub(r"\b(Tables?|Figs?\.|Eqs?\.|folds?|notebooks?|[FL]) \d+( (and|to) \d+)?", " ", text)
    return re.findall(r"(?<![\w.])[−+]?\d+(?:\.\d+)?(?!\w)", text)


def printed_like(number: str, value: float) -> str:
    """A value, rounded as a number in the text is, with its sign where that has one."""
    decimals = len(number.partition(".")[2])
    return f"{value:{'+' if number[0] in '−+' else ''}.{decimals}f}".replace("-", "−")


def links(text: str) -> list[str]:
    return re.findall(r"\]\((?!https?://)([^)]+)\)", text)


@pytest.mark.parametrize("target", sorted(set(links(TEXT))))
def test_every_link_leads_to_a_file_and_to_the_cell_or_heading_that_it_names(target):
    path, _, anchor = target.partition("#")
    file = ROOT / path if path else ROOT / "PAPER.md"
    assert file.exists()
    if not anchor:
        return
    if file.suffix == ".ipynb":
        assert anchor in {cell["id"] for cell in json.loads(file.read_text())["cells"]}
    else:
        headings = re.findall(r"^#+ (.*)$", file.read_text(), re.M)
        assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
def test_each_claim_has_exactly_one_known_tag_and_what_was_shown_names_its_record(claim):
    assert len(claim) == 5
    assert claim[4].strip("*") in TAGS
    assert not any(f"*{tag}*" in cell for tag in TAGS for cell in claim[:4])
    synthetic, real = ("results/synthetic/", "results/workshop/"), ("results/hips/", "results/hips-paper/")
    where = {"*shown on synthetic*": synthetic, "*shown on real hips*": real}.get(claim[4])
    if where:
        records = [link for link in links(claim[3]) if link.startswith(where) or link == "benchmarks/README.md"]
        assert records, "no record is named"
        assert all((ROOT / link).is_file() for link in records)


@pytest.mark.parametrize("key", sorted({*CLAIMS, *NUMBERS}))
def test_every_number_of_a_finding_is_what_is_computed_from_its_record(key):
    written = numbers(CLAIMS[key][3])
    computed = [float(value) for value in NUMBERS[key]()] if key in NUMBERS else []
    assert len(written) == len(computed), f"written {written}, computed {computed}"
    assert written == [printed_like(w, value) for w, value in zip(written, computed, strict=True)], computed


def test_the_checks_see_numbers_where_a_reader_does():
    text = "Table 1, `3d-f8`, L 4: 2D fell from 0.92 to 0.70 (−0.22, 8 women, [run 7](a/b9.csv)), +2.5 %; row C4."
    assert numbers(text) == ["0.92", "0.70", "−0.22", "8", "+2.5"]
    assert printed_like("−0.22", -0.219) == "−0.22"
    assert printed_like("0.92", 0.926) == "0.93"
    assert printed_like("+0.000", 0.0001) == "+0.000"


def test_the_reading_says_how_many_claims_have_each_tag():
    for tag in TAGS:
        (said,) = re.findall(rf"\| \*{tag}\* \| [^|]* \| (\d+) \|", TEXT)
        assert int(said) == sum(claim[4] == f"*{tag}*" for claim in CLAIMS.values()), tag


def test_how_far_the_runs_reach_is_what_their_records_say():
    (paragraph,) = re.findall(r"^\*\*How far the runs reach\.\*\*.*?\n\n", TEXT, re.M | re.S)
    runs = [record(f"synthetic/method_order/{n}") for n in (FLAT, DEEP, DILATED)]
    trained, scored = ({len(run[part]) for run in runs} for part in ("training", "validation"))
    patients = {name[:-1] for name in hips(OURS).participant_id}
    study = published("workshop", "2d-f64-l4")
    women = len(study["training"]) + len(study["validation"])
    trainings = len(list((ROOT / "results/workshop/runs").glob("*.json")))
    of_study = [len(NETWORKS), trainings, women, study["profile"]["epochs"]]
    computed = [runs[0]["profile"]["seed"], *trained, *scored, *of_study, len(hips(OURS)), len(patients)]
    assert numbers(paragraph) == [str(n) for n in computed]
