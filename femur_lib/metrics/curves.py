"""Precision and recall at every threshold, over many scans in constant memory, and the threshold to choose.

Probabilities are counted in bins that are fine where networks are sure: a bin is as wide as 1/1024 of the odds, from
2^-24 up, and the bins towards 1 mirror those towards 0. We read them off the floating-point numbers themselves, from
the exponent and the first ten bits of the fraction, so that each voxel's bin, and each threshold between two, is exact.
"""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.metrics import auc

from femur_lib._runtime.files import atomic_write

_DROPPED = 13  # bits of a float32's fraction that a bin does not look at
_LOWEST = int(np.float32(2.0**-24).view(np.int32)) >> _DROPPED
_HALF = (int(np.float32(0.5).view(np.int32)) >> _DROPPED) - _LOWEST  # the bin that holds 0.5 alone
BINS = 2 * _HALF + 1


def bins_of(probability: np.ndarray) -> np.ndarray:
    """The bin of each probability; bins go from sure background (0) over 0.5 to sure femur."""
    p = np.asarray(probability, np.float32)
    above = p > 0.5
    nearer = np.where(above, 1 - p, p)  # distance to 0 or to 1; exact
    from_end = np.maximum((nearer.view(np.int32) >> _DROPPED) - _LOWEST, 0)
    return np.where(above, BINS - 1 - from_end, from_end)


def _thresholds() -> np.ndarray:
    """For each bin a number below all its probabilities and those of the bins above it, and not below any other."""
    lower = ((np.arange(_HALF + 1, dtype=np.int32) + _LOWEST) << _DROPPED).view(np.float32)
    below = np.nextafter(lower, np.float32(-1))
    below[0] = -1  # zero belongs to the first bin
    # Bins above 0.5 begin where their mirror images end. Of two neighbouring float32, the lower one parts as well.
    exact = 1 - lower[1:][::-1].astype(np.float64)
    above = exact.astype(np.float32)
    return np.concatenate([below, np.where(above > exact, np.nextafter(above, np.float32(-1)), above)])


THRESHOLDS = _thresholds()


class ProbabilityHistogram:
    """Counts of femur and background voxels by probability; scans are added one after the other."""

    def __init__(self) -> None:
        self.femur = np.zeros(BINS, np.int64)
        self.background = np.zeros(BINS, np.int64)

    def add(self, truth: np.ndarray, probability: np.ndarray) -> None:
        """Count one scan: a boolean mask and its probabilities."""
        both = np.bincount(2 * bins_of(probability).ravel() + truth.ravel().astype(bool), minlength=2 * BINS)
        self.background += both[0::2]
        self.femur += both[1::2]

    def __add__(self, other: "ProbabilityHistogram") -> "ProbabilityHistogram":
        """The counts of both."""
        total = ProbabilityHistogram()
        total.femur, total.background = self.femur + other.femur, self.background + other.background
        return total

    def rates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Precision, recall and false positive rate of the mask above each of ``THRESHOLDS``, from the lowest up.

        Where there is no voxel above a threshold, precision counts as 1.
        """
        femur, background = np.cumsum(self.femur[::-1])[::-1], np.cumsum(self.background[::-1])[::-1]
        found = femur + background
        precision = np.divide(femur, found, out=np.ones(BINS), where=found > 0)
        return precision, femur / max(1, femur[0]), background / max(1, background[0])

    def precision_recall(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Precision, recall and the threshold of each point: voxels *above* it count as femur."""
        used = self.femur + self.background > 0
        precision, recall, _ = self.rates()
        return precision[used], recall[used], THRESHOLDS[used]

    def average_precision(self) -> float:
        """Area under the precision-recall curve, summed as steps."""
        precision, recall, _ = self.precision_recall()
        return float(-np.sum(np.diff(np.append(recall, 0)) * precision))

    def tied(self) -> float:
        """The largest share of femur voxels that have one probability (that lie in one bin); 0 without a femur.

        Between them the precision-recall curve has no point. A network whose last maps are all zero inside the femur
        ties nearly all of it: its average precision is then low, whatever its masks are like.
        """
        return float(self.femur.max() / max(1, self.femur.sum()))

    def roc(self) -> tuple[np.ndarray, np.ndarray, float]:
        """False positive rate, true positive rate, and the area under this curve."""
        _, true_positive, false_positive = (np.append(0, rate[::-1]) for rate in self.rates())
        return false_positive, true_positive, float(auc(false_positive, true_positive))

    def dice_at(self, threshold: float) -> float:
        """Dice of the mask of all voxels above a threshold; one within a bin counts as the end of that bin."""
        first = int(np.searchsorted(THRESHOLDS, threshold))
        found = int(self.femur[first:].sum())
        marked = found + int(self.background[first:].sum())
        return 2 * found / (marked + int(self.femur.sum()))

    def best_threshold(self) -> float:
        """The threshold whose precision and recall lie nearest to (1, 1) (paper, Results)."""
        return _nearest_to_perfect(*self.precision_recall())

    def lowest_threshold(self, within: float = 0.005) -> float:
        """The lowest threshold at which Dice is the best one, or so little less.

        For scans of a kind that the network has never seen: there it becomes unsure of a femur before it is wrong
        about it, so the threshold should ask for no more certainty than it has to.
        """
        dice = np.array([self.dice_at(t) for t in THRESHOLDS])
        return max(0.0, float(THRESHOLDS[np.flatnonzero(dice >= np.nanmax(dice) - within)[0]]))

    def youden_threshold(self) -> float:
        """The threshold at which true positive rate minus false positive rate is largest (Youden 1950)."""
        _, true_positive, false_positive = self.rates()
        used = np.flatnonzero(self.femur + self.background)[::-1]  # of thresholds that do equally well, the highest
        return float(THRESHOLDS[used[np.argmax((true_positive - false_positive)[used])]])


def write_histograms(path: str | os.PathLike, histograms: Mapping[str, ProbabilityHistogram]) -> None:
    """Write histograms by scan, whole or not at all."""
    counts = {name: [getattr(h, name) for h in histograms.values()] for name in ("femur", "background")}
    with atomic_write(path) as half_written, half_written.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, names=np.array(list(histograms)), **counts)


def read_histograms(path: str | os.PathLike) -> dict[str, ProbabilityHistogram]:
    """What :func:`write_histograms` wrote."""
    histograms = {}
    with np.load(path) as kept:
        for name, femur, background in zip(kept["names"], kept["femur"], kept["background"], strict=True):
            histograms[str(name)] = histogram = ProbabilityHistogram()
            histogram.femur, histogram.background = femur, background
    return histograms


def mean_rates(histograms: Sequence[ProbabilityHistogram]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean over subjects of precision, recall and false positive rate at each of ``THRESHOLDS``."""
    total = np.zeros((3, BINS))
    for histogram in histograms:
        total += histogram.rates()
    precision, recall, false_positive = total / len(histograms)
    return precision, recall, false_positive


def mean_curve_threshold(histograms: Sequence[ProbabilityHistogram]) -> float:
    """The threshold of the mean precision-recall curve's point nearest to (1, 1), as the paper chooses it (Results)."""
    precision, recall, _ = mean_rates(histograms)
    return _nearest_to_perfect(precision, recall, THRESHOLDS)


def _nearest_to_perfect(precision: np.ndarray, recall: np.ndarray, thresholds: np.ndarray) -> float:
    return float(thresholds[int(np.argmin((1 - precision) ** 2 + (1 - recall) ** 2))])


def thresholds_without(histograms: Mapping[str, ProbabilityHistogram], fold_of: Mapping[str, int]) -> dict[int, float]:
    """For each fold the threshold that the subjects of the *other* folds choose.

    The paper chooses one threshold on the very subjects that it then scores; this is the same rule without them.

    Args:
        histograms: by subject, each from the network that was not trained on it.
        fold_of: by subject, the fold in which it was held out.
    """
    chosen = {}
    for fold in sorted(set(fold_of.values())):
        others = [h for subject, h in histograms.items() if fold_of[subject] != fold]
        if not others:
            raise ValueError("thresholds without the scored fold need at least two folds")
        chosen[fold] = mean_curve_threshold(others)
    return chosen
