"""Scans at random of a painted woman: shares of tissues, partial volume, and what chance may change."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from femur_lib.config import Drawing
from femur_lib.phantom.body import Body
from femur_lib.phantom.field import Field
from femur_lib.phantom.painting import paint
from femur_lib.phantom.parameters import Person
from femur_lib.phantom.randomised import SKIN, averaging, random_scan
from femur_lib.phantom.shares import KINDS, VIEW_MM, Shares, draw_varied_person, paint_shares

SHAPE, SPACING_MM = (32, 24, 8), (5.0, 5.0, 14.0)


@pytest.fixture(scope="module")
def person() -> Person:
    return draw_varied_person(3, 1)


@pytest.fixture(scope="module")
def woman(person) -> Shares:
    return paint_shares(person, pixels=36, slices=12)


def test_a_painted_slice_is_the_sum_of_its_shares_each_times_its_brightness(person, woman):
    body = Body(person, Field(36, 12, view_mm=VIEW_MM))
    # Of one kind all are as bright as the first.
    body.bright |= {name: body.bright[kind[0]] for kind in KINDS for name in kind}
    canvas, labels = paint(body, 6)
    weights = [body.bright[kind[0]] for kind in KINDS] + [1.0]
    again = np.tensordot(weights, woman.shares[:, 6].astype(float), 1)
    np.testing.assert_allclose(again, canvas.fat + canvas.water, atol=5e-3)  # shares are in half precision
    np.testing.assert_array_equal(woman.labels[6], labels.exact)
    assert 0 < woman.shares[-1].max() <= SKIN + 1e-3


def test_the_mask_goes_down_to_the_edge_of_the_field(woman):
    assert (woman.labels[:, -1] == 1).any()


@pytest.mark.parametrize("offset", [0.0, 3.0, 70.0])
def test_averaging_keeps_what_is_even_and_sees_air_beyond_what_is_painted(offset):
    matrix = averaging(10, 8.0, offset, cells=50, view=100.0)
    reached = np.abs((np.arange(10) - 4.5) * 8 + offset) + 4 <= 50
    np.testing.assert_allclose(matrix.sum(1)[reached], 1, rtol=1e-5)
    assert (matrix.sum(1)[~reached] < 1).all()


def test_a_thick_voxel_is_the_mean_of_what_lies_in_it():
    np.testing.assert_allclose(averaging(2, 4.0, 0.0, 8, 8.0) @ np.arange(8.0), [1.5, 5.5])
    thin = averaging(2, 4.0, 0.0, 8, 8.0, width=0.5)  # slices with gaps
    np.testing.assert_allclose(thin @ np.arange(8.0), [1.5, 5.5])
    np.testing.assert_allclose(thin[0], [0, 0.5, 0.5, 0, 0, 0, 0, 0])


def test_without_chance_every_scan_of_a_woman_is_the_same(woman):
    one, two = (random_scan(woman, np.random.default_rng(k), SHAPE, SPACING_MM, ()) for k in (1, 2))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    assert one[0].shape == one[1].shape == SHAPE
    assert (one[0].dtype, one[1].dtype) == (np.float32, np.uint8)
    assert 0 < one[1].mean() < 0.2


@pytest.mark.parametrize("kind", get_args(Drawing))
def test_what_is_left_to_chance_differs_and_the_mask_moves_with_place_and_slices_alone(woman, kind):
    usual = random_scan(woman, np.random.default_rng(0), SHAPE, SPACING_MM, ())
    scans = [random_scan(woman, np.random.default_rng(k), SHAPE, SPACING_MM, (kind,)) for k in range(12)]
    assert any(not np.allclose(image, usual[0], atol=0.02) for image, _ in scans)
    moved = any(not np.array_equal(mask, usual[1]) for _, mask in scans)
    assert moved == (kind in ("position", "slices"))


def test_a_seed_makes_a_scan_again(woman):
    one, two = (random_scan(woman, np.random.default_rng(7), SHAPE, SPACING_MM, get_args(Drawing)) for _ in range(2))
    np.testing.assert_array_equal(one[0], two[0])


def test_the_femur_is_where_its_marrow_is(woman):
    only_marrow = replace(woman, shares=woman.shares.copy())
    only_marrow.shares[2:] = 0
    image, mask = random_scan(only_marrow, np.random.default_rng(0), SHAPE, SPACING_MM, ())
    inside = image[mask == 1].mean()
    assert inside > 3 * image[mask == 0].mean()
