import numpy as np
import pytest

from femur_lib.augmentation import add_noise, augment, change_intensity, deform, flip
from femur_lib.recipes import RECIPES

ALL = RECIPES["ours"].augmentation


def random_hip(seed: int = 0, shape=(24, 20, 6)) -> tuple[np.ndarray, np.ndarray]:
    """A z-scored image with a bright ellipsoid, and its mask."""
    rng = np.random.default_rng(seed)
    where = (np.indices(shape) - np.array(shape)[:, None, None, None] / 2) / np.array(shape)[:, None, None, None]
    mask = (where**2).sum(0) < 0.06
    image = rng.normal(0, 0.3, shape) + 2 * mask
    return ((image - image.mean()) / image.std()).astype(np.float32), mask.astype(np.uint8)


def rngs(n: int = 20):
    return [np.random.default_rng(seed) for seed in range(n)]


# --- flips


def test_a_flip_mirrors_columns_of_image_and_mask_together():
    image, mask = random_hip()
    image = image + np.arange(20)[None, :, None]
    seen = set()
    for rng in rngs():
        new_image, new_mask = flip(image, mask, rng)
        flipped = not np.array_equal(new_image, image)
        step = -1 if flipped else 1
        np.testing.assert_array_equal(new_image, image[:, ::step])
        np.testing.assert_array_equal(new_mask, mask[:, ::step])
        seen.add(flipped)
    assert seen == {True, False}


def test_half_of_the_cases_are_flipped():
    image, mask = random_hip(shape=(2, 4, 1))
    rng = np.random.default_rng(0)
    flipped = [not np.array_equal(flip(image, mask, rng)[0], image) for _ in range(400)]
    assert np.mean(flipped) == pytest.approx(0.5, abs=0.08)


# --- deformations


def test_a_deformed_mask_stays_on_its_image():
    _, mask = random_hip()
    for rng in rngs():
        new_image, new_mask = deform(mask.astype(np.float32), mask, rng)
        np.testing.assert_array_equal(new_mask, new_image >= 0.5)


def test_the_mask_of_one_slice_is_deformed_as_its_three_slices_are():
    _, mask = random_hip(shape=(24, 20, 1))
    new_image, new_mask = deform(mask.astype(np.float32).repeat(3, 2), mask, rngs()[0])
    assert new_image.shape == (24, 20, 3)
    np.testing.assert_array_equal(new_mask, new_image[..., 1:2] >= 0.5)


def test_a_deformation_of_nothing_changes_nothing():
    image, mask = random_hip()
    new_image, new_mask = deform(image, mask, rngs()[0], degrees=0, scale=0, shift=0, elastic=0)
    np.testing.assert_allclose(new_image, image, atol=1e-5)
    np.testing.assert_array_equal(new_mask, mask)


def test_a_deformation_changes_the_mask():
    image, mask = random_hip()
    assert not np.array_equal(deform(image, mask, rngs()[0])[1], mask)


@pytest.mark.parametrize("seed", range(5))
def test_a_shift_is_at_most_its_fraction_of_each_side(seed):
    mask = np.zeros((40, 20, 1), np.uint8)
    mask[15:25, 8:12] = 1
    _, moved = deform(mask.astype(np.float32), mask, rngs()[seed], degrees=0, scale=0, shift=0.1, elastic=0)
    by = np.argwhere(moved).mean(0) - np.argwhere(mask).mean(0)
    assert (abs(by[:2]) <= [4.01, 2.01]).all()


def test_a_rotation_turns_about_the_middle_and_keeps_the_size():
    rows, columns = np.indices((41, 41)) - 20
    disc = ((rows**2 + columns**2) < 12**2)[..., None].astype(np.uint8)
    for rng in rngs(5):
        _, turned = deform(disc.astype(np.float32), disc, rng, degrees=40, scale=0, shift=0, elastic=0)
        assert (turned != disc).mean() < 0.01


def test_a_bar_is_rotated_by_up_to_the_degrees_asked():
    rows, columns = np.indices((61, 61)) - 30
    bar = ((abs(rows) < 3) & (abs(columns) < 26))[..., None].astype(np.uint8)
    angles = []
    for rng in rngs():
        _, turned = deform(bar.astype(np.float32), bar, rng, degrees=20, scale=0, shift=0, elastic=0)
        r, c = np.argwhere(turned[..., 0]).T
        angles.append(np.rad2deg(np.arctan(np.polyfit(c, r, 1)[0])))
    assert max(np.abs(angles)) < 21
    assert min(angles) < -8
    assert max(angles) > 8


def test_scaling_changes_the_area_by_up_to_the_fraction_asked():
    rows, columns = np.indices((61, 61)) - 30
    disc = ((rows**2 + columns**2) < 18**2)[..., None].astype(np.uint8)
    areas = []
    for rng in rngs():
        _, scaled = deform(disc.astype(np.float32), disc, rng, degrees=0, scale=0.2, shift=0, elastic=0)
        areas.append(scaled.sum() / disc.sum())
    assert min(areas) > 0.8**2 * 0.97
    assert max(areas) < 1.2**2 * 1.03
    assert min(areas) < 0.9 < 1.1 < max(areas)


def test_all_slices_are_deformed_alike():
    image, mask = random_hip(shape=(24, 20, 1))
    new_image, new_mask = deform(image.repeat(3, 2), mask.repeat(3, 2), rngs()[0])
    for k in (1, 2):
        np.testing.assert_array_equal(new_image[..., k], new_image[..., 0])
        np.testing.assert_array_equal(new_mask[..., k], new_mask[..., 0])


def test_beyond_the_border_there_is_no_femur():
    mask = np.ones((24, 20, 1), np.uint8)
    _, moved = deform(mask.astype(np.float32), mask, rngs()[1], degrees=0, scale=0, shift=0.3, elastic=0)
    assert 0 < moved.sum() < mask.sum()


# --- intensity


def test_changed_intensities_are_scored_again():
    image, _ = random_hip()
    for rng in rngs():
        changed = change_intensity(image, rng)
        assert changed.shape == image.shape
        assert changed.dtype == np.float32
        assert changed.mean() == pytest.approx(0, abs=0.02)
        assert changed.std() == pytest.approx(1, abs=0.03)


def test_changed_intensities_still_show_the_hip():
    image, mask = random_hip()
    for rng in rngs():
        changed = change_intensity(image, rng)
        assert not np.allclose(changed, image, atol=0.01)
        assert changed[mask == 1].mean() > changed[mask == 0].mean() + 1


# --- all of it


@pytest.mark.parametrize(
    "change",
    [
        flip,
        deform,
        lambda image, mask, rng: augment(image, mask, rng, ALL),
        lambda image, mask, rng: (change_intensity(image, rng), mask),
        lambda image, mask, rng: (add_noise(image, rng), mask),
    ],
)
def test_the_input_is_not_touched(change):
    image, mask = random_hip()
    image_before, mask_before = image.copy(), mask.copy()
    for rng in rngs(5):
        change(image, mask, rng)
    np.testing.assert_array_equal(image, image_before)
    np.testing.assert_array_equal(mask, mask_before)


def test_the_same_chance_gives_the_same_result():
    one, other = (augment(*random_hip(), np.random.default_rng(5), ALL) for _ in range(2))
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


def test_another_chance_gives_another_result():
    one, other = (augment(*random_hip(), np.random.default_rng(seed), ALL) for seed in (5, 6))
    assert not np.array_equal(one[0], other[0])
    assert not np.array_equal(one[1], other[1])


def test_shape_and_kind_are_kept():
    image, mask = augment(*random_hip(shape=(17, 23, 5)), rngs()[0], ALL)
    assert image.shape == mask.shape == (17, 23, 5)
    assert (image.dtype, mask.dtype) == (np.float32, np.uint8)
    assert set(np.unique(mask)) == {0, 1}
