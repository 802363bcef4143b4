"""Whether the answer to an exercise is right, or what is wrong with it: ``check("04.1", my_probability)``."""

import textwrap
from typing import Any

import numpy as np

from femur_lib.course.exercises.answers import JUDGES
from femur_lib.course.exercises.judges import NOT_YET, missing

LONGEST = 220  # characters of a line; what a learner's function returns may be long


def check(exercise: str, answer: Any) -> None:
    """Print one line: not answered yet, right, or what is wrong with the answer and what to think about.

    Args:
        exercise: notebook and number, such as ``"04.1"``.
        answer: anything; no answer makes the check fail.
    """
    print(verdict(exercise, answer))


def verdict(exercise: str, answer: Any) -> str:
    """The line that :func:`check` prints."""
    judge = JUDGES[exercise]
    try:
        with np.errstate(all="ignore"):
            said = NOT_YET if missing(answer) else judge(answer)
    except Exception as error:  # a learner's function may do anything
        said = f"this stops with {type(error).__name__}: {error}"
    return textwrap.shorten(said, LONGEST, placeholder=" …")
