"""Scores that count voxels: Dice, precision, recall, specificity (paper, Eqs. 2 to 5)."""

import numpy as np


def overlap(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Dice, precision, recall and specificity of a predicted mask.

    A score whose denominator is zero is NaN: recall of an empty truth, precision of an empty prediction, Dice of
    two empty masks.

    Args:
        truth, predicted: boolean arrays of one shape.

    Returns:
        A dictionary with keys dice, precision, recall, specificity.
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
