"""Dice, precision, recall and specificity by hand, and what they are where there is nothing to count."""

import numpy as np
import pytest
from conftest import draw

from femur_lib.metrics.overlap import overlap

TRUTH = draw("""
    ......
    .###..
    .###..
    ......
""")
PREDICTED = draw("""
    ......
    ..####
    ..#...
    ..#...
""")  # 3 hits, 3 too many, 3 missed, 15 rightly left out
PART = draw("""
    ......
    .#....
    .#....
    ......
""")  # precision counts the prediction, recall the truth
NOTHING, EVERYTHING = np.zeros_like(TRUTH), np.ones_like(TRUTH)
NAN = float("nan")


@pytest.mark.parametrize(
    ("truth", "predicted", "dice", "precision", "recall", "specificity"),
    [
        (TRUTH, PREDICTED, 6 / 12, 3 / 6, 3 / 6, 15 / 18),
        (TRUTH, PART, 4 / 8, 1, 2 / 6, 1),
        (TRUTH, TRUTH, 1, 1, 1, 1),
        (TRUTH, NOTHING, 0, NAN, 0, 1),
        (NOTHING, PREDICTED, 0, 0, NAN, 18 / 24),
        (NOTHING, NOTHING, NAN, NAN, NAN, 1),
        (EVERYTHING, EVERYTHING, 1, 1, 1, NAN),
    ],
    ids=["by hand", "a part", "equal", "empty prediction", "empty truth", "both empty", "both full"],
)
def test_scores_by_hand(truth, predicted, dice, precision, recall, specificity):
    expected = {"dice": dice, "precision": precision, "recall": recall, "specificity": specificity}
    assert overlap(truth, predicted) == pytest.approx(expected, nan_ok=True)
    assert overlap(truth.astype(np.uint8), predicted.astype(np.uint8)) == pytest.approx(expected, nan_ok=True)


def test_dice_is_the_harmonic_mean_of_precision_and_recall():
    rng = np.random.default_rng(0)
    scores = overlap(rng.random((9, 9, 9)) > 0.6, rng.random((9, 9, 9)) > 0.3)
    assert scores["precision"] != pytest.approx(scores["recall"])
    assert scores["dice"] == pytest.approx(2 / (1 / scores["precision"] + 1 / scores["recall"]))


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        overlap(TRUTH, TRUTH[1:])
