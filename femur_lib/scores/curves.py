"""Precision and recall at every threshold, over many scans in constant memory, and the threshold to choose.

Probabilities are counted in bins that are fine where networks are sure: as wide as 1/1024 of the odds, from 2^-24 up,
and as much again towards 1. The bins are read off the floating-point numbers themselves, by their exponent and the
first ten bits of their fraction, so that each voxel's bin, and each threshold between two bins, is exact.
"""

import numpy as np
from sklearn.metrics import auc, precision_recall_curve, roc_curve

_DROPPED = 13  # bits of a float32's fraction that a bin does not look at
_LOWEST = int(np.float32(2.0**-24).view(np.int32)) >> _DROPPED
_HALF = (int(np.float32(0.5).view(np.int32)) >> _DROPPED) - _LOWEST  # the bin that holds 0.5 alone
BINS = 2 * _HALF + 1


def bins_of(probability: np.ndarray) -> np.ndarray:
    """The bin of each probability; bins go from sure background (0) over 0.5 to sure femur."""
    p = np.asarray(probability, np.float32)
    above = p > 0.5
    nearer = np.where(above, 1 - p, p)  # to 0 or to 1; exact
    from_end = np.maximum((nearer.view(np.int32) >> _DROPPED) - _LOWEST, 0)
    return np.where(above, BINS - 1 - from_end, from_end)


def _thresholds() -> np.ndarray:
    """For each bin the number that all its probabilities, and those of the bins above it, are higher than."""
    lower = ((np.arange(_HALF + 1, dtype=np.int32) + _LOWEST) << _DROPPED).view(np.float32)
    below = np.nextafter(lower, np.float32(-1))
    below[0] = -1  # zero has a place in the first bin
    # Bins above 0.5 begin where the mirrored ones end. Between two float32 the lower one parts the same numbers.
    exact = 1 - lower[1:][::-1].astype(np.float64)
    above = exact.astype(np.float32)
    return np.concatenate([below, np.where(above > exact, np.nextafter(above, np.float32(-1)), above)])


THRESHOLDS = _thresholds()


class ProbabilityHistogram:
    """Counts of femur and background voxels by probability; add one scan after the other."""

    def __init__(self) -> None:
        self.femur = np.zeros(BINS, np.int64)
        self.background = np.zeros(BINS, np.int64)

    def add(self, truth: np.ndarray, probability: np.ndarray) -> None:
        """Count one scan: a boolean mask and its probabilities."""
        both = np.bincount(2 * bins_of(probability).ravel() + truth.ravel().astype(bool), minlength=2 * BINS)
        self.background += both[0::2]
        self.femur += both[1::2]

    def __add__(self, other: "ProbabilityHistogram") -> "ProbabilityHistogram":
        """Both together."""
        total = ProbabilityHistogram()
        total.femur, total.background = self.femur + other.femur, self.background + other.background
        return total

    def _samples(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What scikit-learn's curves take: label, score (the bin's number) and weight of each non-empty bin."""
        labels = np.repeat([1, 0], BINS)
        weights = np.concatenate([self.femur, self.background]).astype(float)
        used = weights > 0
        return labels[used], np.tile(np.arange(BINS), 2)[used], weights[used]

    def precision_recall(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Precision, recall and the threshold of each point: voxels *higher than* it count as femur."""
        labels, score, weights = self._samples()
        precision, recall, bins = precision_recall_curve(labels, score, sample_weight=weights)
        return precision[:-1], recall[:-1], THRESHOLDS[bins.astype(int)]

    def average_precision(self) -> float:
        """Area under the precision-recall curve, summed as steps."""
        precision, recall, _ = self.precision_recall()
        return float(-np.sum(np.diff(np.append(recall, 0)) * precision))

    def tied(self) -> float:
        """The largest share of femur voxels that have one probability (that lie in one bin); 0 without a femur.

        Between them the precision-recall curve has no point. A network whose last maps are all zero inside the femur
        ties nearly all of it: its average precision is low, whatever its masks are like.
        """
        return float(self.femur.max() / max(1, self.femur.sum()))

    def roc(self) -> tuple[np.ndarray, np.ndarray, float]:
        """False positive rate, true positive rate and the area under that curve."""
        false_positive, true_positive, _ = self._roc()
        return false_positive, true_positive, float(auc(false_positive, true_positive))

    def _roc(self):
        labels, score, weights = self._samples()
        return roc_curve(labels, score, sample_weight=weights)

    def best_threshold(self) -> float:
        """The threshold whose precision and recall lie nearest to (1, 1) (paper, Results)."""
        precision, recall, thresholds = self.precision_recall()
        return _nearest_to_perfect(precision, recall, thresholds)

    def youden_threshold(self) -> float:
        """The threshold at which true less false positive rate is largest (Youden 1950)."""
        false_positive, true_positive, bins = self._roc()
        best = int(np.argmax(true_positive[1:] - false_positive[1:])) + 1  # the first point is at no threshold
        return float(THRESHOLDS[int(bins[best])])


def mean_precision_recall(histograms: list[ProbabilityHistogram]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean over subjects of precision and recall at each threshold (paper, Results: the mean curve).

    Where a subject has no voxel above a threshold, its precision there counts as 1.

    Returns:
        Precision, recall and thresholds, from the lowest threshold to the highest.
    """
    precision, recall = np.zeros(BINS), np.zeros(BINS)
    for histogram in histograms:
        femur = np.cumsum(histogram.femur[::-1])[::-1]
        found = femur + np.cumsum(histogram.background[::-1])[::-1]
        precision += np.divide(femur, found, out=np.ones(BINS), where=found > 0)
        recall += femur / max(1, histogram.femur.sum())
    return precision / len(histograms), recall / len(histograms), THRESHOLDS


def mean_curve_threshold(histograms: list[ProbabilityHistogram]) -> float:
    """The threshold of the mean curve's point nearest to (1, 1), as the paper chooses it."""
    return _nearest_to_perfect(*mean_precision_recall(histograms))


def _nearest_to_perfect(precision: np.ndarray, recall: np.ndarray, thresholds: np.ndarray) -> float:
    return float(thresholds[int(np.argmin((1 - precision) ** 2 + (1 - recall) ** 2))])


def thresholds_without(histograms: dict[str, ProbabilityHistogram], fold_of: dict[str, int]) -> dict[int, float]:
    """For each fold the threshold that the subjects of the *other* folds choose.

    The paper chooses one threshold on the very subjects that it then scores; this is the same rule without them.

    Args:
        histograms: by subject, each from the network that was not trained on it.
        fold_of: the fold in which each subject was held out.
    """
    chosen = {}
    for fold in sorted(set(fold_of.values())):
        others = [h for subject, h in histograms.items() if fold_of[subject] != fold]
        if not others:
            raise ValueError("thresholds without the scored fold need at least two folds")
        chosen[fold] = mean_curve_threshold(others)
    return chosen
