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
    RIGHT,
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
from femur_lib.preprocessing import pad_to_multiple


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
    return RIGHT if 0.1 <= share <= 0.4 else f"{share:.0%} of the slices are test slices; about a quarter was expected"


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
    }, "drag the slider until the line stands where the marrow's curve is highest", within=0.03),
    "00.2": chosen(set("ac"), {
        "a": "is any voxel inside the picture labelled wrongly?",
        "b": "what does the mask know about the bone outside the picture?",
        "c": "can two masks not be compared inside the picture?",
    }),
    "00.3": number(4 * (1 - 1 / 4), {
        4: "that would be right if each of the four saw all hips",
        0.75: "that is one of the four trainings",
        1: "four trainings on three quarters of the hips are more than one",
    }, "how many trainings are there, and what share of the hips does each one see?"),
    "01.1": number(1e6 * 0.234 * 0.234 * 1.5 / 1000, {
        82134: "that is mm³",
        8213.4: "that is mm³ divided by 10: a cubic centimetre is 10 × 10 × 10 mm",
        821.34: "a cubic centimetre is 10 × 10 × 10 mm, not 10 × 10",
        0.0821: "that is one voxel, in mm³",
        351: "a voxel has two short sides: 0.234 mm counts twice",
    }, "multiply the three sides of a voxel, then multiply by the number of voxels, then change the unit"),
    "01.2": _split,
    "01.3": number(math.sqrt(math.pi / 2), {
        0: "a length is never negative, so its mean is 0 only if every pixel is 0",
        1: "that is the noise of one part; the length is made of two",
        math.sqrt(2): "that is the root of the mean square; the plain mean is a little less",
        math.sqrt(math.pi / 2) / 12: "that is the brightness; how many sigma is it?",
    }, "take the mean of `air`, and divide it by sigma"),
    "02.1": number(unpadded_geometry(512, 3).output, {
        424: "the last up-convolution is followed by two convolutions",
        428: "pooling 121 pixels gives 60: the last one is dropped",
        324: "that is for four poolings",
        512: "nothing is padded here: each convolution takes two pixels away",
    }, "write down the size after every layer", within=1e-6),
    "02.2": tried(_opinions(PATCH.output),
        [(0, 0), (256, 256), (100, 256), (188, 323), (324, 256), (511, 93), (94, 418)], {
        "rows and columns are independent, so this is not a sum": lambda r, c: _answering(r) + _answering(c),
        "these are the patches of one row; how many rows of patches are there?": lambda r, c: _answering(c),
        "these are the patches of one column; how many columns of patches are there?": lambda r, c: _answering(r),
        "a patch of 324 pixels that starts at 0 ends at 323: you count one too many": _opinions(PATCH.output + 1),
        "a patch looks at 512 pixels, but answers for 324 of them": _opinions(PATCH.size),
    }, "how many of the three starts have the row in their 324 pixels, and how many have the column?"),
    "02.3": number(_agreeing_stride(), {
        80: "these patches agree, but 2 × 80 + 324 = 484 pixels do not cover 512",
        94: "that is the stride you began with; it is no multiple of 16",
        88: "these patches agree after three poolings; here there are four",
        112: "these patches agree and cover the image, but so do those of a smaller stride",
    }, "is it a multiple of 2⁴, and is twice the stride plus 324 at least 512?", within=1e-6),
    "03.1": chosen({"a"}, {
        "a": "which of the three is it?",
        "b": "the deepest level has the most parameters, but does it need the most memory?",
        "c": "a third of the slices saves a third of the memory; can you save more?",
    }),
    "03.2": chosen(set(range(10)) - _reached((1, 2, 4, 8)),
        dict.fromkeys(range(10), "rate r reaches r − 1, r and r + 1")),
    "03.3": tried(lambda slices, levels: pad_to_multiple(np.array(slices), [2**levels]),
        [([1, 2, 3, 4, 5], 2), (list(range(1, 41)), 4), (list(range(8)), 3)], {
        "zeros are no mirror image": _padded("constant"),
        "the border slice is mirrored too: it should appear twice": _padded("reflect"),
        "that is the border slice again and again, and no mirror image": _padded("edge"),
        "everything is added behind the last slice; each end should get half": _one_ended,
    }, "is the length a multiple of 2 ** levels, and are the slices in order, with their mirror image at both ends?"),
    "04.1": number(_odds_to_probability(0.9 / 0.1 / (0.9 / 0.1)), {
        0.9: "that is what the network says; the weights have raised it",
        0.1: "that is the share of femur, for a voxel about which nothing is known",
        1: "these are the odds; which probability has them?",
        _odds_to_probability(81): "the weights have multiplied the odds already: divide",
        0.81: "multiply odds, not probabilities",
    }, "divide the odds of 0.9 by the ratio of the weights; then go back from odds to a probability"),
    "04.2": number(EXEMPT + 1 + PATIENCE, {
        40: "nearly: which epoch sets the first best value?",
        31: "after the exempt epochs, how long does the rule wait?",
        10: "the first thirty epochs are exempt",
        30: "these are only the exempt epochs",
    }, "count the exempt epochs, then the one that sets the best value, then those without improvement", within=1e-6),
    "04.3": number(EXEMPT + PATIENCE, {
        41: "after 41 epochs without improvement it is stopped: it cannot wake up in the 42nd",
        39: "nearly: try one more",
        30: "these are exempt; after them the rule waits",
        10: "the first thirty epochs are exempt",
    }, "a network that sleeps for n epochs improves in epoch n + 1: is it still running then?", within=1e-6),
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
    within=0.007, why="1 % of a lot of background is much, beside 5 % of femur"),
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
        "multiply by how many are left; dividing by the rank controls the false discovery rate":
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
    why="the mean is what the two differ by always, the spread what they differ by this time"),
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
}  # fmt: skip
