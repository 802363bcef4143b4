"""Surfaces and distances drawn and counted by hand, and the same by brute force on random masks."""

import math

import numpy as np
import pytest
from conftest import draw
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from femur_lib.metrics.surface_distance import distances, surface, surface_distances


def voxel(*where) -> np.ndarray:
    mask = np.zeros((9, 9, 9), bool)
    mask[where] = True
    return mask


# --- surfaces


def test_the_surface_of_a_square_is_its_rim():
    square = draw("""
        .......
        .#####.
        .#####.
        .#####.
        .......
    """)[..., 0]
    rim = draw("""
        .......
        .#####.
        .#...#.
        .#####.
        .......
    """)[..., 0]
    np.testing.assert_array_equal(surface(square), rim)


@pytest.mark.parametrize("around", [0, 1], ids=["at the array's border", "in the middle"])
def test_the_surface_of_a_cube_is_all_of_it_except_its_centre(around):
    cube = surface(np.pad(np.ones((3, 3, 3), bool), around))
    assert cube.sum() == 26
    assert not cube[1 + around, 1 + around, 1 + around]


# --- distances by hand


def test_distances_by_hand():
    truth = draw("""
        ......
        .#....
        ......
    """)
    predicted = draw("""
        ......
        .#...#
        ......
    """)
    # From the prediction: 0 and 4 columns of 2 mm. From the truth: 0. Three voxels share 8 mm. The 95th percentile of
    # 0, 0 and 8 lies nine tenths of the way from the second to the third.
    assert distances(truth, predicted, (1, 2, 1)) == {
        "asd_mm": pytest.approx(8 / 3),
        "msd_mm": pytest.approx(8),
        "hd95_mm": pytest.approx(7.2),
        "nsd": pytest.approx(2 / 3),
    }


def test_the_share_within_a_tolerance_by_hand():
    truth = draw("""
        ......
        .#....
        .#....
        ......
    """)
    predicted = draw("""
        ......
        .##..#
        ......
        ......
    """)
    # From the truth, rows of 3 mm and columns of 0.8: 0 and 3. From the prediction: 0, 0.8 and 4 x 0.8.
    sorted_mm = [0, 0, 0.8, 3, 3.2]
    scores = distances(truth, predicted, (3, 0.8, 1))
    assert scores["asd_mm"] == pytest.approx(np.mean(sorted_mm))
    assert scores["hd95_mm"] == pytest.approx(3 + 0.8 * 0.2)  # four fifths of the way from the fourth to the fifth
    for tolerance_mm, share in ((0.5, 2 / 5), (1, 3 / 5), (3, 4 / 5)):
        assert distances(truth, predicted, (3, 0.8, 1), tolerance_mm)["nsd"] == pytest.approx(share)


@pytest.mark.parametrize("mm", [0.1, 0.2, 0.3125, 0.5])
def test_a_border_moved_by_exactly_the_tolerance_is_within_it_wherever_it_lies(mm):
    """In floating point 13 x 0.2 - 8 x 0.2 is a little more than 1."""
    for row in range(40):
        truth, predicted = np.zeros((50, 1, 1), bool), np.zeros((50, 1, 1), bool)
        truth[[0, row]], predicted[[0, row + 5]] = True, True  # the first keeps the box around both where it is
        assert distances(truth, predicted, (mm, 1, 1), tolerance_mm=5 * mm)["nsd"] == 1
        assert distances(truth, predicted, (mm, 1, 1), tolerance_mm=4.99 * mm)["nsd"] < 1


def test_a_speck_far_away_moves_the_maximum_but_hardly_the_95th_percentile():
    solid = np.pad(np.ones((6, 6, 6), bool), ((1, 30), (1, 1), (1, 1)))
    speck = solid.copy()
    speck[-1, 3, 3] = True
    scores = distances(solid, speck, (1, 1, 1))
    assert (scores["msd_mm"], scores["hd95_mm"]) == (30, 0)
    assert scores["nsd"] == pytest.approx(1 - 1 / (2 * (6**3 - 4**3) + 1))


def test_distances_go_both_ways():
    to_truth, to_predicted = surface_distances(voxel(4, 4, 4), voxel(4, [4, 8], 4), (1, 1, 1))
    np.testing.assert_array_equal(np.sort(to_truth), [0, 4])
    np.testing.assert_array_equal(to_predicted, [0])


# --- by brute force


def surface_by_hand(mask: np.ndarray) -> np.ndarray:
    """Indices of the voxels with a face neighbour that is not in the mask."""
    inside = {tuple(v) for v in np.argwhere(mask)}
    steps = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    return np.array([v for v in sorted(inside) if any(tuple(np.add(v, s)) not in inside for s in steps)])


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 7), st.integers(1, 5)),
    shares=st.tuples(*[st.sampled_from([0.02, 0.3, 0.7, 1])] * 2),
    spacing_mm=st.sampled_from([(1.0, 1.0, 1.0), (0.234, 0.234, 1.5), (3.0, 0.5, 1.25)]),
    seed=st.integers(0, 99),
)
def test_distances_agree_with_brute_force_both_ways_round_and_in_air(shape, shares, spacing_mm, seed):
    rng = np.random.default_rng(seed)
    truth, predicted = (rng.random(shape) < share for share in shares)
    truth[-1, 0, -1] = predicted[-1, 0, -1] = True
    between = cdist(surface_by_hand(truth) * np.array(spacing_mm), surface_by_hand(predicted) * np.array(spacing_mm))
    both = np.concatenate([between.min(0), between.min(1)])
    expected = {
        "asd_mm": both.mean(),
        "msd_mm": both.max(),
        "hd95_mm": np.percentile(both, 95),
        "nsd": (both <= 1 + 1e-9).mean(),
    }
    assert distances(truth, predicted, spacing_mm) == pytest.approx(expected)
    assert distances(predicted, truth, spacing_mm) == pytest.approx(expected)
    assert distances(np.pad(truth, 2), np.pad(predicted, 2), spacing_mm) == pytest.approx(expected)
    assert distances(truth.astype(np.uint8), predicted.astype(np.uint8), spacing_mm) == pytest.approx(expected)


# --- nothing to measure


@pytest.mark.parametrize(("truth", "predicted"), [(True, False), (False, True), (False, False)])
def test_an_empty_mask_has_no_distance(truth, predicted):
    scores = distances(voxel(4, 4, 4) & truth, voxel(4, 4, 4) & predicted, (1, 1, 1))
    assert list(scores) == ["asd_mm", "msd_mm", "hd95_mm", "nsd"]
    assert all(math.isnan(score) for score in scores.values())


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        surface_distances(voxel(1, 1, 1), voxel(1, 1, 1)[1:], (1, 1, 1))
