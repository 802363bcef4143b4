"""Each change moves image and mask together, by no more than asked, and leaves what it was given alone."""

import numpy as np
import pytest

from femur_lib.augmentation import add_noise, augment, change_intensity, deform, flip
from femur_lib.config import RECIPES

ALL = RECIPES["ours"].augmentation
STILL = {"degrees": 0, "scale": 0, "shift": 0, "elastic": 0}


def hip(shape=(24, 20, 6)) -> tuple[np.ndarray, np.ndarray]:
    """A z-scored image with a bright ellipsoid, and its mask."""
    where = (np.indices(shape) - np.array(shape)[:, None, None, None] / 2) / np.array(shape)[:, None, None, None]
    mask = (where**2).sum(0) < 0.06
    image = np.random.default_rng(0).normal(0, 0.3, shape) + 2 * mask
    return ((image - image.mean()) / image.std()).astype(np.float32), mask.astype(np.uint8)


def rngs(n: int = 20):
    return [np.random.default_rng(seed) for seed in range(n)]


def deformed(mask: np.ndarray, rng: np.random.Generator, **how) -> np.ndarray:
    """A flat mask (rows, columns) after one kind of deformation alone."""
    mask = mask[..., None].astype(np.uint8)
    return deform(mask.astype(np.float32), mask, rng, **STILL | how)[1][..., 0]


# --- flips


def test_half_of_the_cases_are_mirrored_left_to_right_image_and_mask_together():
    image, mask = hip()
    image = image + np.arange(20)[None, :, None]
    flipped, rng = [], np.random.default_rng(0)
    for _ in range(400):
        new_image, new_mask = flip(image, mask, rng)
        flipped.append(not np.array_equal(new_image, image))
        step = -1 if flipped[-1] else 1
        np.testing.assert_array_equal(new_image, image[:, ::step])
        np.testing.assert_array_equal(new_mask, mask[:, ::step])
    assert np.mean(flipped) == pytest.approx(0.5, abs=0.08)


# --- deformations


@pytest.mark.parametrize("slices", [6, 1])
def test_a_deformed_mask_stays_on_its_image_and_all_slices_are_deformed_alike(slices):
    """A 2D network's sample has three slices of the image and one of the mask."""
    mask = hip()[1][..., 3:4]
    for rng in rngs():
        new_image, new_mask = deform(mask.astype(np.float32).repeat(max(3, slices), 2), mask.repeat(slices, 2), rng)
        assert not np.array_equal(new_mask[..., :1], mask)
        for k in range(new_image.shape[2]):
            np.testing.assert_array_equal(new_image[..., k], new_image[..., 0])
        np.testing.assert_array_equal(new_mask, new_image[..., :slices] >= 0.5)


def test_a_deformation_by_nothing_changes_nothing():
    image, mask = hip()
    new_image, new_mask = deform(image, mask, rngs()[0], **STILL)
    np.testing.assert_allclose(new_image, image, atol=1e-5)
    np.testing.assert_array_equal(new_mask, mask)


@pytest.mark.parametrize("seed", range(5))
def test_a_shift_is_at_most_its_fraction_of_each_side(seed):
    mask = np.zeros((40, 20))
    mask[15:25, 8:12] = 1
    by = np.argwhere(deformed(mask, rngs()[seed], shift=0.1)).mean(0) - np.argwhere(mask).mean(0)
    assert (abs(by) <= [4.01, 2.01]).all()


def test_beyond_the_border_a_femur_goes_on_as_its_image_does():
    shaft = np.zeros((24, 20))
    shaft[:, 8:12] = 1
    image, mask = deform(shaft[..., None], shaft[..., None], rngs()[1], degrees=0, shift=0.3, scale=0, elastic=0)
    assert mask[..., 0].any(axis=1).all()
    np.testing.assert_array_equal(mask, image >= 0.5)


def test_a_rotation_turns_about_the_middle_by_up_to_the_degrees_asked_and_keeps_the_size():
    rows, columns = np.indices((61, 61)) - 30
    disc, bar = rows**2 + columns**2 < 18**2, (abs(rows) < 3) & (abs(columns) < 26)
    angles = []
    for rng in rngs():
        r, c = np.argwhere(deformed(bar, rng, degrees=20)).T
        angles.append(np.rad2deg(np.arctan(np.polyfit(c, r, 1)[0])))
        assert (deformed(disc, rng, degrees=40) != disc).mean() < 0.015
    assert -21 < min(angles) < -8
    assert 8 < max(angles) < 21


def test_scaling_changes_the_area_by_up_to_the_fraction_asked():
    rows, columns = np.indices((61, 61)) - 30
    disc = rows**2 + columns**2 < 18**2
    areas = [deformed(disc, rng, scale=0.2).sum() / disc.sum() for rng in rngs()]
    assert 0.8**2 * 0.97 < min(areas) < 0.9
    assert 1.1 < max(areas) < 1.2**2 * 1.03


# --- intensity


def test_changed_intensities_are_scored_again_and_still_show_the_hip():
    image, mask = hip()
    for rng in rngs():
        changed = change_intensity(image, rng)
        assert (changed.shape, changed.dtype) == (image.shape, np.float32)
        assert changed.mean() == pytest.approx(0, abs=0.02)
        assert changed.std() == pytest.approx(1, abs=0.03)
        assert not np.allclose(changed, image, atol=0.01)
        assert changed[mask == 1].mean() > changed[mask == 0].mean() + 1


def test_noise_comes_in_three_cases_of_ten_and_is_at_most_a_seventh_of_the_images_spread():
    image, _ = hip()
    added = [float((add_noise(image, rng) - image).std()) for rng in rngs(200)]
    assert np.mean(np.array(added) > 0) == pytest.approx(0.3, abs=0.1)
    assert 0.12 < max(added) < 0.16


# --- all of it


@pytest.mark.parametrize("kind", [*ALL, "all"])
def test_each_kind_is_done_only_where_it_is_named_and_touches_nothing_that_was_given(kind):
    image, mask = hip()
    image_before, mask_before = image.copy(), mask.copy()
    kinds = ALL if kind == "all" else (kind,)
    changed = [augment(image, mask, rng, kinds) for rng in rngs(10)]
    np.testing.assert_array_equal(image, image_before)
    np.testing.assert_array_equal(mask, mask_before)
    assert any(not np.array_equal(new_image, image) for new_image, _ in changed)
    assert any(not np.array_equal(new_mask, mask) for _, new_mask in changed) == (kind not in ("intensity", "noise"))
    assert augment(image, mask, rngs()[0], ())[0] is image


def test_the_same_chance_gives_the_same_result_and_another_another():
    one, same, other = (augment(*hip(), np.random.default_rng(seed), ALL) for seed in (5, 5, 6))
    for a, b, c in zip(one, same, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_shape_and_type_are_kept():
    image, mask = augment(*hip((17, 23, 5)), rngs()[0], ALL)
    assert image.shape == mask.shape == (17, 23, 5)
    assert (image.dtype, mask.dtype) == (np.float32, np.uint8)
    assert set(np.unique(mask)) == {0, 1}
