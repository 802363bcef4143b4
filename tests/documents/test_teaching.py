"""What an instructor relies on: links, minutes, quoted messages, slides, and a quiz with which the library agrees."""

import ast
import json
import math
import re
import sys
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from conftest import script

from femur_lib._runtime.backend import keras
from femur_lib.architecture import Architecture, receptive_field, unpadded_geometry
from femur_lib.inference import patch_starts
from femur_lib.losses import class_weights
from femur_lib.metrics.overlap import overlap
from femur_lib.metrics.statistics import compare
from femur_lib.paper.published import TABLE_1, TABLE_2

ROOT = Path(__file__).parents[2]
TEACHING = ROOT / "teaching"
AT_512, AT_400 = unpadded_geometry(512, 4), unpadded_geometry(400, 3)
NOTEBOOKS = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))}


@cache
def prose(path: Path) -> str:
    if path.suffix != ".ipynb":
        return path.read_text("utf-8")
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def anchors(path: Path) -> set[str]:
    """Headings as JupyterLab links to them in notebooks, and GitHub in Markdown."""
    headings = [h.strip() for h in re.findall(r"^#+ (.+)$", prose(path), re.M)]
    if path.suffix == ".ipynb":
        return {h.replace(" ", "-") for h in headings}
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", sorted(TEACHING.rglob("*.md")), ids=lambda p: p.name)
def test_links_lead_to_files_and_headings_that_exist(page):
    for link in re.findall(r"\]\((?!https?://|mailto:|figure:)([^)]+)\)", prose(page)):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or unquote(anchor) in anchors(target), link


def test_a_container_for_development_is_made_by_a_target_of_make():
    made = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    target = made["postCreateCommand"].removeprefix("make ")
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.M)
    (python,) = re.findall(r"^FROM python:(3\.\d+)", (ROOT / "Dockerfile").read_text("utf-8"), re.M)
    assert made["image"].rpartition(":")[2] == python  # one Python in both containers


# Minutes


def planned_minutes(number: str) -> int:
    (minutes,) = re.findall(r"^\| minutes \| (\d+)", prose(NOTEBOOKS[number]), re.M)
    return int(minutes)


def plan(number: str) -> dict[str, int]:
    """The minutes of a notebook's sections, from the instructor notes."""
    (line,) = re.findall(rf"^## {number} · .+\n\n\*Plan:\* (.+)$", prose(TEACHING / "instructor-notes.md"), re.M)
    return {section: int(minutes) for section, minutes in re.findall(r"(\d+|in short): (\d+)", line)}


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_a_plan_names_every_section_and_adds_up(number):
    sections = re.findall(r"^## (\d+) ", prose(NOTEBOOKS[number]), re.M)
    assert [section for section in plan(number) if section != "in short"] == sections
    assert sum(plan(number).values()) == planned_minutes(number)


def named_sections(what: str) -> list[str]:
    """The numbers in "sections 1, 3 and 5" or "sections 1 to 8" at the beginning of what a row says of a notebook."""
    text = what.partition("sections ")[2].partition(";")[0]
    if "to" in text:
        first, last = map(int, re.findall(r"\d+", text))
        return [str(n) for n in range(first, last + 1)]
    return re.findall(r"\d+", text)


@pytest.mark.parametrize("which", range(4), ids=["day", "first half", "second half", "core"])
def test_a_timetable_adds_up_and_has_the_minutes_of_the_notebooks(which):
    text = prose(TEACHING / "schedule.md").split("| start |")[1:][which]
    rows = [(*map(int, row[:3]), row[3]) for row in re.findall(r"^\| (\d+):(\d+) \| (\d+) \| (.+) \|$", text, re.M)]
    for (hour, minute, lasts, what), (next_hour, next_minute, *_) in pairwise(rows):
        assert 60 * hour + minute + lasts == 60 * next_hour + next_minute, what
        if found := re.search(r"notebooks/(\d\d)_", what):
            planned = sum(plan(found[1])[section] for section in named_sections(what))
            assert lasts == (planned or planned_minutes(found[1])), what
    total, away = sum(row[2] for row in rows), sum(row[2] for row in rows if row[3] in ("break", "lunch"))
    assert f"{total} minutes, of which {total - away} are work and {away} are breaks" in text


def test_what_is_cut_saves_what_is_planned():
    text = prose(TEACHING / "schedule.md")
    cuts = re.findall(r"^\| \[(\d\d)\]\([^)]+\) \| (\d+) \| (\d+) \|", text, re.M)
    assert [plan(number)[section] for number, section, _ in cuts] == [int(saved) for *_, saved in cuts]
    assert f"save {sum(int(saved) for *_, saved in cuts)} minutes" in text


# What the screen says


def sentences(text: str) -> list[str]:
    """Split at full stops and line ends."""
    return [part.strip(" .") for part in re.split(r"(?<=[\w…)])\. |\n", text)]


@cache
def said_by_the_library() -> re.Pattern:
    """Any sentence of a string in the library; where an f-string has a value, anything may stand."""
    found = set()
    for path in (ROOT / "femur_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.update(sentences(node.value))
            elif isinstance(node, ast.JoinedStr):
                found.update(sentences("".join(v.value if isinstance(v, ast.Constant) else "…" for v in node.values)))
    return re.compile("|".join(re.escape(s).replace("…", ".+") for s in found if len(re.findall("[a-z]", s)) > 10))


def quoted() -> list[str]:
    """The messages of the library in what-goes-wrong.md; those of other programs begin with their names in brackets."""
    blocks = re.findall(r"^> .+(?:\n> .+)*", prose(TEACHING / "what-goes-wrong.md"), re.M)
    return [text for block in blocks if not (text := re.sub(r"\n?^> ", " ", block, flags=re.M).strip()).startswith("(")]


@pytest.mark.parametrize("message", quoted(), ids=lambda m: m[:30])
def test_a_quoted_message_is_the_librarys(message):
    for sentence in sentences(message):
        assert said_by_the_library().fullmatch(sentence), sentence


# The quiz


def questions() -> dict[str, str]:
    joined = re.sub(r"\n {2,}(?=\S)", " ", prose(TEACHING / "quiz.md"))
    parts = re.split(r"^### \d+ · (.+)$", joined, flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def options(question: str) -> dict[str, str]:
    return dict(re.findall(r"^- ([A-D])\. (.+)$", question, re.M))


def right(question: str) -> str:
    (letter,) = re.findall(r"^- \*\*([A-D]), right\.\*\* ", question, re.M)
    return letter


@pytest.mark.parametrize("question", questions().values(), ids=list(questions()))
def test_a_question_has_one_right_answer_and_explains_every_option(question):
    assert right(question) in options(question)
    assert re.findall(r"^- \*\*([A-D]), (?:right|wrong)\.\*\* \S", question, re.M) == list(options(question))


def confusion(tp: int, fp: int, fn: int, tn: int) -> dict[str, float]:
    truth = np.repeat([True, False, True, False], [tp, fp, fn, tn])
    return overlap(truth, np.repeat([True, True, False, False], [tp, fp, fn, tn]))


def lazy(share: float) -> list[float]:
    """The constant p with the smallest cross-entropy, without weights and with N / N_class."""
    p = np.linspace(0.01, 0.99, 99)
    losses = (
        -share * w * np.log(p) - (1 - share) * v * np.log(1 - p) for w, v in ((1, 1), (1 / share, 1 / (1 - share)))
    )
    return [p[loss.argmin()] for loss in losses]


def epochs_until_it_stops(best: int) -> int:
    rule = keras.callbacks.EarlyStopping("a", mode="max", min_delta=1e-4, patience=10, start_from_epoch=30)
    rule.set_model(keras.Sequential())
    rule.on_train_begin()
    for epoch in range(200):  # Keras counts them from 0
        rule.on_epoch_end(epoch, {"a": 0.9 + 1e-3 * min(epoch, best - 1)})
        if rule.stopped_epoch:
            return epoch + 1
    raise AssertionError("it never stops")


def used_taps(voxels: int, rate: int = 4) -> int:
    """How many of a kernel's three weights along an axis ever meet a voxel."""
    return sum(any(0 <= at + rate * tap < voxels for at in range(voxels)) for tap in (-1, 0, 1))


EIGHT_SCANS = pd.DataFrame({"first": 0.9 + 0.001 * np.arange(1, 9), "second": 0.9})
BEFORE = {row.network: row.mean for row in TABLE_1}
COMPUTED = {
    "One layer": lambda: [64 * 512 * 512 * 4 / 1e6],
    "Cubic centimetres": lambda: [1.2e6 * 0.234 * 0.234 * 1.5 / 1000],
    "The empty answer": lambda: [0.96, confusion(0, 0, 4, 96)["dice"]],
    "Out of 400": lambda: [AT_400.output],
    "Where to crop": lambda: [AT_400.crops[0][0]],
    "Strides that agree": lambda: [s for s in (46, 40, 44, 48) if s % 8 == 0 and 2 * s + AT_400.output >= 400],
    "How many opinions": lambda: [np.prod([sum(0 <= at - s < 324 for s in patch_starts(AT_512)) for at in (400, 250)])],
    "How far it sees": lambda: (np.diff(receptive_field(Architecture(3, 32, 3), (128, 128, 24))[0]) + 1) * 2 * 0.234,
    "Why padded": lambda: [unpadded_geometry(48, 2).output],
    "Dead weights": lambda: [27 - math.prod(map(used_taps, (16, 4, 3)))],
    "A lazy network": lambda: lazy(0.08),
    "What the output means": lambda: [1 / (1 + 1 / (9 * np.divide(*class_weights([np.arange(10) < 2]))))],
    "When does it stop": lambda: [epochs_until_it_stops(34)],
    "Dice": lambda: [confusion(900, 100, 300, 1000)["dice"]],
    "From rates to precision": lambda: [confusion(95, 18, 5, 882)["precision"]],
    "One stray voxel": lambda: [60 / 20_000, 60],
    "Read the tables": lambda: [100 * np.mean([row.mean[1] / BEFORE[row.network][1] - 1 for row in TABLE_2])],
    "How small can p be": lambda: [compare(EIGHT_SCANS).p[0]],
    "How sure is the mean": lambda: [1.96 * TABLE_1[0].sd[0] / 86**0.5],
    "Less than half a millimetre": lambda: [44.8 - 44, 100 * ((44.8 / 44) ** 3 - 1)],
}


def agrees(option: str, computed: Sequence[float]) -> bool:
    """Whether an option's numbers are the computed ones, rounded as they are written."""
    said = [n.replace(" ", "") for n in re.findall(r"\d+(?: \d{3})*(?:\.\d+)?", option)]
    rounded = [f"{c:.{len(n.partition('.')[2])}f}" for n, c in zip(said, computed, strict=False)]
    return said == rounded and len(said) == len(computed)


@pytest.mark.parametrize("title", COMPUTED)
def test_the_right_answer_alone_is_what_is_computed(title):
    question, computed = questions()[title], COMPUTED[title]()
    assert [letter for letter, option in options(question).items() if agrees(option, computed)] == [right(question)]


def test_every_question_is_exported_for_moodle_with_each_option_explained():
    quiz = script("teaching/build_quiz.py")
    made = quiz.gift(prose(TEACHING / "quiz.md")).strip().split("\n\n")
    for question, (title, text) in zip(made, questions().items(), strict=True):
        lines = question.splitlines()
        assert f"· {quiz.plain(title)}::[markdown]" in lines[1]
        choices = re.findall(r"^  ([=~])(.+?)(?<!\\)#(?!#)(.+)$", question, re.M)
        assert [option for _, option, _ in choices] == [quiz.plain(option) for option in options(text).values()]
        assert "".join(sign for sign, *_ in choices).index("=") == "ABCD".index(right(text))
        assert [sign for sign, *_ in choices].count("=") == 1
        assert (lines[-2].startswith("  ####"), lines[-1]) == (True, "}")
    assert quiz.plain("[a](b.md) {x} = 1: ~2 # 3") == r"a \{x\} \= 1\: \~2 \# 3"


def test_a_choice_without_an_explanation_is_refused():
    quiz = script("teaching/build_quiz.py")
    with pytest.raises(ValueError, match="Two: not every choice is explained"):
        quiz.parse("### Two\n\nHow?\n\n- A. So\n- B. Or so\n\n<details>\n\n- **B, right.** Yes.\n</details>\n")


# The slides


def test_the_slides_quote_what_the_tables_give():
    """The mean of the four gains in Dice by post-processing."""
    gain = np.mean([row.mean[0] / BEFORE[row.network][0] - 1 for row in TABLE_2])
    assert f"These four pairs give **{100 * gain:.1f} %**" in prose(TEACHING / "slides.md")


def test_every_prediction_is_answered_on_the_next_slide_or_in_its_note(builder):
    slides = builder.slides(prose(TEACHING / "slides.md"))
    asked = [n for n, slide in enumerate(slides) if slide["body"].startswith("## Predict")]
    assert len(asked) >= 5
    for n in asked:
        letters = re.findall(r"^- \*\*([A-D])\*\* ", slides[n]["body"], re.M)
        assert letters == list("ABCD")[: len(letters)]
        assert slides[n + 1]["note"].startswith(tuple(f"{letter}{stop}" for letter in letters for stop in ".,"))


def test_the_handout_is_one_page_that_asks_for_nothing_else(builder):
    html = builder.handout(prose(TEACHING / "handout.md"))
    assert html.count("<h2>") == prose(TEACHING / "handout.md").count("\n## ")
    assert not re.search(r"""(?:src|href)=["'](?!data:)|@import|url\(""", html)


@pytest.fixture(scope="module")
def builder():
    sys.path.insert(0, str(TEACHING))
    try:
        import build_slides

        yield build_slides
    finally:
        sys.path.remove(str(TEACHING))


def test_the_slides_are_one_page_that_asks_for_nothing_else(builder):
    text = prose(TEACHING / "slides.md")
    assert set(builder.FIGURE.findall(text)) == set(builder.FIGURES)
    html = builder.page(text, dict.fromkeys(builder.FIGURES, b"png"))
    assert html.count("<section") == len(builder.slides(text))
    assert not re.search(r"""(?:src|href)=["'](?!data:)|@import|url\(|figure:|note:""", html)


def test_a_picture_is_drawn(builder):
    assert builder.draw("nine").startswith(b"\x89PNG")
