"""What the answer to each exercise must satisfy, which mistakes are known, and what is said about each of them.

An exercise is named by its notebook and its number there.
"""

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from femur_lib.architecture import unpadded_geometry
from femur_lib.config import Profile
from femur_lib.course.exercises import functions as f
from femur_lib.course.exercises.judges import (
    NOT_YET,
    Judge,
    chosen,
    expected,
    missing,
    number,
    right_because,
    tried,
)
from femur_lib.inference import largest_component, patch_starts
from femur_lib.lab.pelvis import half
from femur_lib.paper.published import TABLE_1, TABLE_2
from femur_lib.phantom.tissue import TISSUES, TR_MS, Tissue


def _ernst_degrees(tissue: Tissue) -> float:
    """The flip angle at which FLASH makes a tissue brightest."""
    return math.degrees(math.acos(math.exp(-TR_MS / tissue.t1_ms)))


def _odds_to_probability(odds: float) -> float:
    return odds / (1 + odds)


# The patient of each slice of a little cohort, shuffled.
OWNERS = [f"patient {k}" for k in np.random.default_rng(0).integers(8, size=40)]


def _split(held_out: Any) -> str:
    if not callable(held_out):
        return expected("a function was", held_out)
    got = held_out(list(OWNERS))
    if missing(got):
        return NOT_YET
    if np.shape(got) != (len(OWNERS),) or not set(np.unique(got)) <= {False, True}:
        return "return one True or False for each slice, in the order of the slices"
    sets = {bool(tested): {p for p, t in zip(OWNERS, got, strict=True) if t == tested} for tested in got}
    if len(sets) < 2:
        return "every slice is a test slice: none is left to train on" if got[0] else "no slice is a test slice"
    if both := sorted(sets[True] & sets[False]):
        return f"{both[0]} has slices in both sets" + f", and so have {len(both) - 1} others" * (len(both) > 1)
    share = np.mean(got)
    right = right_because("no patient is on both sides")
    return right if 0.1 <= share <= 0.4 else f"{share:.0%} of the slices are test slices; about a quarter was expected"


# 512 pixels, four poolings: the network of notebook 02, sections 5 to 7.
PATCH = unpadded_geometry(512, 4)


def _answering(at: int, length: int = PATCH.output) -> int:
    return sum(start <= at < start + length for start in patch_starts(PATCH))


def _opinions(length: int) -> Callable[[int, int], int]:
    return lambda row, column: _answering(row, length) * _answering(column, length)


def _agreeing_stride() -> int:
    """The smallest stride at which three patches cover the image, and all poolings fall on the same pixels."""
    return next(s for s in range(0, PATCH.size, 2**4) if 2 * s + PATCH.output >= PATCH.size)


def _reached(rates: Sequence[int]) -> set[int]:
    """Distances along one axis that a plain convolution, followed by dilated ones side by side, looks at."""
    return {abs(tap * rate + step) for rate in rates for tap in (-1, 0, 1) for step in (-1, 0, 1)}


def _padded(mode: Any) -> Callable:
    def padded(slices, levels):
        extra = -len(slices) % 2**levels
        return np.pad(slices, (extra // 2, extra - extra // 2), mode=mode)

    return padded


def _one_ended(slices, levels):
    return np.pad(slices, (0, -len(slices) % 2**levels), mode="symmetric")


def _against(pair: Any) -> str:
    """The Dice of a 2D network that is above that of a 3D network, both as the paper printed them."""
    if not isinstance(pair, (tuple, list)) or not all(isinstance(p, numbers.Real) for p in pair) or len(pair) != 2:
        return "two numbers were expected: (Dice of a 2D network, Dice of a 3D network)"
    flat, deep = ({row.mean[0] for row in (*TABLE_1, *TABLE_2) if row.network.startswith(d)} for d in ("2d", "3d"))
    if pair[0] in flat and pair[1] in deep:
        if pair[0] > pair[1]:
            return right_because("the claim holds only under conditions")
        return f"{pair[0]} is not above {pair[1]}: the claim holds for this pair"
    if pair[0] in deep and pair[1] in flat:
        return f"{pair[0]} is a 3D network's and {pair[1]} a 2D network's: put the 2D one first"
    unknown, which = (pair[1], "3D") if pair[0] in flat else (pair[0], "2D")
    return f"{unknown}: no {which} network of Tables 1 and 2 has that Dice"


def _half_of(letter: str, i: int, n: int) -> str:
    left = i in range(n)[half((1, n, 1), "L")]  # the columns of a stack have the letter L
    return "L" if left == (letter == "L") else "R"


def _patients(names) -> set[str]:
    return {name.rsplit("_", 1)[0] for name in names}


def _softmax(axis) -> Callable:
    return lambda votes: np.exp(votes) / np.exp(votes).sum(axis=axis, keepdims=True)


EXEMPT, PATIENCE = (Profile.model_fields[name].default for name in ("first_epochs", "patience"))
VOTES = np.array([[[1.0, -2.0], [0.5, 0.0]], [[-1.0, 3.0], [-3.0, -0.5]], [[2.0, 2.0], [-1.0, -4.0]]])

# Of each exercise: what is right, what is said about known mistakes, and what to think about after any other.
JUDGES: dict[str, Judge] = {
    "00.1": number(_ernst_degrees(TISSUES["fatty marrow"]), {
        25: "that is the paper's angle; is the curve of fatty marrow really highest there?",
        math.radians(_ernst_degrees(TISSUES["fatty marrow"])): "that is in radians",
        round(_ernst_degrees(TISSUES["muscle"])): "that is where muscle is brightest",
    }, "drag the slider until the line stands where the marrow's curve is highest",
    within=0.03, why="marrow, with its short T1, has recovered enough for a larger pulse"),
    "00.2": chosen(set("ac"), {
        "a": "is any voxel inside the picture labelled wrongly?",
        "b": "what does the mask know about the bone outside the picture?",
        "c": "can two masks not be compared inside the picture?",
    }, why="inside the picture every label is right; what lies outside nobody has measured"),
    "00.3": number(4 * (1 - 1 / 4), {
        4: "that would be right if each of the four saw all hips",
        0.75: "that is one of the four trainings",
        1: "four trainings on three quarters of the hips are more than one",
    }, "how many trainings are there, and what share of the hips does each one see?",
    why="four trainings see three quarters of the hips each"),
    "01.1": tried(f.spacing, f.AFFINES, {
        "these are the lengths of the rows; a column is one step along one axis of the array":
            f.with_mistake(f.spacing, axis=1),
        "the diagonal holds the sides only where no axis is turned or has changed places": lambda a: np.diag(a)[:3],
        "the diagonal holds the sides only where no axis is turned, sign or not": lambda a: np.abs(np.diag(a)[:3]),
        "these are the squares of the lengths: take the root": f.with_mistake(f.spacing, root=False),
        "a length is the root of the sum of the squares, not the sum of the sides":
            lambda a: np.abs(a[:3, :3]).sum(0),
        "that is where voxel (0, 0, 0) lies": lambda a: a[:3, 3],
    }, "take the first three columns, without the last row, and the length of each",
    why="a column is one step along one axis, so its length is one side of a voxel"),
    "01.2": _split,
    "01.3": number(math.sqrt(math.pi / 2), {
        0: "a length is never negative, so its mean is 0 only if every pixel is 0",
        1: "that is the noise of one part; the length is made of two",
        math.sqrt(2): "that is the root of the mean square; the plain mean is a little less",
        math.sqrt(math.pi / 2) / 12: "that is the brightness; how many sigma is it?",
    }, "take the mean of `air`, and divide it by sigma", why="a length is never negative, so noise lifts its mean"),
    "02.1": tried(f.output_size, f.SIZES, {
        "the last up-convolution is followed by two convolutions, too": f.with_mistake(f.output_size, last=0),
        "the centre has two convolutions as well": f.with_mistake(f.output_size, centre=0),
        "a last odd pixel is dropped: 121 pixels become 60, so take //": f.with_mistake(f.output_size, odd=1),
        "a level has two convolutions, and each takes 2 pixels": f.with_mistake(f.output_size, way=2, centre=2, last=2),
        "each convolution takes a pixel on both sides": f.with_mistake(f.output_size, way=1, centre=1, last=1),
        "nothing is padded here: each convolution takes two pixels":
            f.with_mistake(f.output_size, way=0, centre=0, last=0),
        "nothing is padded here: the output is smaller than the input": lambda n, levels: n,
    }, "write down the size after every layer, and compare it with your loop",
    why="each convolution takes 2 pixels, and what is lost deep down counts double on every level up"),
    "02.2": tried(f.mirrored("reflect"), f.LINES, {
        "the border pixel is the mirror itself, so it is not repeated": f.mirrored("symmetric"),
        "that repeats the border pixel; a mirror shows what lies behind it": f.mirrored("edge"),
        "zeros are no mirror image": f.mirrored("constant"),
        "that goes on at the other end of the line; a mirror stays at its own": f.mirrored("wrap"),
        "the right pixels, but a mirror turns their order round": f.unturned,
        "`before` and `after` have changed places": lambda line, b, a: f.mirrored("reflect")(line, a, b),
    }, "in front stand `before` pixels, the nearest to the border last; behind it `after` pixels, the nearest first",
    why="one step outside shows what lies one step inside"),
    "02.3": number(_agreeing_stride(), {
        80: "these patches agree, but 2 × 80 + 324 = 484 pixels do not cover 512",
        94: "that is the stride you began with; it is no multiple of 16",
        88: "these patches agree after three poolings; here there are four",
        112: "these patches agree and cover the image, but so do those of a smaller stride",
    }, "is it a multiple of 2⁴, and is twice the stride plus 324 at least 512?", within=1e-6,
    why="a whole number of blocks keeps the pooling pairs together, and 2 × 96 + 324 is at least 512"),
    "03.1": tried(f.convolved, f.VOLUMES, {
        "you turn the kernel round, as mathematicians do; networks lay it on as it is":
            lambda v, k: f.convolved(v, np.flip(k)),
        "keep only the places where the kernel fits whole: n - m + 1 along each axis": f.convolved_same,
        "the kernel fits once more along each axis: n - m + 1 places": f.with_mistake(f.convolved, short=1),
        "add the products up; do not take their mean": f.with_mistake(f.convolved, what=np.mean),
        "multiply first, then add up; that is the largest product": f.with_mistake(f.convolved, what=np.max),
    }, "at each place: cut out a piece of the kernel's shape, multiply by the kernel, add up",
    why="the same small cube of weights is laid on every place"),
    "03.2": f.built,
    "03.3": chosen({"a"}, {
        "a": "which of the three is it?",
        "b": "the deepest level has the most parameters, but does it need the most memory?",
        "c": "a third of the slices saves a third of the memory; can you save more?",
    }, why="most memory is at the first level, and half as many maps are half of it"),
    "03.4": tried(_padded("symmetric"),
        [([1, 2, 3, 4, 5], 2), (list(range(1, 41)), 4), (list(range(8)), 3)], {
        "zeros are no mirror image": _padded("constant"),
        "the border slice is mirrored too: it should appear twice": _padded("reflect"),
        "that is the border slice again and again, and no mirror image": _padded("edge"),
        "everything is added behind the last slice; each end should get half": _one_ended,
    }, "is the length a multiple of 2 ** levels, and are the slices in order, with their mirror image at both ends?",
    why="every pooling now halves a whole number, and the mirror keeps the brightness of the border"),
    "04.1": tried(f.eq_1, f.CHARGED, {
        "outside the femur the truth got 1 - p": f.with_mistake(f.eq_1, other=False),
        "the two weights have changed places": lambda t, p, b, w: f.eq_1(t, p, w, b),
        "a loss is smaller where the answer is better: the minus is missing": f.with_mistake(f.eq_1, sign=1),
        "the mean over the voxels, not their sum": f.with_mistake(f.eq_1, of=np.sum),
        "the weights are missing": lambda t, p, b, w: f.eq_1(t, p, 1, 1),
        "that is the logarithm to the base 10; take np.log": f.with_mistake(f.eq_1, log=np.log10),
        "divide by the number of voxels, not by the sum of the weights": f.eq_1_shared,
        "one number for all voxels: take their mean": f.with_mistake(f.eq_1, of=np.asarray),
    }, "-log of the probability that the truth got, times the weight of its class, and the mean over all voxels",
    why="each voxel is charged for the probability that the truth got"),
    "04.2": number(_odds_to_probability(0.9 / 0.1 / (0.9 / 0.1)), {
        0.9: "that is what the network says; the weights have raised it",
        0.1: "that is the share of femur, for a voxel about which nothing is known",
        1: "these are the odds; which probability has them?",
        _odds_to_probability(81): "the weights have multiplied the odds already: divide",
        0.81: "multiply odds, not probabilities",
    }, "divide the odds of 0.9 by the ratio of the weights; then go back from odds to a probability",
    why="the weights have multiplied the odds by 9"),
    "04.3": tried(f.stopped, f.STOPS_AT, {
        "an improvement below `min_delta` does not count": lambda v, n=30, p=10, d=1e-4: f.stopped(v, n, p, 0.0),
        "the exempt epochs are not counted among those without improvement":
            f.with_mistake(f.stopped, exempt="waits"),
        "the best value is taken after the exempt epochs, not among them":
            f.with_mistake(f.stopped, exempt="compares"),
        "one epoch too late: stop in the epoch that is the `patience`-th without improvement":
            f.with_mistake(f.stopped, late=1),
        "one epoch too early: how many epochs without improvement were there?": f.with_mistake(f.stopped, late=-1),
        "return how many epochs were trained; the first one has number 0": f.with_mistake(f.stopped, index=True),
        "an improvement sets the waiting back to zero": f.with_mistake(f.stopped, reset=False),
        "a higher accuracy is better": f.with_mistake(f.stopped, sign=-1),
    }, "go through the epochs: exempt, better than the best so far, or one more without improvement?",
    why="each improvement sets the waiting back to zero, and the exempt epochs do not count"),
    "04.4": number(EXEMPT + PATIENCE, {
        41: "after 41 epochs without improvement it is stopped: it cannot wake up in the 42nd",
        39: "nearly: try one more",
        30: "these are exempt; after them the rule waits",
        10: "the first thirty epochs are exempt",
    }, "a network that sleeps for n epochs improves in epoch n + 1: is it still running then?", within=1e-6,
    why="epoch 41 is the last one before the rule gives up"),
    "05.1": tried(f.scores, f.MASKS, {
        "precision and recall have changed places: which of them divides by all that was marked?":
            lambda t, p: np.array(f.scores(t, p))[[0, 2, 1, 3]],
        "that is the Jaccard index: Dice counts twice what both masks share":
            f.scores_with(0, lambda tp, fp, fn, tn: tp / (tp + fp + fn)),
        "the last is accuracy; specificity looks at the background alone":
            f.scores_with(3, lambda tp, fp, fn, tn: (tp + tn) / (tp + fp + fn + tn)),
        "the last is the false positive rate; specificity is what is left of 1":
            f.scores_with(3, lambda tp, fp, fn, tn: fp / (fp + tn)),
        "return the four scores, not the four counts":
            lambda t, p: [(t & p).sum(), (~t & p).sum(), (t & ~p).sum(), (~t & ~p).sum()],
    }, "count TP, FP, FN and TN, and return Dice, precision, recall and specificity in this order",
    why="Dice does without TN, so much background cannot flatter it"),
    "05.2": number(0.98 * 0.05 / (0.98 * 0.05 + 0.01 * 0.95), {
        0.98: "that is recall",
        0.99: "there is nineteen times more background than femur: count voxels, do not compare rates",
        0.049: "that is the share of all voxels that are marked rightly; divide it by the share that is marked",
        0.0585: "that is the share of all voxels that are marked; how much of it is femur?",
        0.16: "that is the share of wrong voxels among the marked ones",
    }, "of all marked voxels, how many are femur? Count them among 1000 voxels",
    within=0.007, why="there is nineteen times as much background as femur, so 1 % of it is a lot"),
    "05.3": tried(largest_component, f.PIECES, {
        "that is the background: label 0 is no piece": f.piece(np.argmax),
        "that is the piece with number 1: it comes first, but is it the largest?": f.piece(lambda sizes: 1),
        "that is the smallest piece": f.piece(lambda sizes: 1 + sizes[1:].argmin()),
        "you left out label 0 before `argmax`, so the place that it returns is one too low":
            f.piece(lambda sizes: sizes[1:].argmax()),
        "voxels that touch at a corner are one piece, too: give `label` the neighbours": f.piece(
            lambda sizes: 1 + sizes[1:].argmax(), connectivity=1),
        "these are all pieces": lambda mask: mask,
    }, "label the pieces, count the voxels of each, and keep where the label is that of the largest",
    why="a femur is one piece, so what lies apart from it is something else"),
    "05.4": chosen({"b"}, {
        "a": "precision is above recall already: which of them would gain?",
        "b": "in which direction does recall rise?",
        "c": "it was chosen for masks with all their pieces; are these the same masks?",
    }, why="without stray pieces precision has room to give, and a lower threshold turns it into recall"),
    "06.1": tried(f.half_width, f.DICES, {
        "that is the spread of the scans; how sure is their mean?": lambda v: f.half_width(v, times=1, root=False),
        "95 of 100 scans lie so near; their mean is surer, by the root of n": lambda v: f.half_width(v, root=False),
        "that is one standard error": lambda v: f.half_width(v, times=1),
        "that is the whole width; how far is it to each side?": lambda v: f.half_width(v, times=2 * 1.96),
        "divide by n - 1 in the standard deviation (ddof=1): the mean came from the same scans":
            lambda v: f.half_width(v, of_all=True),
        "divide by the root of n, not by n": lambda v: f.half_width(v) / np.sqrt(len(v)),
    }, "1.96 times the standard deviation, divided by the root of the number of scans",
    why="four times as many scans make a mean twice as sure"),
    "06.2": tried(f.holm, f.P_VALUES, {
        "that is Bonferroni's correction: Holm multiplies the second smallest by one less, and so on":
            lambda p: f.holm(p, factors="n"),
        "never let a value fall below the one before it": lambda p: f.holm(p, monotone=False),
        "no p is above 1": lambda p: f.holm(p, limit=False),
        "they are corrected, but in order of size: give each back its own place": f.holm_sorted,
        "multiply by how many are left; dividing by the rank lets a share of the findings be false":
            lambda p: f.holm(p, factors="n / k"),
        "these are the p-values as they were": lambda p: np.asarray(p, float),
    }, "sort, multiply the smallest by n, the next by n - 1, …, let none fall below the one before, undo the sorting",
    why="once the smallest is decided, one test less is left"),
    "06.3": number(next(n for n in range(1, 40) if 66 * 2 / 2**n < 0.05), {
        6: "that is without Holm's correction",
        11: "66 × 2 / 2¹¹ = 0.064; both directions count, so it is 2 / 2ⁿ",
        86: "fewer are enough",
    }, "66 × 2 / 2ⁿ must be below 0.05; is it, and is it not with one scan less?", within=1e-6,
    why="with fewer scans chance alone gives one sign too often"),
    "06.4": _against,
    "07.1": number(2 * 0.5, {
        0.5: "that is one end of the diameter; what about the other?",
        0.25: "a diameter is longer than a radius, not shorter",
        0: "the centre stays; does the diameter?",
    }, "count the borders that a diameter crosses", why="a diameter has two ends"),
    "07.2": tried(f.cm3, f.GRIDS, {
        "that is mm³": lambda m, a: 1000 * f.cm3(m, a),
        "a cubic centimetre is 10 × 10 × 10 mm, not 10 × 10": lambda m, a: 10 * f.cm3(m, a),
        "those are voxels, counted in thousands: how large is one?": f.cm3_of(lambda a: 1),
        "a volume is never negative: this affine mirrors": f.cm3_of(lambda a: np.linalg.det(a[:3, :3])),
        "the diagonal holds the spacing only where no axis is turned": f.cm3_of(lambda a: np.prod(np.diag(a)[:3])),
        "the diagonal holds the spacing only where no axis is turned, sign or not":
            f.cm3_of(lambda a: abs(np.prod(np.diag(a)[:3]))),
        "that is the box of the whole image: count the voxels of the mask": lambda m, a: f.cm3(np.ones_like(m), a),
    }, "the determinant of `affine[:3, :3]` without its sign, times the number of True voxels, in cm³",
    why="the determinant is the box that three steps span, however they are turned"),
    "07.3": tried(f.limits, f.MEASURED, {
        "those are the mean ± one standard deviation, which hold two thirds of the differences":
            f.limits_by(lambda d: d.std(ddof=1)),
        "that is how sure the mean difference is; the limits are for the next hip":
            f.limits_by(lambda d: 1.96 * d.std(ddof=1) / np.sqrt(len(d))),
        "around the mean difference, not around 0": f.limits_by(lambda d: 1.96 * d.std(ddof=1), lambda d: 0),
        "divide by n - 1 in the standard deviation (ddof=1)": f.limits_by(lambda d: 1.96 * d.std()),
        "first minus second: you turned the difference round": lambda a, b: f.limits(b, a),
        "a difference has a sign: take no absolute values":
            lambda a, b: f.limits(np.abs(np.subtract(a, b)), np.zeros(len(a))),
    }, "the lower limit, then the upper: the mean of first minus second, -/+ 1.96 standard deviations",
    why="the mean is the systematic difference, which can be taken off; the spread is the random one of each hip"),
    "07.4": chosen({"b"}, {
        "a": "is bone in proportion to 1 / age?",
        "b": "what makes the two groups alike?",
        "c": "would the groups of a larger sample no longer differ in age?",
    }, why="women of one age cannot differ by their age"),
    "08.1": tried(f.number_behind, f.HASHES, {
        "a number has its leading zeros: 42 and 0042 have different hashes":
            lambda h, n: f.number_behind(h, n, zeros=False),
        "nearly: the last number is 9…9": lambda h, n: f.number_behind(h, n, before_last=1),
        "return the number, not its hash": lambda h, n: h,
    }, "hash every number with so many digits, as text with leading zeros, and return the one whose hash it is",
    why="nobody reverses a hash, but anybody can try all numbers"),
    "08.2": tried(_half_of,
        [("L", 10, 100), ("L", 90, 100), ("R", 10, 100), ("R", 90, 100), ("L", 20, 100), ("R", 20, 30)], {
        "the letter names the end of the axis, not its beginning": lambda s, i, n: _half_of("LR"[s == "L"], i, n),
        "the answer must depend on the letter: an axis can run either way": lambda s, i, n: _half_of("L", i, n),
        "not every axis has 100 voxels": lambda s, i, n: _half_of(s, i, 100),
        "where is the voxel? The answer must depend on `i`": lambda s, i, n: s,
    }, "which end of the axis does the letter name?", why="the letter says where the axis ends"),
    "08.3": number(40 * 30 / 39, {
        30: "nearly: one of the 40 places is the hip's own",
        40 * 9 / 39: "these have their twin in the same fold",
        40: "some twins are dealt into the same fold by chance",
        20: "that is the number of women",
    }, "take one hip: of the places that are left for its twin, what share is in other folds?",
    why="three of four folds are in training, and one place is the hip's own"),
    "09.1": tried(lambda first, second: _patients(first) & _patients(second),
        [(["anna_1", "anna_2", "berta_1"], ["anna_3", "clara_1"]), (["ann_1", "eva_10"], ["anna_1", "eva_2"])], {
        "no slice is in both lists, but is no patient?": lambda a, b: set(a) & set(b),
        "these are all patients; which are in both?": lambda a, b: _patients(a) | _patients(b),
        "these are the patients of the first list": lambda a, b: _patients(a),
        "one letter is not a name": lambda a, b: {n[0] for n in a} & {n[0] for n in b},
        "a name can have more or fewer than four letters": lambda a, b: {n[:4] for n in a} & {n[:4] for n in b},
        "these are the right patients: return them as a set": lambda a, b: sorted(_patients(a) & _patients(b)),
    }, "who is in both lists?", why="patients leak, not slices"),
    "09.2": tried(_softmax(-1), [(VOTES,)], {
        "your sum goes over the rows, not over the two votes of a voxel": _softmax(0),
        "your sum goes over the columns, not over the two votes of a voxel": _softmax(1),
        "your sum goes over all voxels, but each voxel has its own": _softmax(None),
        "a ReLU comes first, but a vote must be able to be negative": lambda v: _softmax(-1)(np.maximum(v, 0)),
        "you divide the votes by their sum: e to the vote is missing": lambda v: v / v.sum(axis=-1, keepdims=True),
    }, "it is e to the vote, divided by the sum of that voxel's two", why="each voxel's two add up to 1"),
    "09.3": f.dealt,
    "09.4": chosen(set("ab"), {
        "a": "would you use a mask that lies elsewhere than its scan?",
        "b": "there are two grids here; can one of them be wrong alone?",
        "c": "two files that are wrong in the same way agree with each other",
    }, why="one file can contradict the other, but two that agree need anatomy"),
    "10.1": tried(f.mixed, f.SHARES, {
        "add the kinds up: a mean makes everything darker": lambda s, b: f.mixed(s, b) / len(b),
        "each point takes its largest tissue alone, but a point can hold several": lambda s, b: b[s.argmax(0)],
        "these are the shares added up: where is the brightness?": lambda s, b: s.sum(0),
        "this is one picture for each kind: add them up": lambda s, b: s * b[:, None, None],
        "do not divide by the brightnesses: shares are the weights": lambda s, b: f.mixed(s, b) / b.sum(),
    }, "each point: brightness times share, added up over the kinds", why="a point is as bright as what is in it"),
    "10.2": tried(f.lowest, f.RULES, {
        "this is the usual rule: the threshold with the best Dice": lambda t, d, w: t[d.argmax()],
        "this is the highest one that is good enough": lambda t, d, w: t[d >= d.max() - w].max(),
        "the thresholds are in no order: the first good one need not be the lowest":
            lambda t, d, w: t[d >= d.max() - w][0],
        "this is the lowest of all, whatever its Dice": lambda t, d, w: t.min(),
        "return the threshold, not its place": lambda t, d, w: np.where(d >= d.max() - w, t, np.inf).argmin(),
        "return the threshold, not its Dice": lambda t, d, w: d[np.where(d >= d.max() - w, t, np.inf).argmin()],
        "`within` is taken off the best Dice; it is not a share of it": lambda t, d, w: t[d >= d.max() * (1 - w)].min(),
    }, "of the thresholds whose Dice is at least the best one less `within`, return the lowest",
    why="it asks for no more certainty than it has to"),
    "10.3": chosen(set("bc"), {
        "a": "did a real hip take part in the training?",
        "b": "was it chosen before anybody had seen a real hip segmented, or after?",
        "c": "what was changed after a look at the first failures?",
        "d": "who chooses it, a person or a random number?",
    }, why="what people choose after a look at the test counts as training"),
}  # fmt: skip
