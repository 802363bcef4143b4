"""What a network sees of a scan, by hand and on random sizes, and that probabilities find their way back."""

import numpy as np
import pytest
from conftest import affine_of, centre_of
from hypothesis import given
from hypothesis import strategies as st

from femur_lib._runtime.errors import DataError
from femur_lib.preprocessing import (
    Grid,
    central_slices,
    from_grid,
    grid_spacing_mm,
    mask_to_grid,
    pad_to_multiple,
    padded_size,
    reference_slices,
    resample_in_plane,
    resample_slices,
    three_slices,
    to_grid,
    unpad,
    with_slices_of,
    z_score,
)
from femur_lib.volumes import Volume


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape).astype(np.float32)


# --- slices


@given(available=st.integers(1, 80), wanted=st.integers(1, 80))
def test_the_central_slices_are_as_many_as_asked_and_in_the_middle(available, wanted):
    kept = central_slices(available, wanted)
    before, after = kept.start, available - kept.stop
    assert kept.stop - kept.start == min(available, wanted)
    assert 0 <= before <= after <= before + 1


@pytest.mark.parametrize(("k", "expected"), [(0, [0, 0, 1]), (2, [1, 2, 3]), (4, [3, 4, 4])])
def test_three_slices_repeat_the_first_and_the_last(k, expected):
    stack = np.broadcast_to(np.arange(5), (2, 3, 5))
    np.testing.assert_array_equal(three_slices(stack, k)[0, 0], expected)


def test_a_single_slice_is_its_own_neighbour():
    assert three_slices(np.ones((2, 3, 1)), 0).shape == (2, 3, 3)


# --- resampling


@pytest.mark.parametrize("axes", ["ILP", "AIR", "SPL"])
@pytest.mark.parametrize(("slice_mm", "slices"), [(1.0, 10), (5.2, 52), (13.0, 130)])
def test_slices_of_another_thickness_show_the_same_place_in_the_patient(axes, slice_mm, slices):
    shape, spacing = (
        [dict(zip("ILPSRA", 2 * v, strict=True))[a] for a in axes] for v in ((7, 9, 50), (2, 3, slice_mm))
    )
    scan = Volume(np.zeros(shape, np.float32), affine_of(axes, spacing, (4, -3, 5), (10, 20, 30)))
    where = tuple({7: 2, 9: 6, 50: 20}[n] for n in shape)
    scan.array[where] = 1
    seen = with_slices_of(scan, 5.0)
    assert seen.axes == ("I", "L", "P")
    assert seen.array.shape == (7, 9, slices)
    np.testing.assert_allclose(centre_of(seen), centre_of(scan), atol=0.3)


def test_thinner_slices_are_averaged_into_thicker_ones_and_not_skipped():
    stack = np.zeros((3, 3, 50), np.float32)
    stack[..., ::5] = 5
    seen = with_slices_of(Volume(stack, affine_of("ILP", (1, 1, 1))), 5.0)
    assert seen.array.shape == (3, 3, 10)
    np.testing.assert_allclose(seen.array[..., 2:-2], 1, atol=0.4)


def test_probabilities_come_back_to_as_many_slices_as_the_scan_has():
    p = np.broadcast_to(np.linspace(0, 1, 10, dtype=np.float32), (2, 2, 10))
    back = resample_slices(resample_slices(p, 30), 10)
    np.testing.assert_allclose(back, p, atol=0.05)


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("columns", [12, 15, 24, 36, 48])
def test_resampling_keeps_the_extent_so_a_ramp_over_it_stays_a_ramp(columns, order):
    def ramp(n):  # 0 at the image's left edge, 1 at its right edge, as seen by the centre of each pixel
        return np.broadcast_to(((np.arange(n) + 0.5) / n)[None, :, None], (20, n, 2)).astype(np.float32)

    new = resample_in_plane(ramp(24), 20, columns, order)
    inside = slice(columns // 4, -(columns // 4))  # away from the edges, where a spline has to guess
    np.testing.assert_allclose(new[:, inside], ramp(columns)[:, inside], atol=2e-3 if order == 3 else 1e-6)


def test_rows_are_resampled_as_columns_are():
    stack = random(12, 18, 2)
    turned = resample_in_plane(stack.transpose(1, 0, 2), 9, 24).transpose(1, 0, 2)
    np.testing.assert_allclose(resample_in_plane(stack, 24, 9), turned, atol=1e-5)


def test_half_the_size_is_the_mean_of_four_pixels_and_twice_the_size_can_repeat_each():
    stack = random(8, 12, 3)
    mean_of_four = stack.reshape(4, 2, 6, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resample_in_plane(stack, 4, 6, order=1), mean_of_four, atol=1e-6)
    np.testing.assert_array_equal(resample_in_plane(stack, 16, 24, order=0), stack.repeat(2, 0).repeat(2, 1))


def test_each_slice_is_resampled_by_itself():
    stack = np.zeros((8, 8, 3), np.float32)
    stack[..., 1] = 5
    np.testing.assert_allclose(resample_in_plane(stack, 12, 6)[0, 0], [0, 5, 0], atol=1e-5)


# --- grey levels


@pytest.mark.parametrize("shape", [(2, 1, 1), (7, 5, 3), (1, 64, 2)])
@pytest.mark.parametrize("sd", [1, 5e3])
def test_z_score_subtracts_the_mean_and_divides_by_the_standard_deviation(shape, sd):
    array = np.random.default_rng(0).normal(300, sd, shape).astype(np.float32)
    exact = array.astype(np.float64)
    scored = z_score(array)
    assert scored.dtype == np.float32
    np.testing.assert_allclose(scored, (exact - exact.mean()) / exact.std(), atol=1e-3)


def test_one_value_in_every_voxel_cannot_be_scored():
    stack = np.zeros((4, 4, 6), np.float32)
    stack[..., 0] = 9  # a slice that the grid leaves out
    with pytest.raises(DataError, match="the same value in every voxel"):
        to_grid(stack, Grid(4, 4, 4))


# --- onto the grid


def test_to_grid_takes_the_central_slices_and_scores_what_is_left():
    stack = random(4, 5, 7)
    stack[..., [0, 6]] = 1000  # slices that the grid leaves out must not count in the z-score
    np.testing.assert_allclose(to_grid(stack, Grid(4, 5, 5)), z_score(stack[..., 1:6]), atol=1e-5)


def test_every_slice_is_on_the_grey_scale_of_the_reference():
    stack = random(4, 5, 9) + 1
    every = to_grid(stack, Grid(4, 5, 5), every_slice=True)
    np.testing.assert_allclose(every[..., 2:7], to_grid(stack, Grid(4, 5, 5)), atol=1e-5)
    assert every.shape == (4, 5, 9)


@pytest.mark.parametrize(
    ("brightness", "start"),
    [
        ([5] * 10, 3),  # the central ones
        ([1, 5, 5, 5, 5, 5, 5, 5, 5, 1], 3),  # dark at its ends alone
        ([6, 5, 5, 5, 6, 0, 0, 0, 0, 0], 0),  # the body lies in front
        ([0, 0, 0, 0, 5, 5, 5, 5, 5, 5], 5),
        ([0, 0, 0, 0, 0, 0, 0, 0, 5, 5], 6),  # of fewer slices than are wanted
    ],
)
def test_the_reference_is_in_the_middle_of_the_body(brightness, start):
    stack = np.broadcast_to(np.float32(brightness), (2, 3, 10)) - np.float32([[[40]]])
    stack = stack - np.float32([[[1]], [[0]]])  # the darkest voxel counts as black
    assert reference_slices(stack, 4) == slice(start, start + 4)
    np.testing.assert_equal(reference_slices(stack, 10), slice(0, 10))


def test_a_scan_and_its_mask_get_one_shape_and_no_invented_slices():
    stack, grid = random(20, 30, 9), Grid(12, 16, 6)
    assert to_grid(stack, grid).shape == mask_to_grid(stack > 0.5, grid).shape == (12, 16, 6)
    assert to_grid(random(8, 8, 3), Grid(8, 8, 6)).shape == (8, 8, 3)


def test_a_mask_on_the_grid_is_0_and_1_in_uint8():
    mask = mask_to_grid(random(20, 20, 2) > 0.5, Grid(13, 17, 2))
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}


def test_a_mask_of_whole_blocks_is_halved_exactly_and_half_a_pixel_counts_as_femur():
    small = random(6, 7, 3) > 0.5
    np.testing.assert_array_equal(mask_to_grid(small.repeat(2, 0).repeat(2, 1), Grid(6, 7, 3)), small)
    half_covered = np.array([[1, 0], [1, 0]], bool)[..., None]
    assert mask_to_grid(half_covered, Grid(1, 1, 1)).item() == 1


def test_a_mask_takes_the_same_slices_as_its_scan():
    stack = np.zeros((4, 4, 7), bool)
    stack[..., 2] = True
    np.testing.assert_array_equal(mask_to_grid(stack, Grid(4, 4, 4))[0, 0], [0, 1, 0, 0])


def test_a_mask_keeps_its_place_and_size():
    rows, columns = np.indices((60, 60))
    disc = ((rows - 22) ** 2 + (columns - 35) ** 2 < 15**2)[..., None]
    small = mask_to_grid(disc, Grid(37, 50, 1))  # factors at which no voxel is cut exactly in half
    assert small.mean() == pytest.approx(disc.mean(), rel=0.03)
    row, column, _ = np.argwhere(small).mean(0)
    assert ((row + 0.5) / 37, (column + 0.5) / 50) == pytest.approx((22.5 / 60, 35.5 / 60), abs=0.003)


@pytest.mark.parametrize("size", [(37, 50), (45, 50), (48, 55)])
def test_a_mask_follows_a_curve_better_than_nearest_neighbour_would(size):
    def ellipse(rows, columns):
        y, x = (np.arange(rows)[:, None] + 0.5) / rows, (np.arange(columns) + 0.5) / columns
        return ((((y - 0.37) / 0.25) ** 2 + ((x - 0.59) / 0.22) ** 2) < 1)[..., None]

    fine, wanted = ellipse(60, 60), ellipse(*size)
    nearest = resample_in_plane(fine.astype(np.float32), *size, order=0) > 0.5
    assert (mask_to_grid(fine, Grid(*size, 1)) != wanted).sum() < (nearest != wanted).sum()


def test_pixels_on_the_grid_are_as_many_times_larger_as_there_are_fewer():
    stack = Volume(np.zeros((30, 40, 12)), affine_of("ILP", (1.5, 0.8, 4)))
    assert grid_spacing_mm(stack, Grid(15, 80, 8)) == pytest.approx((3, 0.4, 4))


# --- and back


def test_slices_go_back_where_they_came_from_and_the_others_get_probability_0():
    stack = random(4, 4, 8)
    back = from_grid(stack[..., central_slices(8, 5)], stack.shape)
    np.testing.assert_array_equal(back[..., 1:6], stack[..., 1:6])
    assert (back[..., [0, 6, 7]] == 0).all()


def test_a_probability_stays_one():
    p = from_grid((random(6, 5, 2) > 0.5).astype(np.float32), (17, 13, 2))
    assert p.dtype == np.float32
    assert p.min() >= 0
    assert p.max() <= 1


# --- padding


@given(
    shape=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    multiples=st.lists(st.integers(1, 16), max_size=4),
)
def test_unpad_takes_back_what_pad_to_multiple_added(shape, multiples):
    multiples = multiples[: len(shape)]  # trailing axes, such as channels, are not padded
    array = np.arange(np.prod(shape)).reshape(shape)
    padded = pad_to_multiple(array, multiples)
    assert padded.shape == (*padded_size(shape[: len(multiples)], multiples), *shape[len(multiples) :])
    assert all(n % m == 0 and n - s < m for n, s, m in zip(padded.shape, shape, multiples, strict=False))
    np.testing.assert_array_equal(unpad(padded, shape), array)


def test_padding_mirrors_both_ends():
    np.testing.assert_array_equal(pad_to_multiple(np.array([1, 2, 3, 4, 5]), [8]), [1, 1, 2, 3, 4, 5, 5, 4])
