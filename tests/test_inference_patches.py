"""Nine patches and one mirrored pass: every pixel comes back in its place, and both ways agree where they must."""

import numpy as np
import pytest
from conftest import pass_through

from femur_lib.architecture import Architecture, size_for_output, unpadded_geometry
from femur_lib.inference import mirror, nine_patches, one_mirrored_pass, patch_starts
from femur_lib.unet import rebuilt, unet


class Window:
    """Stands in for an unpadded network that sees one pixel: the middle slice's window, or that beside it."""

    def __init__(self, levels: int, shift: int = 0):
        self.levels, self.shift, self.shapes = levels, shift, []

    def predict_on_batch(self, x):
        self.shapes.append(x.shape)
        r, c = (unpadded_geometry(n, self.levels) for n in x.shape[1:3])
        row, column = r.before + self.shift, c.before + self.shift
        p = x[:, row : row + r.output, column : column + c.output, 1]
        return np.stack([1 - p, p], axis=-1)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape).astype(np.float32)


# --- where patches lie


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_three_patches_cover_an_axis_or_are_refused(levels):
    covered = 0
    for size in range(size_for_output(1, levels), 600, 7):
        geometry = unpadded_geometry(size, levels)
        if -(-(geometry.before + geometry.after) // 2) > geometry.output:
            with pytest.raises(ValueError, match=f"do not cover {size}"):
                patch_starts(geometry)
            continue
        covered, starts = covered + 1, patch_starts(geometry)
        seen = np.zeros(size, int)
        for start in starts:
            assert start + size <= size + geometry.before + geometry.after  # inside the mirrored image
            seen[start : start + geometry.output] += 1
        assert seen.min() >= 1
    assert covered > 10


def test_patches_at_the_papers_size_in_its_order_and_aligned():
    geometry = unpadded_geometry(512, 4)
    assert patch_starts(geometry) == (0, 94, 188)
    assert patch_starts(geometry, 16) == (0, 96, 192)
    assert 192 + geometry.output >= 512


@pytest.mark.parametrize(("size", "multiple"), [(188, 1), (284, 64)])
def test_patches_that_leave_a_gap_are_refused(size, multiple):
    with pytest.raises(ValueError, match=f"do not cover {size}"):
        patch_starts(unpadded_geometry(size, 4), multiple)


def test_the_image_is_mirrored_about_its_border_pixels():
    rows = unpadded_geometry(21, 1)
    assert (rows.before, rows.after) == (8, 9)
    column = mirror(np.arange(21.0).reshape(1, 21, 1, 1).repeat(21, 2), rows, rows)[0, :, 0, 0]
    np.testing.assert_array_equal(column[:10], [8, 7, 6, 5, 4, 3, 2, 1, 0, 1])
    np.testing.assert_array_equal(column[-10:], [20, 19, 18, 17, 16, 15, 14, 13, 12, 11])


# --- nine patches


@pytest.mark.parametrize(("height", "width", "levels"), [(44, 44, 1), (45, 50, 1), (75, 70, 2), (77, 76, 2)])
def test_nine_patches_put_every_pixel_back_in_its_place(height, width, levels):
    images, model = random(2, height, width, 3), Window(levels)
    p = nine_patches(model, images, levels)
    assert p.dtype == np.float32
    assert model.shapes == [images.shape] * 9
    np.testing.assert_allclose(p, images[..., 1], atol=1e-6)


@pytest.mark.parametrize("shift", [-3, 2])
def test_nine_patches_see_the_mirrored_image_beyond_the_border(shift):
    images = random(1, 44, 45, 3)
    p = nine_patches(Window(1, shift), images, 1)
    row, column = np.abs(np.arange(44) + shift), np.abs(np.arange(45) + shift)
    row, column = np.minimum(row, 2 * 43 - row), np.minimum(column, 2 * 44 - column)
    np.testing.assert_allclose(p[0], images[0][np.ix_(row, column)][..., 1], atol=1e-6)


def test_overlapping_patches_are_averaged():
    class Counting:
        """Answers its first patch with 0.1 everywhere, its second with 0.2, and so on."""

        calls = 0

        def predict_on_batch(self, x):
            self.calls += 1
            return np.full((1, geometry.output, geometry.output, 2), self.calls / 10)

    geometry = unpadded_geometry(44, 1)
    p = nine_patches(Counting(), random(1, 44, 44, 3), 1)[0]
    total, count = np.zeros((2, 44, 44))
    starts = patch_starts(geometry)
    for number, (r, c) in enumerate([(r, c) for r in starts for c in starts], start=1):
        total[r : r + geometry.output, c : c + geometry.output] += number / 10
        count[r : r + geometry.output, c : c + geometry.output] += 1
    np.testing.assert_allclose(p, total / count, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(30, 29), (27, 32)])
def test_nine_patches_of_a_real_network_put_every_pixel_back_too(height, width):
    model = unet(Architecture(2, 1, 1, padded=False), (height, width))
    pass_through(model, 1, route=0)
    images = random(1, height, width, 3)
    p = nine_patches(model, images, 1)
    np.testing.assert_allclose(np.log(p / (1 - p)), images[..., 1], atol=1e-4)


# --- one mirrored pass


def answers(levels: int, height: int, width: int, multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """Of nine patches and of one pass, by a network whose answers differ from pixel to pixel."""
    architecture = Architecture(2, 2, levels, padded=False)
    model = unet(architecture, (height, width))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    images = np.random.default_rng(1).normal(size=(2, height, width, 3)).astype(np.float32)
    larger = rebuilt(model, architecture, (size_for_output(height, levels), size_for_output(width, levels)))
    nine, one = nine_patches(model, images, levels, multiple), one_mirrored_pass(larger, images, levels)
    assert one.std() > 0.05
    return nine, one


@pytest.mark.parametrize(("levels", "height", "width"), [(1, 44, 45), (2, 72, 79), (2, 75, 70)])
def test_one_pass_is_what_aligned_patches_average_to(levels, height, width):
    nine, one = answers(levels, height, width, 2**levels)
    np.testing.assert_allclose(nine, one, atol=1e-5)


def test_the_papers_own_overlap_is_an_ensemble_and_differs():
    assert patch_starts(unpadded_geometry(74, 2))[1] % 4
    nine, one = answers(2, 74, 74, 1)
    assert np.abs(nine - one).max() > 0.01
