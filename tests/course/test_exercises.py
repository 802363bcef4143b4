"""Every exercise has a check that takes the worked answer, and says what is wrong with known mistakes."""

import ast
import hashlib
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage, signal
from statsmodels.stats.multitest import multipletests

from femur_lib._runtime.backend import keras
from femur_lib.architecture import cost, parse_network
from femur_lib.course.exercises import LONGEST, check, verdict
from femur_lib.course.exercises.answers import JUDGES, OWNERS
from femur_lib.course.exercises.judges import NOT_YET, RIGHT, chosen, number, tried
from femur_lib.phantom.scanner import magnitude

NOTEBOOKS = {p.name[:2]: nbformat.read(p, 4) for p in (Path(__file__).parents[2] / "notebooks").glob("[0-9]*.ipynb")}


def exercises():
    """Key, question and the cell after it, of every exercise of the course."""
    found = {}
    for notebook, content in sorted(NOTEBOOKS.items()):
        for question, cell in zip(content.cells, content.cells[1:], strict=False):
            if named := re.findall(r"^### Exercise (\d)", question.source, re.M):
                found[f"{notebook}.{named[0]}"] = question, cell
    return found


EXERCISES = exercises()


def definitions(notebook: str, *names: str) -> str:
    """The source of functions that a notebook defines."""
    bodies = [ast.parse(c.source).body for c in NOTEBOOKS[notebook].cells if c.cell_type == "code"]
    nodes = (n for body in bodies for n in body if isinstance(n, ast.FunctionDef) and n.name in names)
    return "\n".join(map(ast.unparse, nodes))


NAMES = {
    "np": np,
    "pd": pd,
    "ndimage": ndimage,
    "hashlib": hashlib,
    "magnitude": magnitude,
    "paper_size": (256, 256, 48),
}
NAMES |= {"keras": keras, "layers": keras.layers}
# What a worked answer takes from its notebook; the recorded ones take its trained networks and its scans.
TAKES = {"03.3": ["bill", "training_gib"], "04.4": ["stops_after"]}
RECORDED = {"05.4": "b", "09.4": "ab"}


def executed(key: str, source: str):
    """What stands as the answer after a source was executed, its check's second argument."""
    space = dict(NAMES)
    exec(definitions(key[:2], *TAKES.get(key, [])), space)
    exec(source, space)
    return space[EXERCISES[key][1].source.splitlines()[-1].rsplit(", ", 1)[1].rstrip(")")]


def is_right(key: str, answer) -> bool:
    said = verdict(key, answer)
    return said == RIGHT or said.startswith(f"{RIGHT}: ")


def raising(*_):
    raise RuntimeError("no\nidea")


def padded_with(mode, front=lambda extra: extra // 2):
    def padded(slices, levels):
        extra = -len(slices) % 2**levels
        return np.pad(slices, (front(extra), extra - front(extra)), mode=mode)

    return padded


def softmax_over(axis):
    return lambda v: np.exp(v) / np.exp(v).sum(axis=axis, keepdims=True)


def scores_of(tp, fp, fn, tn):
    return 2 * tp / (2 * tp + fp + fn), tp / (tp + fp), tp / (tp + fn), tn / (tn + fp)


def four(of_counts):
    return lambda t, p: of_counts((t & p).sum(), (~t & p).sum(), (t & ~p).sum(), (~t & ~p).sum())


def piece(which, neighbours=np.ones((3, 3, 3))):  # noqa: B008
    def kept(mask):
        labels = ndimage.label(mask, neighbours)[0]
        return labels == which(np.bincount(labels.ravel()))

    return kept


def around(differences, times, ddof=1):
    return differences.mean() + times * differences.std(ddof=ddof) * np.array([-1, 1])


def tries(digest, texts):
    return next((text for text in texts if hashlib.sha256(text.encode()).hexdigest() == digest), "")


def women(hips):
    names = sorted({hip[:-2] for hip in hips})
    return [names.index(hip[:-2]) for hip in hips]


def dealt(hips, n):
    return [k % n for k in women(hips)]


def along(at, length=324):
    return sum(s <= at < s + length for s in (0, 94, 188))


def unpadded(n, levels, lost=4, centre=4, half=lambda m: m // 2):
    for _ in range(levels):
        n = half(n - lost)
    n -= min(centre, lost) if centre else 0
    for _ in range(levels):
        n = 2 * n - lost
    return n


def unet_with(joined=True, convolutions=2, up=2, activation="relu", maps_out=2, last="softmax"):
    """The U-net of notebook 03, or one with a mistake."""

    def build(features, levels):
        def convolve(x, maps, times=2):
            for _ in range(times):
                x = keras.layers.Conv3D(maps, 3, padding="same", activation=activation)(x)
            return x

        x = image = keras.Input((None, None, None, 1))
        copied = []
        for level in range(levels):
            copied.append(x := convolve(x, features * 2**level))
            x = keras.layers.MaxPooling3D(2)(x)
        x = convolve(x, features * 2**levels)
        for level in reversed(range(levels)):
            maps = features * 2**level
            x = keras.layers.Conv3DTranspose(maps, up, strides=2, padding="same", activation=activation)(x)
            x = convolve(keras.layers.Concatenate()([copied[level], x]) if joined else x, maps, convolutions)
        return keras.Model(image, keras.layers.Conv3D(maps_out, 1, activation=last)(x))

    return build


def loss(truth, p, w_background, w_femur):
    return np.where(truth == 1, w_femur, w_background) * -np.log(np.where(truth == 1, p, 1 - p))


def rule(values, first, patience, least):
    best, waited = -np.inf, 0
    for epoch, value in enumerate(values[first:], first):
        waited += 1
        if value - least > best:
            best, waited = value, 0
        elif waited >= patience:
            return epoch + 1
    return len(values)


# Wrong answers of each exercise, and words of what must be said of them.
WRONG: dict[str, list[tuple]] = {
    "00.1": [(25, "paper's"), (0.405, "radians"), (12, "muscle"), (90, "slider")],
    "00.2": [("a", "missing"), ("abc", "outside"), ("b", "outside"), ("c", "missing"), ("", "missing")],
    "00.3": [(4, "all hips"), (0.75, "one of the four"), (1, "more than one"), (12, "how many trainings")],
    "01.1": [
        (lambda a: np.linalg.norm(a[:3, :3], axis=1), "rows"),
        (lambda a: np.diag(a)[:3], "diagonal"),
        (lambda a: np.abs(np.diag(a)[:3]), "sign or not"),
        (lambda a: (a[:3, :3] ** 2).sum(0), "root"),
        (lambda a: np.abs(a[:3, :3]).sum(0), "sum of the sides"),
        (lambda a: a[:3, 3], "voxel (0, 0, 0)"),
        (lambda a: np.linalg.norm(a[:3], axis=0), "first three columns"),
    ],
    "01.2": [
        (lambda p: np.random.default_rng(0).random(len(p)) < 0.25, "both sets"),
        (lambda p: [k >= 0.75 * len(p) for k in range(len(p))], "both sets"),
        (lambda p: [True] * len(p), "none is left"),
        (lambda p: [False] * len(p), "no slice"),
        (lambda p: [name > "patient 1" for name in p], "quarter"),
        (lambda p: sorted(set(p))[:2], "True or False"),
    ],
    "01.3": [(0, "never negative"), (1, "one part"), (2**0.5, "mean square"), (0.1044, "sigma"), (3, "divide")],
    "02.1": [
        (lambda n, levels: unpadded(n, levels) + 4, "last up-convolution"),
        (lambda n, levels: unpadded(n, levels) - 1, "loop"),
        (lambda n, levels: n, "padded"),
        (lambda n, levels: unpadded(n, levels, lost=2), "each takes 2"),
        (lambda n, levels: unpadded(n, levels, centre=0), "centre"),
        (lambda n, levels: unpadded(n, levels, half=lambda m: -(-m // 2)), "121"),
    ],
    "02.2": [
        (lambda line, b, a: np.pad(line, (b, a), "symmetric"), "not repeated"),
        (lambda line, b, a: np.pad(line, (b, a)), "zeros"),
        (lambda line, b, a: np.pad(line, (b, a), "edge"), "repeats the border"),
        (lambda line, b, a: np.pad(line, (b, a), "wrap"), "other end"),
        (lambda line, b, a: np.concatenate([line[1 : b + 1], line, line[-a - 1 : -1]]), "order"),
        (lambda line, b, a: np.pad(line, (a, b), "reflect"), "changed places"),
        (lambda line, b, a: line, "in front"),
    ],
    "02.3": [(80, "484"), (94, "no multiple"), (88, "three poolings"), (112, "smaller"), (95, "multiple of")],
    "03.1": [
        (lambda v, k: signal.convolve(v, k, "valid"), "turn the kernel"),
        (
            lambda v, k: signal.correlate(np.pad(v, [(n // 2, n - 1 - n // 2) for n in k.shape]), k, "valid"),
            "fits whole",
        ),
        (lambda v, k: signal.correlate(v, k, "valid")[:-1, :-1, :-1], "once more"),
        (lambda v, k: signal.correlate(v, k, "valid") / k.size, "mean"),
        (lambda v, k: signal.correlate(v, k, "valid") + 1, "add up"),
    ],
    "03.2": [
        (unet_with(joined=False), "concatenate"),
        (unet_with(convolutions=1), "two convolutions"),
        (unet_with(up=3), "2 wide"),
        (unet_with(maps_out=1), "two were expected"),
        (unet_with(last=None), "softmax"),
        (unet_with(activation=None), "ReLU"),
        (lambda features, levels: unet_with()(2 * features, levels), "each level up"),
        (lambda features, levels: "network", "keras.Model"),
    ],
    "03.3": [("b", "parameters"), ("c", "third"), ("ab", "parameters"), ("d", "choose among")],
    "03.4": [
        (padded_with("constant"), "zeros"),
        (padded_with("reflect"), "border slice"),
        (padded_with("edge"), "no mirror"),
        (padded_with("symmetric", lambda extra: 0), "behind"),
        (padded_with("symmetric", lambda extra: -(-extra // 2)), "both ends"),
        (lambda slices, levels: slices, "multiple"),
    ],
    "04.1": [
        (lambda t, p, b, f: np.mean(np.where(t == 1, f, b) * -np.log(p)), "1 - p"),
        (lambda t, p, b, f: loss(t, p, f, b).mean(), "changed places"),
        (lambda t, p, b, f: -loss(t, p, b, f).mean(), "minus"),
        (lambda t, p, b, f: loss(t, p, b, f).sum(), "not their sum"),
        (lambda t, p, b, f: loss(t, p, 1, 1).mean(), "weights are missing"),
        (lambda t, p, b, f: loss(t, p, b, f), "one number"),
        (lambda t, p, b, f: 0.5, "-log"),
    ],
    "04.2": [(0.9, "network says"), (0.1, "share"), (1, "odds"), (81 / 82, "divide"), (0.3, "ratio")],
    "04.3": [
        (lambda v, f=30, p=10, d=1e-4: rule(v, f, p, 0), "min_delta"),
        (lambda v, f=30, p=10, d=1e-4: rule(v, f, p + 1, d), "too late"),
        (lambda v, f=30, p=10, d=1e-4: rule(v, f, p - 1, d), "too early"),
        (lambda v, f=30, p=10, d=1e-4: rule(v, f, p, d) - 1, "exempt, better"),
        (lambda v, f=30, p=10, d=1e-4: rule([-x for x in v], f, p, d), "higher accuracy"),
        (lambda v, f=30, p=10, d=1e-4: rule(v, 0, p, d), "exempt"),
    ],
    "04.4": [(41, "42nd"), (30, "waits"), (39, "one more"), (100, "still running")],
    "05.1": [
        (four(lambda tp, fp, fn, tn: [tp / (tp + fp + fn), tp / (tp + fp), tp / (tp + fn), tn / (tn + fp)]), "Jaccard"),
        (four(lambda *n: np.array(scores_of(*n))[[0, 2, 1, 3]]), "changed places"),
        (four(lambda *n: [*scores_of(*n)[:3], (n[0] + n[3]) / sum(n)]), "accuracy"),
        (four(lambda *n: [*scores_of(*n)[:3], 1 - scores_of(*n)[3]]), "what is left of 1"),
        (four(lambda *n: n), "not the four counts"),
        (four(lambda *n: scores_of(*n)[0]), "in this order"),
    ],
    "05.2": [(0.98, "recall"), (0.99, "background"), (0.9899, "background"), (0.16, "share of wrong"), (0.5, "1000")],
    "05.3": [
        (piece(lambda sizes: sizes.argmax()), "background"),
        (piece(lambda sizes: 1), "number 1"),
        (piece(lambda sizes: sizes[1:].argmax()), "one too low"),
        (piece(lambda sizes: 1 + sizes[1:].argmax(), None), "corner"),
        (piece(lambda sizes: 1 + sizes[1:].argmin()), "smallest"),
        (lambda mask: mask, "all pieces"),
        (lambda mask: ndimage.label(mask, np.ones((3, 3, 3)))[0], "largest"),
    ],
    "05.4": [("a", "gain"), ("c", "same masks"), ("lower", "choose among")],
    "06.1": [
        (lambda v: np.std(v, ddof=1), "spread of the scans"),
        (lambda v: np.std(v, ddof=1) / np.sqrt(len(v)), "one standard error"),
        (lambda v: 2 * 1.96 * np.std(v, ddof=1) / np.sqrt(len(v)), "whole width"),
        (lambda v: 1.96 * np.std(v, ddof=1), "root of n"),
        (lambda v: 1.96 * np.std(v) / np.sqrt(len(v)), "ddof"),
        (lambda v: 1.96 * np.std(v, ddof=1) / len(v), "not by n"),
    ],
    "06.2": [
        (lambda p: np.minimum(1, np.array(p) * len(p)), "Bonferroni"),
        (lambda p: multipletests(p, method="fdr_bh")[1], "undo the sorting"),
        (lambda p: np.sort(multipletests(p, method="holm")[1]), "its own place"),
        (lambda p: np.minimum(1, np.array(p) * (len(p) - np.argsort(np.argsort(p)))), "below the one before"),
        (lambda p: p, "as they were"),
    ],
    "06.3": [(11, "both directions"), (6, "without Holm"), (86, "fewer"), (13, "one scan less")],
    "06.4": [
        ((0.953, 0.960), "2D one first"),
        ((0.937, 0.953), "claim holds"),
        ((0.97, 0.953), "no 2D"),
        (0.96, "two"),
    ],
    "07.1": [(0.5, "other"), (0, "centre"), (0.25, "radius"), (2, "crosses")],
    "07.2": [
        (lambda m, a: abs(np.linalg.det(a)) * m.sum(), "mm³"),
        (lambda m, a: np.linalg.det(a) * m.sum() / 1000, "never negative"),
        (lambda m, a: np.prod(np.diag(a)) * m.sum() / 1000, "diagonal"),
        (lambda m, a: m.sum() / 1000, "how large is one"),
        (lambda m, a: abs(np.linalg.det(a)) * m.size / 1000, "whole image"),
        (lambda m, a: abs(np.linalg.det(a)) * m.sum() / 100, "10 × 10 × 10"),
    ],
    "07.3": [
        (lambda a, b: around(np.subtract(a, b), 1), "two thirds"),
        (lambda a, b: around(np.subtract(a, b), 1.96 / np.sqrt(len(a))), "next hip"),
        (lambda a, b: around(np.subtract(b, a), 1.96), "turned"),
        (lambda a, b: around(np.abs(np.subtract(a, b)), 1.96), "absolute"),
        (lambda a, b: 1.96 * np.std(np.subtract(a, b), ddof=1) * np.array([-1, 1]), "not around 0"),
        (lambda a, b: around(np.subtract(a, b), 1.96, ddof=0), "ddof"),
    ],
    "07.4": [("a", "proportion"), ("c", "larger sample"), ("d", "choose among")],
    "08.1": [
        (lambda digest, digits: tries(digest, map(str, range(10**digits))), "leading zeros"),
        (lambda digest, digits: tries(digest, (f"{k:0{digits}d}" for k in range(10**digits - 1))), "9…9"),
        (lambda digest, digits: digest, "not its hash"),
        (lambda digest, digits: int(tries(digest, (f"{k:0{digits}d}" for k in range(10**digits)))), "as text"),
    ],
    "08.2": [
        (lambda s, i, n: s if i < n / 2 else {"R": "L", "L": "R"}[s], "beginning"),
        (lambda s, i, n: "R" if i < n / 2 else "L", "letter: an axis"),
        (lambda s, i, n: s if i >= 50 else {"R": "L", "L": "R"}[s], "100"),
        (lambda s, i, n: s, "where"),
    ],
    "08.3": [(30, "own"), (9.2, "same fold"), (40, "chance"), (20, "women"), (3, "places")],
    "09.1": [
        (lambda a, b: set(a) & set(b), "no slice"),
        (lambda a, b: {n.split("_")[0] for n in a + b}, "all patients"),
        (lambda a, b: {n[0] for n in a} & {n[0] for n in b}, "one letter"),
        (lambda a, b: {n[:4] for n in a} & {n[:4] for n in b}, "four letters"),
        (lambda a, b: {"berta"}, "both lists"),
    ],
    "09.2": [
        (softmax_over(0), "rows"),
        (softmax_over(1), "columns"),
        (softmax_over(None), "all voxels"),
        (lambda v: softmax_over(-1)(np.maximum(v, 0)), "ReLU"),
        (lambda v: v / v.sum(axis=-1, keepdims=True), "e to the vote"),
        (lambda v: 1 / (1 + np.exp(-v)), "divided by"),
    ],
    "09.3": [
        (lambda hips, n: [k % n for k in range(len(hips))], "is split"),
        (lambda hips, n: [0 for _ in hips], "nobody is held out"),
        (lambda hips, n: [1 + k for k in dealt(hips, n)], "count from 0"),
        (lambda hips, n: sorted({h[:-2] for h in hips}), "one number for each hip"),
        (lambda hips, n: [k % n if k < n else 0 for k in women(hips)], "evenly"),
        (lambda hips, n: [h[:-2] for h in hips], "whole number"),
    ],
    "09.4": [("a", "wrong alone"), ("abc", "agree"), ("c", "agree"), ("b", "elsewhere")],
    "10.1": [
        (lambda s, b: np.mean(s * b[:, None, None], axis=0), "darker"),
        (lambda s, b: np.take(b, np.argmax(s, axis=0)), "several"),
        (lambda s, b: np.sum(s, axis=0), "where is the brightness"),
        (lambda s, b: np.einsum("k,kij->kij", b, s), "one picture for each kind"),
        (lambda s, b: np.average(s, axis=0, weights=b), "do not divide"),
        (lambda s, b: np.max(s * b[:, None, None], axis=0), "added up over the kinds"),
    ],
    "10.2": [
        (lambda t, d, w: t[np.argmax(d)], "usual rule"),
        (lambda t, d, w: max(a for a, b in zip(t, d, strict=True) if b >= max(d) - w), "highest"),
        (lambda t, d, w: next(a for a, b in zip(t, d, strict=True) if b >= max(d) - w), "no order"),
        (lambda t, d, w: sorted(t)[0], "whatever its Dice"),
        (lambda t, d, w: min(a for a, b in zip(t, d, strict=True) if b >= max(d) * (1 - w)), "not a share"),
        (lambda t, d, w: list(t).index(min(t[d >= d.max() - w])), "not its place"),
        (lambda t, d, w: d[t == min(t[d >= d.max() - w])][0], "not its Dice"),
    ],
    "10.3": [("b", "failures"), ("abc", "real hip take part"), ("bcd", "random number"), ("a", "real hip take part")],
}
ODD = ["text", b"", object(), [], {}, {"a": 1}, [[1]], [1, "a"], np.nan, -np.inf, 10**400, 1j, True, np.zeros((2, 3))]
ODD += [pd.DataFrame({"a": [1]}), pd.Series([0.5]), raising, lambda: 1, lambda *_: "x", lambda *_: np.nan, "  ", int]


def test_every_exercise_has_a_check_and_every_check_an_exercise():
    assert list(EXERCISES) == list(JUDGES) == list(WRONG)
    assert {key[:2] for key in JUDGES} == set(NOTEBOOKS)


@pytest.mark.parametrize("key", JUDGES)
def test_an_exercise_is_whole(key):
    question, cell = EXERCISES[key]
    assert re.findall(r"<summary>(\w+)</summary>", question.source) == ["Hint", "Solution"]
    assert question.source.endswith("</details>")
    assert cell.id == f"nb{key[:2]}-exercise-{key[3]}-answer"
    assert cell.metadata.tags == ["solution"]
    assert cell.source.splitlines()[-1].startswith(f'check("{key}", ')
    ast.parse(cell.metadata.stub)


@pytest.mark.parametrize("key", JUDGES)
def test_the_worked_answer_is_right(key):
    answer = RECORDED[key] if key in RECORDED else executed(key, EXERCISES[key][1].source.rsplit("\n", 1)[0])
    assert is_right(key, answer)


@pytest.mark.parametrize("key", [key for key in JUDGES if key not in RECORDED])
def test_the_stub_is_not_answered_yet(key):
    assert verdict(key, executed(key, EXERCISES[key][1].metadata.stub)) == NOT_YET


@pytest.mark.parametrize("key", JUDGES)
def test_wrong_answers_are_told_what_is_wrong(key):
    said = {verdict(key, answer) for answer, _ in WRONG[key]}
    assert len(said) >= 3
    for answer, words in WRONG[key]:
        assert not verdict(key, answer).startswith((RIGHT, NOT_YET))
        assert words in verdict(key, answer)


@pytest.mark.parametrize("key", JUDGES)
def test_an_odd_answer_gets_one_line_and_no_error(key):
    for odd in ODD:
        said = verdict(key, odd)
        assert said
        assert not is_right(key, odd)
        assert "\n" not in said
        assert len(said) <= LONGEST
    assert verdict(key, None) == verdict(key, ...) == NOT_YET


def test_other_ways_to_the_right_answer_are_right():
    from sklearn.model_selection import GroupKFold

    held_out = next(GroupKFold(4).split(OWNERS, groups=OWNERS))[1]
    others = {"00.2": ["C, a", ["a", "c"], {"a", "c"}], "06.4": [[0.953, 0.935]], "07.1": [np.float32(1)]}
    others |= {"08.3": [31], "01.2": [lambda patients: np.isin(np.arange(len(patients)), held_out)]}
    assert [key for key, answers in others.items() for answer in answers if not is_right(key, answer)] == []


def test_a_function_cannot_spoil_what_it_is_tried_with():
    def spoils(slices, levels):
        slices.clear()
        return slices

    assert verdict("03.4", spoils) == verdict("03.4", spoils)
    assert is_right("03.4", padded_with("symmetric"))


def test_half_the_maps_save_more_memory_than_a_level_or_a_third_of_the_slices():
    paths = {"a": ("3d-f16-l4", 48), "b": ("3d-f32-l3", 48), "c": ("3d-f32-l4", 32)}
    needed = {k: cost(parse_network(name), (256, 256, n)).training_bytes() for k, (name, n) in paths.items()}
    assert is_right("03.3", min(needed, key=needed.get))


def test_a_right_answer_is_told_why():
    judge = number(2, {}, "think again", why="one and one are two")
    assert judge(2.0) == "right: one and one are two"
    assert chosen({"a"}, {"a": "?"}, why="it is the only one")("a") == "right: it is the only one"
    assert tried(abs, [(-1,)], {}, "?", why="it is never negative")(np.abs) == "right: it is never negative"


def test_a_check_prints_and_gives_nothing_back(capsys):
    assert check("04.2", 0.5) is None
    assert is_right("04.2", 0.5)
    assert capsys.readouterr().out == verdict("04.2", 0.5) + "\n"
