"""The arithmetic of benchmarks/agreement.py, on masks made by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def agreement(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import agreement

    return agreement


def test_a_mask_one_pixel_wider_and_one_slice_shorter(agreement):
    label = np.zeros((12, 12, 8), bool)
    label[2:8, 2:8, 1:7] = True
    wider = np.zeros_like(label)
    wider[2:8, 2:9, 1:6] = True
    scores = agreement.compare(label, wider, label, (0.9, 0.9, 5.2))
    assert scores["dice"] == pytest.approx(2 * 6 * 6 * 5 / (6 * 6 * 6 + 6 * 7 * 5))
    # Of six slices the first and the last do not count, and neither does what is missing in the last.
    assert scores["dice_without_ends"] == pytest.approx(2 * 36 / (36 + 42))
    # Beyond a pixel are the label's last slice and, of the wider mask's last slice, the 2 x 2 pixels in the middle.
    surfaces = (4 * 20 + 2 * 36) + (3 * 22 + 2 * 42)
    assert scores["surface_dice"] == pytest.approx(1 - (36 + 4) / surfaces)


def test_two_pixels_apart_is_beyond_the_tolerance(agreement):
    one, other = np.zeros((2, 9, 9, 3), bool)
    one[4, 2, :] = other[4, 4, :] = True
    assert agreement.compare(one, other, one, (1.0, 1.0, 5.0))["surface_dice"] == 0
    assert agreement.compare(one, one, one, (1.0, 1.0, 5.0))["surface_dice"] == 1


def test_the_majority_is_more_than_half(agreement):
    masks = [np.array(m, bool) for m in ([1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 0], [1, 0, 0, 0])]
    assert agreement.majority(masks).tolist() == [True, False, False, False]
    assert agreement.majority(masks[:3]).tolist() == [True, True, True, False]


def test_means_and_intervals_are_over_patients(agreement):
    rows = [("a", "aL", 0.9), ("a", "aR", 0.7), ("b", "bL", 1.0)]
    pairs = pd.DataFrame(
        [
            {"patient": p, "participant_id": i, "first": "labels", "second": "x", **dict.fromkeys(agreement.SCORES, v)}
            for p, i, v in rows
        ]
    )
    (row,) = agreement.agreement(pairs).to_dict("records")
    assert row["dice"] == pytest.approx(0.9)  # (0.8 + 1.0) / 2, not the mean of three hips
    assert (row["patients"], row["hips"]) == (2, 3)
    assert (row["dice_low"], row["dice_high"]) == pytest.approx((0.8, 1.0))
    volumes = pd.DataFrame({"patient": [*"aab"], "participant_id": ["aL", "aR", "bL"], "arm": "x"})
    volumes["volume_ratio"] = [1.2, 1.0, 0.9]
    found = agreement.by_patient(pairs, volumes).set_index("patient")
    assert found.volume_ratio.to_dict() == pytest.approx({"a": 1.1, "b": 0.9})
