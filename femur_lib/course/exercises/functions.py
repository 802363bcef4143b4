"""The functions that notebooks ask a learner to write, and the same with usual mistakes; in the notebooks' order."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.spatial.transform import Rotation

from femur_lib._runtime.backend import keras
from femur_lib.architecture import Architecture, cost
from femur_lib.course.exercises.judges import NOT_YET, expected, missing, right_because
from femur_lib.metrics.overlap import overlap


def with_mistake(function: Callable, **mistake: Any) -> Callable:
    """A function of this file, with one of its mistakes."""
    return lambda *arguments: function(*arguments, **mistake)


# 01.1: an affine of which two axes have changed places, one that is turned, and a plain one.
_TURNED = np.eye(4)
_TURNED[:3, :3] = Rotation.from_euler("xyz", [20, -10, 35], degrees=True).as_matrix() @ np.diag([0.5, 0.7, 3.0])
AFFINES = [
    (np.array([[0, 0, 1.5, -40], [-0.25, 0, 0, 60], [0, -0.5, 0, 20], [0, 0, 0, 1]]),),
    (_TURNED,),
    (np.diag([-0.25, 0.5, 1.5, 1]),),
]


def spacing(affine: np.ndarray, axis: int = 0, root: bool = True) -> np.ndarray:
    """The length of each column of an affine's first three, or of its rows."""
    squares = (affine[:3, :3] ** 2).sum(axis)
    return np.sqrt(squares) if root else squares


SIZES = [(572, 4), (512, 4), (512, 3), (188, 2), (203, 2)]  # 02.1: pixels, poolings


def output_size(n: int, levels: int, way: int = 4, centre: int = 4, last: int = 4, odd: int = 0) -> int:
    """The output of an unpadded U-net, each level of which loses ``way`` pixels; ``odd`` 1 keeps a last odd pixel."""
    for _ in range(levels):
        n = (n - way + odd) // 2
    n -= centre
    for level in range(levels):
        n = 2 * n - (last if level == levels - 1 else way)
    return n


LINES = [(np.array([1, 2, 3, 4, 5]), 2, 3), (np.array([3, 1, 4, 1, 5, 9]), 1, 2), (np.arange(8), 3, 1)]  # 02.2


def mirrored(mode: Any) -> Callable:
    """The mirror of notebook 02, or a padding of another kind."""
    return lambda line, before, after: np.pad(line, (before, after), mode=mode)


def unturned(line, before, after):
    """The right pixels, but in the order in which they stand in the line."""
    return np.concatenate([line[1 : before + 1], line, line[-after - 1 : -1]])


_numbers = np.random.default_rng(0)
VOLUMES = [
    (_numbers.integers(-4, 5, shape).astype(float), _numbers.integers(-3, 4, kernel).astype(float))
    for shape, kernel in (((4, 5, 3), (3, 3, 3)), ((5, 4, 4), (3, 1, 2)))
]  # 03.1


def convolved(volume: np.ndarray, kernel: np.ndarray, short: int = 0, what: Callable = np.sum) -> np.ndarray:
    """A kernel slid over a volume; ``short`` leaves out the last places along each axis."""
    windows = np.lib.stride_tricks.sliding_window_view(volume, kernel.shape)
    ends = tuple(slice(None, n - short) for n in windows.shape[:3])
    return what(windows[ends] * kernel, axis=(3, 4, 5))


def convolved_same(volume: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The same with zeros around the volume, so that its size stays."""
    return convolved(np.pad(volume, [(n // 2, n - 1 - n // 2) for n in kernel.shape]), kernel)


def parameters(features: int, levels: int, joined: bool = True, convolutions: int = 2, up: int = 2) -> int:
    """The parameters of the padded 3D U-net of notebook 03, whose decoder joins maps, convolves, and widens.

    >>> parameters(4, 3) == cost(Architecture(dimensions=3, features=4, levels=3), (8, 8, 8)).weights
    True

    Args:
        features: maps at the first level.
        levels: poolings.
        joined: whether the copied maps are put beside those from below.
        convolutions: how many follow in each level.
        up: width of the up-convolution; 0 doubles the size without any weights.
    """
    f = [features * 2**level for level in range(levels + 1)]
    layers = [(27, 1, f[0]), (27, f[0], f[0])]
    for level in range(1, levels + 1):
        layers += [(27, f[level - 1], f[level]), (27, f[level], f[level])]
    for level in range(levels):
        below = f[level] if up else f[level + 1]
        layers += [(up**3, f[level + 1], f[level])] * bool(up)
        inputs = [below + f[level] * joined, *[f[level]] * (convolutions - 1)]
        layers += [(27, maps, f[level]) for maps in inputs]
    layers.append((1, f[0], 2))
    return sum((kernel * maps + 1) * out for kernel, maps, out in layers)


SMALL = (2, 2)  # 03.2: features and levels of the network that is built
BUILT_WRONG = {
    parameters(*SMALL, joined=False): "the copied maps are missing: concatenate them with those that come from below",
    parameters(*SMALL, convolutions=1): "two convolutions follow in each level, not one",
    parameters(*SMALL, up=3): "the kernel of an up-convolution is 2 wide, and so is its step",
    parameters(*SMALL, up=0): "`UpSampling3D` has no weights: take `Conv3DTranspose`, which also halves the maps",
}


def built(build: Any) -> str:
    """What is said about a U-net that a learner built in Keras."""
    if not callable(build):
        return expected("a function was", build)
    model = build(*SMALL)
    if missing(model):
        return NOT_YET
    if not hasattr(model, "count_params"):
        return expected("a `keras.Model` was", model)
    maps = model.output_shape[-1]
    if maps != 2:
        return f"{maps} maps come out; two were expected, the probabilities of background and of femur"
    answer = model.compute_output_spec(keras.KerasTensor((1, 8, 8, 8, 1)))
    if tuple(answer.shape) != (1, 8, 8, 8, 2):
        wide = " × ".join(map(str, answer.shape[1:-1]))
        return f"8 × 8 × 8 voxels go in, and {wide} come out: each level on the way up doubles the size"
    found, wanted = model.count_params(), cost(Architecture(3, *SMALL), (8, 8, 8)).weights
    if found != wanted:
        otherwise = "is each level up an up-convolution, the joined maps, and two convolutions?"
        return f"{found} parameters, and the library's has {wanted}: {BUILT_WRONG.get(found, otherwise)}"
    settings = [str(layer.get_config()).lower() for layer in model.layers]
    if "softmax" not in settings[-1]:
        return "the two probabilities of a voxel must add up to 1: the last layer needs a softmax"
    if sum("relu" in said or "re_lu" in said for said in settings) < 5 * SMALL[1] + 2:
        return "a ReLU follows each convolution and each up-convolution; without it two of them are no more than one"
    return right_because("it has the library's shapes and the library's number of parameters")


_truth = np.array([1, 0, 0, 1, 0, 0, 0, 0])
CHARGED = [
    (_truth, np.array([0.9, 0.2, 0.1, 0.3, 0.6, 0.05, 0.4, 0.01]), 1.25, 4.0),
    (_truth[::-1], np.linspace(0.1, 0.8, 8), 1.0, 3.0),
]  # 04.1


def eq_1(
    truth, p, w_background, w_femur, of: Callable = np.mean, log: Callable = np.log, other: bool = True, sign: int = -1
) -> float:
    """The loss of Eq. 1, or with a mistake: another mean, another logarithm, p for both classes, another sign."""
    of_truth = np.where(truth == 1, p, 1 - p if other else p)
    return of(np.where(truth == 1, w_femur, w_background) * sign * log(of_truth))


def eq_1_shared(truth, p, w_background, w_femur) -> float:
    """Divided by the sum of the weights instead of the number of voxels."""
    return eq_1(truth, p, w_background, w_femur, np.sum) / np.where(truth == 1, w_femur, w_background).sum()


_RISES = [0.5, 0.9, 0.6, 0.6, 0.7, 0.70005, 0.7001, 0.72, 0.71, 0.7, 0.7, 0.7, 0.7, 0.8, 0.8]
STOPS_AT = [
    (_RISES, 2, 3, 1e-3),
    (_RISES, 0, 2, 1e-3),
    (_RISES, 5, 4, 1e-3),
    (_RISES, 3, 3, 0.0),
    ([0.5, 0.7, 0.7004, 0.7008, 0.7009, 0.9], 0, 2, 1e-3),
    ([0.9] * 60,),
    (list(np.linspace(0.5, 0.9, 50)),),
    ([0.9 - 0.001 * k for k in range(60)],),
]  # 04.3


def stopped(
    values: Sequence[float], first_epochs: int = 30, patience: int = 10, min_delta: float = 1e-4, *,
    exempt: str = "", late: int = 0, reset: bool = True, sign: int = 1, index: bool = False,
) -> int:  # fmt: skip
    """After how many epochs the paper's rule stops.

    The mistakes: ``exempt`` "waits" counts the exempt epochs among those without improvement, "compares" takes a best
    value from them; ``late`` is more patient; ``reset`` False goes on counting; ``sign`` -1 takes small for good.
    """
    best, waited = -np.inf, 0
    for epoch, value in enumerate(values):
        if epoch < first_epochs:
            best = max(best, sign * value) if exempt == "compares" else best
            waited += exempt == "waits"
            continue
        waited += 1
        if sign * value - min_delta > best:
            best, waited = sign * value, 0 if reset else waited
        elif waited >= patience + late:
            return epoch + (not index)
    return len(values)


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
