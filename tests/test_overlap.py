import math

import numpy as np
import pytest
from conftest import draw

from femur_lib.scores.overlap import overlap

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


def test_scores_by_hand():
    assert overlap(TRUTH, PREDICTED) == {
        "dice": pytest.approx(6 / 12),
        "precision": pytest.approx(3 / 6),
        "recall": pytest.approx(3 / 6),
        "specificity": pytest.approx(15 / 18),
    }


def test_precision_counts_the_prediction_and_recall_the_truth():
    predicted = draw("""
        ......
        .#....
        .#....
        ......
    """)
    scores = overlap(TRUTH, predicted)
    assert (scores["precision"], scores["recall"]) == (1, pytest.approx(2 / 6))
    assert scores["dice"] == pytest.approx(4 / 8)
    assert scores["specificity"] == 1


def test_dice_is_the_harmonic_mean_of_precision_and_recall():
    rng = np.random.default_rng(0)
    scores = overlap(rng.random((9, 9, 9)) > 0.6, rng.random((9, 9, 9)) > 0.3)
    assert scores["precision"] != pytest.approx(scores["recall"])
    assert scores["dice"] == pytest.approx(2 / (1 / scores["precision"] + 1 / scores["recall"]))


def test_equal_masks_score_1():
    assert set(overlap(TRUTH, TRUTH).values()) == {1.0}


def test_an_empty_prediction_has_no_precision():
    scores = overlap(TRUTH, np.zeros_like(TRUTH))
    assert (scores["dice"], scores["recall"], scores["specificity"]) == (0, 0, 1)
    assert math.isnan(scores["precision"])


def test_an_empty_truth_has_no_recall():
    scores = overlap(np.zeros_like(TRUTH), PREDICTED)
    assert (scores["dice"], scores["precision"], scores["specificity"]) == (0, 0, 18 / 24)
    assert math.isnan(scores["recall"])


def test_two_empty_masks_have_no_dice():
    scores = overlap(np.zeros_like(TRUTH), np.zeros_like(TRUTH))
    assert math.isnan(scores["dice"])
    assert scores["specificity"] == 1


def test_two_full_masks_have_no_specificity():
    assert math.isnan(overlap(np.ones_like(TRUTH), np.ones_like(TRUTH))["specificity"])


def test_masks_of_bytes_count_as_masks():
    assert overlap(TRUTH.astype(np.uint8), PREDICTED.astype(np.uint8)) == overlap(TRUTH, PREDICTED)


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        overlap(TRUTH, TRUTH[1:])
