"""Metrics that count voxels: Dice, precision, recall, specificity (paper, Eqs. 2 to 5)."""

import numpy as np


def overlap(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Dice, precision, recall and specificity of a predicted mask.

    What would be divided by zero is NaN: the recall of an empty truth, the precision of an empty prediction, the Dice
    of two empty masks.

    >>> overlap(np.array([1, 1, 1, 0]), np.array([0, 1, 1, 1]))["dice"]
    0.6666666666666666

    Args:
        truth, predicted: boolean arrays of one shape.

    Returns:
        A dictionary with the keys dice, precision, recall, specificity.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth has shape {truth.shape}, prediction {predicted.shape}")
    truth, predicted = truth.astype(bool), predicted.astype(bool)
    tp = int(np.count_nonzero(truth & predicted))
    fp = int(np.count_nonzero(predicted)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    tn = truth.size - tp - fp - fn
    return {
        "dice": _ratio(2 * tp, 2 * tp + fp + fn),  # Eq. 2
        "precision": _ratio(tp, tp + fp),  # Eq. 5
        "recall": _ratio(tp, tp + fn),  # Eq. 3
        "specificity": _ratio(tn, tn + fp),  # Eq. 4
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
