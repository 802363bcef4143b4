"""Judges of answers: each takes one, and gives the line that is said of it."""

import copy
import math
import numbers
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

NOT_YET, RIGHT = "not answered yet", "right"
Judge = Callable[[Any], str]


def missing(answer: Any) -> bool:
    """Whether an answer, or what a function gives back, is a stub's."""
    return answer is None or answer is ...


def kind(answer: Any) -> str:
    """What sort of thing an answer of the wrong sort is."""
    return "text" if isinstance(answer, str) else f"of type {type(answer).__name__}"


def number(right: float, otherwise: str, wrong: Mapping[float, str], within: float = 0.01) -> Judge:
    """A judge of numbers.

    Args:
        right: the answer.
        otherwise: what to think of, for a number that nobody thought of.
        wrong: known mistakes, and what is said of each.
        within: how far a number may be off, as a share of it.
    """

    def judge(answer):
        if not isinstance(answer, numbers.Real) or isinstance(answer, bool):
            return f"a number is asked for, and this is {kind(answer)}"
        known = (said for value, said in wrong.items() if math.isclose(answer, value, rel_tol=within, abs_tol=1e-9))
        return RIGHT if math.isclose(answer, right, rel_tol=within) else f"{answer:g}: {next(known, otherwise)}"

    return judge


def chosen(right: set, said: Mapping[Hashable, str]) -> Judge:
    """A judge of letters, typed as ``"b"`` or ``"ac"``, or of a set of numbers.

    Args:
        right: what must be chosen, and nothing else.
        said: for each option, what to think of where it is chosen and should not be, or the other way round.
    """

    def judge(answer):
        if not isinstance(answer, (str, set, frozenset, list, tuple)):
            return f"{'letters are' if 'a' in said else 'a set is'} asked for, and this is {kind(answer)}"
        got = {c.lower() for c in answer if c.isalnum()} if isinstance(answer, str) else set(answer)
        if not got <= set(said):
            return f"{answer!r}: choose among {', '.join(map(str, said))}"
        if too_many := sorted(got - right):
            return f"not {too_many[0]}: {said[too_many[0]]}"
        return next((f"something is missing: {said[option]}" for option in sorted(right - got)), RIGHT)

    return judge


def tried(right: Callable, cases: Sequence[tuple], otherwise: str, wrong: Mapping[str, Callable]) -> Judge:
    """A judge of functions: one is called with some arguments, and what it gives is compared.

    Args:
        right: a function that is right.
        cases: arguments to call it with.
        otherwise: what to think of, for a function that nobody thought of.
        wrong: what is said of known mistakes, and a function that makes each.
    """

    def judge(answer):
        if not callable(answer):
            return f"a function is asked for, and this is {kind(answer)}"
        got = [answer(*copy.deepcopy(case)) for case in cases]
        if all(map(missing, got)):
            return NOT_YET
        agrees = [_same(g, right(*case)) for g, case in zip(got, cases, strict=True)]
        if all(agrees):
            return RIGHT
        for said, mistaken in wrong.items():
            if all(_same(g, mistaken(*case)) for g, case in zip(got, cases, strict=True)):
                return said
        arguments = ", ".join(map(repr, cases[agrees.index(False)]))
        return f"{otherwise} (for {arguments} it gives {got[agrees.index(False)]!r})"

    return judge


def _same(got: Any, expected: Any) -> bool:
    if isinstance(expected, (str, set)):
        return isinstance(got, (str, set, frozenset)) and got == expected
    if got is None or np.shape(got) != np.shape(expected):
        return False
    return np.allclose(np.asarray(got, float), np.asarray(expected, float), equal_nan=True)
