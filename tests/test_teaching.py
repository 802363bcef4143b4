"""What an instructor relies on: links, minutes, quoted messages, and a quiz whose answers the library agrees with."""

import ast
import json
import math
import re
import sys
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from femur_lib.architecture import Architecture, unpadded_geometry
from femur_lib.inference import patch_starts
from femur_lib.paper import NETWORKS, TABLE_1, TABLE_2

ROOT = Path(__file__).parents[1]
TEACHING = ROOT / "teaching"
PAGES = [*sorted(TEACHING.glob("*.md")), ROOT / "README.md"]
NOTEBOOKS = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))}
PAPER_3D = Architecture(dimensions=3, features=32, levels=4)


@cache
def prose(path: Path) -> str:
    if path.suffix != ".ipynb":
        return path.read_text("utf-8")
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def headings(path: Path) -> list[str]:
    return [h.strip() for h in re.findall(r"^#+ (.+)$", prose(path), re.M)]


def anchors(path: Path) -> set[str]:
    """JupyterLab's for notebooks, GitHub's for Markdown."""
    if path.suffix == ".ipynb":
        return {h.replace(" ", "-") for h in headings(path)}
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings(path)}


def planned_minutes(path: Path) -> int:
    (minutes,) = re.findall(r"^\| minutes \| (\d+)", prose(path), re.M)
    return int(minutes)


# Links


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_to_files_and_headings_that_exist(page):
    for link in re.findall(r"\]\((?!https?://|mailto:|figure:)([^)]+)\)", prose(page)):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            assert unquote(anchor) in anchors(target), link


# The schedule


def timetables() -> list[str]:
    text = prose(TEACHING / "schedule.md")
    return [part for part in re.split(r"^\| start", text, flags=re.M)[1:] if "| what |" in part[:40]]


def rows(table: str) -> list[tuple[datetime, int, str]]:
    found = re.findall(r"^\| (\d\d:\d\d) \| (\d+) \| (.+) \|$", table, re.M)
    return [(datetime.strptime(start, "%H:%M"), int(minutes), what) for start, minutes, what in found]


@pytest.mark.parametrize("table", timetables(), ids=["day", "first half", "second half"])
def test_a_timetable_adds_up(table):
    found = rows(table)
    for (start, minutes, what), (next_start, _, _) in pairwise(found):
        assert start + timedelta(minutes=minutes) == next_start, what
    total = sum(minutes for _, minutes, _ in found)
    away = sum(minutes for _, minutes, what in found if what in ("break", "lunch"))
    (said,) = re.findall(r"^(\d+) minutes, of which (\d+) are work and (\d+) are breaks", table, re.M)
    assert tuple(map(int, said)) == (total, total - away, away)


@pytest.mark.parametrize("table", timetables(), ids=["day", "first half", "second half"])
def test_a_timetable_has_the_minutes_of_the_notebooks(table):
    named = [(minutes, re.search(r"notebooks/(\d\d)_", what)) for _, minutes, what in rows(table)]
    assert any(found for _, found in named)
    for minutes, found in named:
        if found:
            assert minutes == planned_minutes(NOTEBOOKS[found[1]]), found[1]


def plans() -> dict[str, dict[str, int]]:
    notes = re.split(r"^## (\d\d) · ", prose(TEACHING / "instructor-notes.md"), flags=re.M)[1:]
    lines = {k: re.findall(r"^\*Plan:\* (.+)$", text, re.M)[0] for k, text in zip(notes[::2], notes[1::2], strict=True)}
    return {k: {s: int(m) for s, m in re.findall(r"(\d+|in short): (\d+)", line)} for k, line in lines.items()}


@pytest.mark.parametrize("number", sorted(plans()))
def test_a_plan_names_every_section_and_adds_up(number):
    plan = plans()[number]
    sections = [m[1] for h in headings(NOTEBOOKS[number]) if (m := re.match(r"(\d+) (?!·)", h))]
    assert [s for s in plan if s != "in short"] == sections
    assert sum(plan.values()) == planned_minutes(NOTEBOOKS[number])


def test_what_is_cut_saves_what_is_planned():
    text = prose(TEACHING / "schedule.md")
    cuts = re.findall(r"^\| \[(\d\d)\]\([^)]+\) \| (\d+) \| (\d+) \|", text, re.M)
    assert all(plans()[number][section] == int(saved) for number, section, saved in cuts)
    assert f"together save {sum(int(saved) for *_, saved in cuts)} minutes" in text


# What the screen says


@cache
def strings() -> str:
    """Every string of the library; where an f-string has a value, "…"."""
    found = []
    for path in (ROOT / "femur_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.append("".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values))
    return "\n".join(found)


def messages() -> list[str]:
    quoted = re.findall(r"^> .+(?:\n> .+)*", prose(TEACHING / "what-goes-wrong.md"), re.M)
    lines = [re.sub(r"\s*^> ", " ", block, flags=re.M).strip() for block in quoted]
    return [line for line in lines if not line.startswith("(")]


@pytest.mark.parametrize("message", messages(), ids=lambda m: m[:30])
def test_a_quoted_message_is_the_librarys(message):
    for part in re.split(r"…|: found |; expected |(?<=[a-z])\. (?=[A-Z])", message):
        if len(part := part.strip(" .:,")) > 2:
            assert part in strings(), part


def test_every_trouble_has_a_cause_and_a_cure():
    for trouble in re.split(r"^### ", prose(TEACHING / "what-goes-wrong.md"), flags=re.M)[1:]:
        assert "*Cause:*" in trouble, trouble.splitlines()[0]
        assert "*Cure:*" in trouble, trouble.splitlines()[0]


# The quiz


def questions() -> dict[str, str]:
    whole_lines = re.sub(r"\n {2,}(?=\S)", " ", prose(TEACHING / "quiz.md"))
    parts = re.split(r"^### \d+ · (.+)$", whole_lines, flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def options(question: str) -> dict[str, str]:
    return dict(re.findall(r"^- ([A-D])\. (.+)$", question, re.M))


def verdicts(question: str) -> dict[str, tuple[str, str]]:
    found = re.findall(r"^- \*\*([A-D]), (right|wrong)\.\*\* (.+)$", question, re.M)
    return {letter: (verdict, why) for letter, verdict, why in found}


def right(question: str) -> str:
    (letter,) = [letter for letter, (verdict, _) in verdicts(question).items() if verdict == "right"]
    return letter


def test_questions_are_numbered_and_many():
    numbers = re.findall(r"^### (\d+) · ", prose(TEACHING / "quiz.md"), re.M)
    assert numbers == [str(n) for n in range(1, len(numbers) + 1)]
    assert len(numbers) >= 20
    assert {n for q in questions().values() for n in re.findall(r"notebooks/(\d\d)_", q)} >= {"00", "01", "02", "03"}


@pytest.mark.parametrize("question", questions().values(), ids=list(questions()))
def test_a_question_has_one_right_answer_and_explains_every_option(question):
    assert 3 <= len(options(question)) <= 4
    assert list(verdicts(question)) == list(options(question))
    assert right(question)
    assert all(len(why) > 15 for _, why in verdicts(question).values())
    assert "otebook" in question
    assert "paper:" in question


def numbers_of(option: str) -> list[tuple[float, float]]:
    """Numbers in an option, each with half a unit of its last digit."""
    found = re.findall(r"\d+(?: \d{3})*(?:\.\d+)?", option)
    return [(float(n.replace(" ", "")), 0.5 * 10.0 ** -len(n.partition(".")[2]) + 1e-9) for n in found]


def _stops_after() -> int:
    import keras  # after femur_lib (above), which sets TensorFlow's options

    rule = keras.callbacks.EarlyStopping("a", mode="max", min_delta=1e-4, patience=10, start_from_epoch=30)
    rule.set_model(keras.Sequential())
    rule.on_train_begin()
    for epoch in range(200):
        rule.on_epoch_end(epoch, {"a": 0.9 + 1e-3 * min(epoch, 33)})  # the 34th is number 33
        if rule.stopped_epoch:
            return epoch + 1
    raise AssertionError("it never stops")


def _lazy(share: float) -> tuple[float, float]:
    p = np.linspace(0.01, 0.99, 99)
    femur, background = share * -np.log(p), (1 - share) * -np.log(1 - p)
    plain, weighted = femur + background, femur / share + background / (1 - share)
    return p[plain.argmin()], p[weighted.argmin()]


def _said(share: float, said: float) -> float:
    from femur_lib.losses import class_weights

    mask = np.zeros(100, np.uint8)
    mask[: round(100 * share)] = 1
    background, femur = class_weights([mask])
    odds = said / (1 - said) * background / femur
    return odds / (1 + odds)


def _scores(tp: int, fp: int, fn: int, tn: int) -> dict[str, float]:
    from femur_lib.scores.overlap import overlap

    truth = np.repeat([True, False, True, False], [tp, fp, fn, tn])
    return overlap(truth, np.repeat([True, True, False, False], [tp, fp, fn, tn]))


def _stride() -> int:
    g = unpadded_geometry(512, 4)
    return next(s for s in (94, 80, 92, 96) if s % 2**4 == 0 and 2 * s + g.output >= g.size and s <= g.output)


def _opinions(row: int, column: int) -> int:
    g = unpadded_geometry(512, 4)
    return math.prod(sum(s <= at < s + g.output for s in patch_starts(g)) for at in (row, column))


def _sees_mm() -> float:
    from femur_lib.receptive_field import receptive_field

    first, last = receptive_field(PAPER_3D, (128, 128, 24))[0]
    assert (first, last) == (34, 221)
    return (last - first + 1) * 2 * 0.234


def _dead_weights() -> int:
    reached = [any(0 <= at + 4 * tap < 3 for at in range(3)) for tap in (-1, 0, 1)]
    return 27 - 9 * sum(reached)


def _stray() -> tuple[float, float]:
    """ASD and MSD of a mask equal to the truth but for one stray voxel, scaled to 20 000 surface voxels."""
    from femur_lib.scores.surfaces import distances

    truth = np.zeros((12, 12, 80), bool)
    truth[2:10, 2:10, 2:10] = True
    guess = truth.copy()
    guess[5, 5, 69] = True
    found = distances(truth, guess, (1.0, 1.0, 1.0))
    surface = 8**3 - 6**3
    assert found["asd_mm"] == pytest.approx(60 / (2 * surface + 1))
    return 60 / 20_000, found["msd_mm"]


def _gain() -> float:
    before = {row.network: row.mean[0] for row in TABLE_1}
    return 100 * float(np.mean([row.mean[0] / before[row.network] - 1 for row in TABLE_2]))


def _smallest_p(scans: int) -> float:
    from femur_lib.scores.statistics import compare

    table = pd.DataFrame({"first": 0.9 + 0.001 * np.arange(1, scans + 1), "second": 0.9})
    return float(compare(table).p[0])


def _half_width(network: str) -> float:
    sd = next(row.sd[0] for row in TABLE_1 if row.network == network)
    return 1.96 * sd / math.sqrt(86)


COMPUTED = {
    "One layer": lambda: (32 * 256 * 256 * 48 * 4 / 1e6,),
    "Cubic centimetres": lambda: (1.2e6 * 0.234 * 0.234 * 1.5 / 1000,),
    "The empty answer": lambda: (0.96, _scores(0, 0, 4, 96)["dice"]),
    "Out of 512": lambda: (unpadded_geometry(512, 3).output,),
    "Where to crop": lambda: (unpadded_geometry(512, 4).crops[0][0],),
    "Strides that agree": lambda: (_stride(),),
    "How many opinions": lambda: (_opinions(256, 100),),
    "How far it sees": lambda: (_sees_mm(),),
    "Dead weights": lambda: (_dead_weights(),),
    "A lazy network": lambda: _lazy(0.08),
    "What the output means": lambda: (_said(0.2, 0.9),),
    "When does it stop": lambda: (_stops_after(),),
    "Dice": lambda: (_scores(900, 100, 300, 1000)["dice"],),
    "From rates to precision": lambda: (_scores(95, 18, 5, 882)["precision"],),
    "One stray voxel": _stray,
    "Read the tables": lambda: (_gain(),),
    "How small can p be": lambda: (_smallest_p(8),),
    "How sure is the mean": lambda: (_half_width("2d-unpadded-f64-l3"),),
    "Half a millimetre": lambda: (47 - 46, 100 * ((47 / 46) ** 3 - 1)),
}


def agrees(option: str, computed: tuple[float, ...]) -> bool:
    said = numbers_of(option)
    return len(said) == len(computed) and all(abs(n - c) <= half for (n, half), c in zip(said, computed, strict=True))


@pytest.mark.parametrize("title", COMPUTED)
def test_the_right_answer_alone_is_what_is_computed(title):
    question, computed = questions()[title], COMPUTED[title]()
    assert [letter for letter, option in options(question).items() if agrees(option, computed)] == [right(question)]


def test_answers_in_words_agree_with_the_library():
    from dataclasses import replace

    from femur_lib.costs import cost

    size = (256, 256, 48)
    full = cost(PAPER_3D, size).training_bytes()
    half = cost(replace(PAPER_3D, features=16), size).training_bytes()
    short = cost(replace(PAPER_3D, levels=3), size).training_bytes()
    assert right(questions()["Eight gigabytes"]) == "A"
    assert full - half > 2 * (full - short)
    assert right(questions()["Why padded"]) == "D"
    with pytest.raises(ValueError, match="no output"):
        unpadded_geometry(48, 4)
    assert unpadded_geometry(188, 4).output > 0
    with pytest.raises(ValueError, match="no output"):
        unpadded_geometry(187, 4)


# The slides


@pytest.fixture(scope="module")
def builder():
    sys.path.insert(0, str(TEACHING))
    try:
        import build_slides

        yield build_slides
    finally:
        sys.path.remove(str(TEACHING))


def test_slides_are_one_page_that_asks_for_nothing_else(builder):
    text = prose(TEACHING / "slides.md")
    asked = set(builder.FIGURE.findall(text))
    assert asked == set(builder.FIGURES)
    assert 25 <= len(builder.slides(text)) <= 35
    html = builder.page(text, dict.fromkeys(asked, b"png"))
    assert html.count("<section") == len(builder.slides(text))
    assert not re.search(r"""(?:src|href)=["'](?!data:)|@import|url\(""", html)
    assert "figure:" not in html
    assert "note:" not in html


def test_each_slide_has_a_title_and_each_picture_words(builder):
    text = prose(TEACHING / "slides.md")
    assert all(slide["body"].startswith("#") for slide in builder.slides(text))
    assert all(len(words) > 20 for words in re.findall(r"!\[([^\]]*)\]", text))


def test_numbers_on_slides_are_the_librarys(builder):
    from dataclasses import replace

    from femur_lib.costs import cost
    from femur_lib.networks import unet

    text, g = prose(TEACHING / "slides.md"), unpadded_geometry(512, 4)
    parameters = [unet(a).count_params() for a in (PAPER_3D, replace(PAPER_3D, dilation_rates=(1, 2, 4, 8)))]
    assert "{1:,} instead of {0:,}".format(*parameters).replace(",", " ") in text
    assert f"**{unpadded_geometry(572, 4).output}** out" in text
    assert f"{g.output} answered: starts at {', '.join(map(str, patch_starts(g)))}" in text
    for level, (start, end) in enumerate(g.crops, start=1):
        assert re.search(rf"^\| {level} \| \d+ \| \d+ \| \*\*{start}\*\* \| {(start + end) // 2} \|$", text, re.M)
    unpadded = Architecture(2, 64, 4, padded=False)
    work = 9 * cost(unpadded, (512, 512)).multiplications / cost(unpadded, (700, 700)).multiplications
    assert f"{9 * 512**2 / 700**2:.1f} times fewer pixels than nine patches, and {work:.1f} times less work" in text
    assert f"networks | {len(NETWORKS)}:" in text


def test_a_picture_is_drawn(builder):
    assert builder.draw("nine").startswith(b"\x89PNG")
