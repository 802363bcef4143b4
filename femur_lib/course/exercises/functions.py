"""The functions that notebooks 05 to 10 ask a learner to write, and the same with usual mistakes."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from femur_lib.course.exercises.judges import NOT_YET, expected, missing, right_because
from femur_lib.metrics.overlap import overlap

# 05.1: two pairs of masks in which no two of the four counts are equal.
_FIRST = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0], bool)
MASKS = [(_FIRST, np.roll(_FIRST, 1)), (_FIRST, np.array([0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], bool))]


def scores(truth: np.ndarray, predicted: np.ndarray) -> tuple[float, ...]:
    """Dice, precision, recall and specificity."""
    return tuple(overlap(truth, predicted).values())


def scores_with(place: int, mistaken: Callable) -> Callable:
    """The four scores, one of them computed by another formula, of TP, FP, FN and TN."""

    def with_mistake(t, p):
        found = list(scores(t, p))
        found[place] = mistaken((t & p).sum(), (~t & p).sum(), (t & ~p).sum(), (~t & ~p).sum())
        return found

    return with_mistake


# 05.3: pieces that touch at a corner alone, and a smaller piece that comes first.
_BOX = np.zeros((4, 5, 6), bool)
_BOX[0, 0, :2] = _BOX[2:, 2:4, 1:3] = _BOX[1, 4, 3] = True
PIECES = [(_BOX,), (_BOX[::-1, ::-1].copy(),)]


def piece(choose: Callable, connectivity: Any = 3) -> Callable:
    """A piece of a mask, chosen by a function of the sizes of all labels, the background's first."""

    def kept(mask):
        labels, _ = ndimage.label(mask, ndimage.generate_binary_structure(3, connectivity))
        return labels == choose(np.bincount(labels.ravel()))

    return kept


# 06.1 and 06.2
DICES = [([0.90, 0.95, 0.93, 0.96],), ([0.81, 0.92, 0.88, 0.95, 0.97, 0.93, 0.94, 0.90, 0.96],)]
P_VALUES = [([0.01, 0.04, 0.03, 0.2],), ([0.6, 0.5, 0.001, 0.02],), ([0.03, 0.012, 0.0131],)]


def half_width(values: ArrayLike, of_all: bool = False, times: float = 1.96, root: bool = True) -> float:
    """How far the 95 % interval of a mean reaches to each side; ``of_all`` divides the variance by n."""
    x = np.asarray(values, float)
    return times * x.std(ddof=0 if of_all else 1) / (np.sqrt(len(x)) if root else 1)


def holm(p: ArrayLike, monotone: bool = True, factors: str = "n - k", limit: bool = True) -> np.ndarray:
    """Holm's corrected p-values, in the order given."""
    x = np.asarray(p, float)
    n, order = len(x), x.argsort()
    times = {"n - k": np.arange(n, 0, -1), "n": np.full(n, n), "n / k": n / np.arange(1, n + 1)}[factors]
    steps = x[order] * times
    steps = np.maximum.accumulate(steps) if monotone else steps
    corrected = np.empty(n)
    corrected[order] = np.minimum(steps, 1) if limit else steps
    return corrected


def holm_sorted(p: ArrayLike) -> np.ndarray:
    """Corrected, but left in the order of size."""
    return np.sort(holm(p))


# 07.2: an oblique grid, whose affine has a negative determinant, and a plain one.
_TURN = np.array([[0.8, 0.6, 0, 0], [0.6, -0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
GRIDS = [
    (np.arange(60).reshape(3, 4, 5) % 2 == 0, _TURN @ np.diag([5.0, 4, 8, 1])),
    (np.ones((10, 10, 10), bool), np.diag([1.0, 2, 3, 1])),
]


def cm3(mask: np.ndarray, affine: np.ndarray) -> float:
    """A mask's volume: voxels times the determinant of the affine's three steps."""
    return abs(np.linalg.det(affine[:3, :3])) * mask.sum() / 1000


def cm3_of(box: Callable, per_cm3: float = 1000) -> Callable:
    """The volume, with another size of a voxel or another unit."""
    return lambda mask, affine: box(affine) * mask.sum() / per_cm3


# 07.3
MEASURED = [([46.2, 44.1, 47.9, 45.0], [45.8, 44.9, 46.5, 44.2]), ([125.0, 131, 128], [126.0, 127, 133])]


def limits(first: ArrayLike, second: ArrayLike) -> tuple[float, float]:
    """Bland's and Altman's limits of agreement of first minus second."""
    difference = np.subtract(first, second)
    mean, sd = difference.mean(), difference.std(ddof=1)
    return mean - 1.96 * sd, mean + 1.96 * sd


def limits_by(spread: Callable, centre: Callable = np.mean) -> Callable:
    """Limits with another spread or centre, each of them a function of the differences."""

    def mistaken(first, second):
        d = np.subtract(first, second)
        return centre(d) - spread(d), centre(d) + spread(d)

    return mistaken


# 08.1: hospital numbers with few digits, so that trying them all takes no time.
def sha256(text: str) -> str:
    """SHA-256 of a text, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


HASHES = [(sha256(number), len(number)) for number in ("471", "0042", "999", "000")]


def number_behind(digest: str, digits: int, zeros: bool = True, before_last: int = 0) -> str:
    """The number with this many digits that has this hash, or an empty text."""
    tries = (f"{k:0{digits}d}" if zeros else str(k) for k in range(10**digits - before_last))
    return next((text for text in tries if sha256(text) == digest), "")


# 09.3: hips of women, some with both, in no order.
HIPS = [
    (["eva-L", "ann-R", "ida-L", "eva-R", "ute-R", "ann-L", "ida-R", "lea-R"], 2),
    ([f"{name}-{side}" for side in "LR" for name in ("a", "b", "c", "d", "e", "f")], 3),
]


def woman(hip: str) -> str:
    """Whose hip it is."""
    return hip.rsplit("-", 1)[0]


def dealt(deal: Any) -> str:
    """The judge of a function that deals hips to folds: every woman to one fold, and about as many women to each."""
    if not callable(deal):
        return expected("a function was", deal)
    for hips, n in HIPS:
        got = deal(list(hips), n)
        if missing(got):
            return NOT_YET
        if not isinstance(got, (list, tuple, np.ndarray)) or len(got) != len(hips):
            return f"return one number for each hip, in the order of the hips: {len(hips)} of them"
        if not all(isinstance(f, (int, np.integer)) and not isinstance(f, bool) for f in got):
            return "a fold is a whole number"
        if not set(got) <= set(range(n)):
            return f"folds count from 0: with {n} of them the last is {n - 1}"
        if set(got) != set(range(n)):
            return f"fold {min(set(range(n)) - set(got))} is empty: nobody is held out there"
        folds_of = {w: {f for h, f in zip(hips, got, strict=True) if woman(h) == w} for w in map(woman, hips)}
        if split := sorted(w for w, folds in folds_of.items() if len(folds) > 1):
            return f"{split[0]} is split: one of her hips would be scored by a network that learned from the other"
        sizes = np.bincount([min(folds) for folds in folds_of.values()], minlength=n)
        if np.ptp(sizes) > 1:
            return f"the folds have {', '.join(map(str, sizes))} women; deal them out evenly"
    return right_because("whoever deals women, not hips, cannot split a pair")


# 10.1: shares of three kinds of tissue, some of them in one point, and how bright each kind is.
_SHARES = np.array([[[0.75, 0.2], [0, 1]], [[0.25, 0.3], [0.5, 0]], [[0, 0.5], [0.25, 0]]])
SHARES = [(_SHARES, np.array([0.4, 1.0, 0.1])), (_SHARES[::-1, :, :1], np.array([0.9, 0.2, 0.7]))]


def mixed(shares: np.ndarray, brightness: np.ndarray) -> np.ndarray:
    """A picture: the sum over kinds of tissue of brightness times share."""
    return np.tensordot(brightness, shares, axes=1)


# 10.2: thresholds in no order, the Dice of each, and how far below the best one is good enough.
RULES = [
    (np.array([0.5, 0.2, 0.8, 0.3, 0.6]), np.array([0.900, 0.880, 0.903, 0.897, 0.905]), 0.01),
    (np.array([0.7, 0.4, 0.1, 0.9]), np.array([0.5, 0.485, 0.3, 0.47]), 0.02),
]


def lowest(thresholds: np.ndarray, dice: np.ndarray, within: float) -> float:
    """The lowest threshold whose Dice is good enough."""
    return thresholds[dice >= dice.max() - within].min()
