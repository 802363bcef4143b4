"""A class of three: one has done half, one has all right, one makes the usual mistakes."""

import json
import re

import pytest

from femur_lib._runtime.errors import DataError
from femur_lib.cli import main
from femur_lib.course import class_table
from femur_lib.course.exercises.answers import JUDGES
from femur_lib.course.exercises.progress import RECORD

EXERCISES = list(JUDGES)
HALF = EXERCISES[: len(EXERCISES) // 2]
RIGHT, WRONG = "right: it is", "82134: that is mm³ & no cm³"
LINES = {
    "anna": [("check", exercise, RIGHT) for exercise in HALF] + [("prediction", "05.stray", "a")],
    "berta": [("check", exercise, RIGHT) for exercise in EXERCISES] + [("prediction", "05.stray", "b")],
    "clara": [("check", EXERCISES[0], WRONG), ("check", EXERCISES[0], "0: think"), ("check", EXERCISES[0], RIGHT)]
    + [("check", exercise, said) for exercise in EXERCISES[1:4] for said in ("0: think", WRONG)]
    + [("prediction", "05.stray", "b"), ("prediction", "05.stray", "a"), ("check", "99.9", RIGHT)],
}


@pytest.fixture
def folders(tmp_path):
    for who, below in zip(LINES, ("", "exercises", "hip-course/exercises"), strict=True):
        (tmp_path / who / below).mkdir(parents=True)
        lines = [
            json.dumps({"kind": kind, "name": name, "said": said, "when": f"2026-01-01T10:00:{second:02}+00:00"})
            for second, (kind, name, said) in enumerate(LINES[who])
        ]
        (tmp_path / who / below / RECORD).write_text("\n".join([*lines, "half a li"]))
    return [tmp_path / who for who in LINES]


def test_each_learner_has_what_was_right_and_after_how_many_tries(folders):
    tried = class_table.tries(class_table.read_class(folders))
    assert list(tried.columns) == EXERCISES
    assert list(tried.loc["anna"]) == [1] * len(HALF) + [0] * (len(EXERCISES) - len(HALF))
    assert list(tried.loc["berta"]) == [1] * len(EXERCISES)
    assert list(tried.loc["clara"]) == [3, -2, -2, -2] + [0] * (len(EXERCISES) - 4)
    table = class_table.by_notebook(tried).set_index("learner")
    assert list(table["all"]) == [f"{right} of {len(EXERCISES)}" for right in (len(HALF), len(EXERCISES), 1)]
    assert table.loc["anna", "09"] == ""


def test_it_says_where_the_class_is_stuck_and_what_it_expected_at_first(folders):
    lines = class_table.read_class(folders)
    stuck = class_table.stuck(lines, class_table.tries(lines))
    assert list(stuck.exercise) == EXERCISES[1:4]
    assert {tuple(row) for row in stuck.iloc[:, 1:].to_numpy()} == {(2, 1, f"{WRONG} (1)")}
    assert class_table.predictions(lines).to_numpy().tolist() == [["05.stray", 3, "a (1), b (2)"]]


def test_the_command_prints_it_and_writes_a_page(folders, tmp_path, capsys):
    page = tmp_path / "class.html"
    assert main(["course", "progress", *map(str, folders), "--out", str(page)]) == 0
    said = capsys.readouterr().out
    assert re.search(rf"^ *berta .+ {len(EXERCISES)} of {len(EXERCISES)}$", said, re.M)
    assert f"exercise {EXERCISES[1]}: right 2, not yet 1; {WRONG} (1)" in said
    assert "prediction 05.stray: a (1), b (2)" in said
    html = page.read_text("utf-8")
    assert html.count("✗2") == 3
    assert html.count("✓3") == 1
    assert html.count("✓") == len(HALF) + len(EXERCISES) + 1
    assert "mm³ &amp; no cm³" in html
    assert main(["course", "progress", *map(str, folders), "--out", str(page)]) == 1
    assert "exists already" in capsys.readouterr().err


def test_a_learner_without_a_record_is_named_and_a_class_without_any_is_refused(folders, tmp_path):
    (tmp_path / "doris").mkdir()
    tried = class_table.tries(class_table.read_class([*folders, tmp_path / "doris"]))
    assert not tried.loc["doris"].any()
    with pytest.raises(DataError, match=r"doris has no progress\.jsonl"):
        class_table.read_class([tmp_path / "doris"])
    with pytest.raises(DataError, match=r"doris and 1 more have no progress\.jsonl"):
        class_table.read_class([tmp_path / "doris", tmp_path / "nobody"])


def test_folders_of_one_name_are_told_apart(tmp_path):
    for who in ("anna", "berta"):
        (tmp_path / who / "exercises").mkdir(parents=True)
        (tmp_path / who / "exercises" / RECORD).touch()
    lines = class_table.read_class(tmp_path / who / "exercises" for who in ("anna", "berta"))
    assert [name.replace("\\", "/") for name in lines.learner.cat.categories] == ["anna/exercises", "berta/exercises"]
