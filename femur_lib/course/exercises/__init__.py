"""Exercises, predictions: ``check("04.1", my_probability)``; ``predict("05.stray", "b")``, ``recall("05.stray")``."""

import textwrap
from contextlib import suppress
from typing import Any

import numpy as np

from femur_lib.course.exercises import progress
from femur_lib.course.exercises.answers import JUDGES
from femur_lib.course.exercises.judges import NOT_YET, STOPS, missing

LONGEST = 220  # characters of a line; what a learner's function returns may be long


def check(exercise: str, answer: Any) -> None:
    """Print one line: not answered yet, right (and why), or what is wrong with the answer and what to think about.

    In an exercises folder the line is kept, for the learner and for who teaches (:mod:`.progress`).

    Args:
        exercise: notebook and number, such as ``"04.1"``.
        answer: anything; no answer makes the check fail.
    """
    said = verdict(exercise, answer)
    print(said)
    if said != NOT_YET:  # of a function that stops, the kind of error is kept: its words may name anything
        kept = said.partition(":")[0] if said.startswith(STOPS) else said
        progress.add("check", exercise, kept)


def verdict(exercise: str, answer: Any) -> str:
    """The line that :func:`check` prints."""
    judge = JUDGES[exercise]
    try:
        with np.errstate(all="ignore"):
            said = NOT_YET if missing(answer) else judge(answer)
    except Exception as error:  # a learner's function may do anything
        said = f"{STOPS} {type(error).__name__}: {error}"
    return textwrap.shorten(said, LONGEST, placeholder=" …")


def predict(question: str, answer: Any) -> None:
    """Record what a learner expects, before the run that decides; print what was recorded, and not whether it is right.

    In an exercises folder it is kept there (:mod:`.progress`); everywhere it is kept as long as the kernel runs.

    Args:
        question: notebook and a word, such as ``"05.stray"``.
        answer: a letter, or a few words or a number; ``...`` is no prediction yet.
    """
    said = "" if missing(answer) else textwrap.shorten(str(answer), 40, placeholder=" …")
    if not said:
        print("No prediction yet: write your letter in place of the dots, and run this cell again.")
        return
    progress.LATEST[question] = said
    progress.add("prediction", question, said)
    print(f"Your prediction is noted: {said}")


def recall(question: str) -> None:
    """Print a recorded prediction again, or that none was made.

    Args:
        question: as it was given to :func:`predict`.
    """
    said = progress.LATEST.get(question)
    if said is None:
        with suppress(OSError):
            said = next((line["said"] for line in reversed(progress.read(".")) if line["name"] == question), None)
    print("You made no prediction." if said is None else f"You predicted: {said}")
