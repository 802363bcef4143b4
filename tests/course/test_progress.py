"""What checks and predictions said is kept in an exercises folder, and nowhere else."""

import json
from pathlib import Path

import numpy as np
import pytest

from femur_lib.course.exercises import check, predict, progress, recall


@pytest.fixture
def exercises(tmp_path, monkeypatch):
    (tmp_path / progress.RECORD).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "LATEST", {})
    return tmp_path


def kept(folder):
    return [(line["kind"], line["name"], line["said"]) for line in progress.read(folder)]


def test_answers_are_kept_once_each_in_their_order(exercises, capsys):
    for answer in (..., 0.9, 0.9, 0.5, 0.5):
        check("04.2", answer)
    predict("04.epochs", "b")
    first, _, _, right, _, _ = capsys.readouterr().out.splitlines()
    assert first == "not answered yet"
    said = "0.9: that is what the network says; the weights have raised it"
    assert kept(exercises) == [("check", "04.2", said), ("check", "04.2", right), ("prediction", "04.epochs", "b")]
    assert all(line["when"].endswith("+00:00") for line in progress.read(exercises))


def test_an_error_is_kept_without_its_words(exercises):
    def opens(*_):
        return Path("anna/patient.txt").read_text()

    check("02.2", opens)
    assert kept(exercises) == [("check", "02.2", "this stops with FileNotFoundError")]


def test_a_prediction_is_recalled_and_not_judged(exercises, capsys):
    recall("05.stray")
    predict("05.stray", ...)
    predict("05.stray", None)
    assert kept(exercises) == []
    predict("05.stray", "a")
    predict("05.stray", " b ")
    recall("05.stray")
    progress.LATEST.clear()  # as when the kernel is started again
    recall("05.stray")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "You made no prediction."
    assert said[1] == said[2]
    assert "No prediction yet" in said[1]
    assert said[3:] == ["Your prediction is noted: a", "Your prediction is noted: b"] + 2 * ["You predicted: b"]


@pytest.mark.parametrize("odd", [0.91, "", "  ", "many words " * 99, {"a", "b"}, np.zeros((30, 30)), lambda: 1])
def test_an_odd_prediction_is_one_line_and_no_error(exercises, capsys, odd):
    predict("05.stray", odd)
    assert capsys.readouterr().out.count("\n") == 1
    assert all(len(said) <= 40 for *_, said in kept(exercises))


def test_nothing_is_written_where_no_exercises_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "LATEST", {})
    check("04.2", 0.5)
    predict("05.stray", "b")
    recall("05.stray")
    assert capsys.readouterr().out.endswith("You predicted: b\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spoil", [lambda f: (f.unlink(), f.mkdir()), lambda f: f.write_bytes(b"\xff[1]\n{}\nnull\n")])
def test_a_record_that_cannot_be_used_is_no_obstacle(exercises, capsys, spoil):
    spoil(exercises / progress.RECORD)
    check("04.2", 0.5)
    predict("05.stray", "b")
    progress.LATEST.clear()
    recall("05.stray")
    assert "right" in capsys.readouterr().out


def test_a_record_that_may_only_be_read_is_no_obstacle(exercises, monkeypatch, capsys):
    def read_only(path, mode="r", *rest, to_open=Path.open, **more):
        if "r" not in mode:
            raise PermissionError(13, "Permission denied")
        return to_open(path, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", read_only)
    check("04.2", 0.5)
    predict("05.stray", "b")
    assert kept(exercises) == []
    assert "Your prediction is noted" in capsys.readouterr().out


def test_a_line_is_added_in_one_piece(exercises):
    predict("05.stray", "b")
    raw = (exercises / progress.RECORD).read_bytes()
    (line,) = raw.splitlines()
    assert raw.endswith(b"\n")
    assert sorted(json.loads(line)) == ["kind", "name", "said", "when"]
    assert [path.name for path in exercises.iterdir()] == [progress.RECORD]
