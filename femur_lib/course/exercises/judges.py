"""Judges of answers: each takes an answer, and returns the line that the learner reads."""

import copy
import math
import numbers
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

NOT_YET, RIGHT, STOPS = "not answered yet", "right", "this stops with"
Judge = Callable[[Any], str]


def right_because(why: str) -> str:
    """What is said about a right answer: that it is right, and in a short clause why."""
    return f"{RIGHT}: {why}" if why else RIGHT


def missing(answer: Any) -> bool:
    """Whether an answer, or what a function returns, is still that of the stub."""
    return answer is None or answer is ...


def expected(what: str, answer: Any) -> str:
    """What is said about an answer of the wrong sort."""
    kind = "text" if isinstance(answer, str) else f"of type {type(answer).__name__}"
    return f"{what} expected, and this is {kind}"


def number(right: float, wrong: Mapping[float, str], otherwise: str, within: float = 0.01, why: str = "") -> Judge:
    """A judge of numbers.

    Args:
        right: the answer.
        wrong: known mistakes, and what is said about each.
        otherwise: what to think about, after a mistake that is not known.
        within: how far a number may be off, as a share of it.
        why: why the answer is right, as a short clause.
    """

    def judge(answer):
        if not isinstance(answer, numbers.Real) or isinstance(answer, bool):
            return expected("a number was", answer)
        known = (said for value, said in wrong.items() if math.isclose(answer, value, rel_tol=within, abs_tol=1e-9))
        if math.isclose(answer, right, rel_tol=within):
            return right_because(why)
        return f"{answer:g}: {next(known, otherwise)}"

    return judge


def chosen(right: set, said: Mapping[Hashable, str], why: str = "") -> Judge:
    """A judge of letters, typed as ``"b"`` or ``"ac"``, or of a set of numbers.

    Args:
        right: what must be chosen, and nothing else.
        said: for each option, what to think about if it was chosen wrongly, or should have been chosen.
        why: why the answer is right, as a short clause.
    """

    def judge(answer):
        if not isinstance(answer, (str, set, frozenset, list, tuple)):
            return expected("letters were" if "a" in said else "a set was", answer)
        got = {c.lower() for c in answer if c.isalnum()} if isinstance(answer, str) else set(answer)
        if not got <= set(said):
            return f"{answer!r}: choose among {', '.join(map(str, said))}"
        if too_many := sorted(got - right):
            return f"not {too_many[0]}: {said[too_many[0]]}"
        return next((f"something is missing: {said[option]}" for option in sorted(right - got)), right_because(why))

    return judge


def tried(
    right: Callable, cases: Sequence[tuple], wrong: Mapping[str, Callable], otherwise: str, why: str = ""
) -> Judge:
    """A judge of functions: it calls one with some arguments, and compares what comes back.

    Args:
        right: a function that is right.
        cases: the arguments to call it with.
        wrong: what is said about known mistakes, and a function that makes each.
        otherwise: what to think about, after a mistake that is not known.
        why: why the answer is right, as a short clause.
    """

    def judge(answer):
        if not callable(answer):
            return expected("a function was", answer)
        got = [answer(*copy.deepcopy(case)) for case in cases]
        if all(map(missing, got)):
            return NOT_YET
        agrees = [_same(g, right(*case)) for g, case in zip(got, cases, strict=True)]
        if all(agrees):
            return right_because(why)
        for said, mistaken in wrong.items():
            if all(_same(g, mistaken(*case)) for g, case in zip(got, cases, strict=True)):
                return said
        arguments = ", ".join(map(repr, cases[agrees.index(False)]))
        return f"{otherwise} (for {arguments} it returns {got[agrees.index(False)]!r})"

    return judge


def _same(got: Any, wanted: Any) -> bool:
    if isinstance(wanted, (str, set)):
        return isinstance(got, (str, set, frozenset)) and got == wanted
    if got is None or np.shape(got) != np.shape(wanted):
        return False
    return np.allclose(np.asarray(got, float), np.asarray(wanted, float), equal_nan=True)
