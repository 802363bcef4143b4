"""What a class has solved, by the records that its exercises keep (:mod:`femur_lib.course.exercises.progress`)."""

import os
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import pandas as pd

from femur_lib._runtime.errors import DataError
from femur_lib.course.exercises.answers import JUDGES
from femur_lib.course.exercises.judges import RIGHT
from femur_lib.course.exercises.progress import RECORD, read
from femur_lib.lab.pages import write_page

PLACES = ("", "exercises", "hip-course/exercises")  # below a learner's folder


def read_class(folders: Iterable[str | os.PathLike]) -> pd.DataFrame:
    """All lines of the records of a class, oldest first: the columns learner, kind, name, said, when.

    Args:
        folders: one for each learner, who is called as the folder is. The record lies in it, or in ``exercises`` or
            ``hip-course/exercises`` below it. The categories of ``learner`` name those without a record, too.

    Raises:
        DataError: no folder has a record.
    """
    places = [Path(folder).resolve() for folder in folders]
    records = [next((f / p for p in PLACES if (f / p / RECORD).is_file()), None) for f in places]
    if not any(records):
        who = f"{places[0]} and {len(places) - 1} more have" if len(places) > 1 else f"{places[0]} has"
        raise DataError(
            f"{who} no {RECORD}; in this file an exercises folder keeps what was answered there.",
            "Give the folders that make exercises has written, one for each learner.",
        )
    names = [place.name for place in places]
    if len(set(names)) < len(names):  # each is called exercises, for instance
        names = [os.path.relpath(place, os.path.commonpath(places)) for place in places]
    lines = [
        {"learner": name} | line
        for name, record in zip(names, records, strict=True)
        for line in (read(record) if record else [])
    ]
    table = pd.DataFrame(lines, columns=["learner", "kind", "name", "said", "when"])
    table["learner"] = pd.Categorical(table["learner"], categories=list(dict.fromkeys(names)))
    return table.sort_values("when", kind="stable", ignore_index=True)


def _checks(lines: pd.DataFrame) -> pd.DataFrame:
    return lines[(lines["kind"] == "check") & lines["name"].isin(list(JUDGES))]


def tries(lines: pd.DataFrame) -> pd.DataFrame:
    """A row for each learner and a column for each exercise: 0 if it was not tried, n > 0 if the n-th try was the first
    that was right, and −n if none of n tries was."""
    table = pd.DataFrame(0, index=lines["learner"].cat.categories, columns=list(JUDGES))
    for (learner, exercise), said in _checks(lines).groupby(["learner", "name"], observed=True)["said"]:
        right = said.str.startswith(RIGHT).to_numpy()
        table.loc[learner, exercise] = right.argmax() + 1 if right.any() else -len(right)
    return table


def by_notebook(tried: pd.DataFrame) -> pd.DataFrame:
    """How many exercises of each notebook a learner has right, as "2 of 3", and in all; "" where none was tried."""
    notebooks = {number: list(names) for number, names in groupby(tried.columns, lambda exercise: exercise[:2])}

    def words(mine: pd.DataFrame) -> pd.Series:
        return (mine > 0).sum(axis=1).astype(str) + f" of {mine.shape[1]}"

    table = {
        number: words(tried[names]).where((tried[names] != 0).any(axis=1), "") for number, names in notebooks.items()
    }
    return pd.DataFrame(table | {"all": words(tried)}).rename_axis("learner").reset_index()


def stuck(lines: pd.DataFrame, tried: pd.DataFrame) -> pd.DataFrame:
    """The exercises that somebody has tried in vain so far, the most frequent ones first.

    Its columns: exercise, how many learners have it right, how many do not yet, and what they were told last, with how
    many of them were told so.
    """
    last = _checks(lines).groupby(["learner", "name"], observed=True)["said"].last().rename("said").reset_index()
    rows = []
    for exercise in tried.columns[(tried < 0).any()]:
        not_yet = tried.index[tried[exercise] < 0]
        told = last[(last["name"] == exercise) & last["learner"].isin(not_yet)]["said"].value_counts()
        most = f"{told.index[0]} ({told.iloc[0]})"
        rows.append((exercise, int((tried[exercise] > 0).sum()), len(not_yet), most))
    table = pd.DataFrame(rows, columns=["exercise", "right", "not yet", "what most of them were told"])
    return table.sort_values("not yet", ascending=False, kind="stable", ignore_index=True)


def predictions(lines: pd.DataFrame) -> pd.DataFrame:
    """How many learners predicted what, by the first prediction of each: later ones may have seen the answer."""
    made = lines[lines["kind"] == "prediction"].drop_duplicates(["learner", "name"])
    rows = [
        (question, len(said), ", ".join(f"{answer} ({n})" for answer, n in said.value_counts().sort_index().items()))
        for question, said in made.groupby("name")["said"]
    ]
    return pd.DataFrame(rows, columns=["prediction", "learners", "what they expected"])


def write_class_page(out: str | os.PathLike, lines: pd.DataFrame) -> Path:
    """The same as a page: each learner's tries at each exercise, where the class is stuck, and what it predicted."""
    tried = tries(lines)
    tables = {"stuck": stuck(lines, tried), "predictions": predictions(lines)}
    learners = zip(tried.index, tried.to_numpy().tolist(), (tried > 0).sum(axis=1), strict=True)
    return write_page(
        out,
        "class.html.j2",
        notebooks=[(number, [e[3:] for e in names]) for number, names in groupby(tried.columns, lambda e: e[:2])],
        learners=list(learners),
        **{name: table.to_html(index=False, border=0) if len(table) else "" for name, table in tables.items()},
    )
