"""One mirrored pass against nine patches: equal where they begin at multiples of 2^poolings, an ensemble elsewhere."""

import numpy as np
import pytest

from femur_lib.architecture import Architecture, unpadded_geometry
from femur_lib.inference import nine_patches, one_mirrored_pass, patch_starts, size_for_output
from femur_lib.networks import rebuilt, unet


def network(levels: int, size: tuple[int, int]):
    """A small network with weights drawn at random, sharp enough that its answers differ from pixel to pixel."""
    architecture = Architecture(2, 2, levels, padded=False)
    model = unet(architecture, size)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    return architecture, model


def answers(levels: int, height: int, width: int, multiple: int):
    architecture, model = network(levels, (height, width))
    images = np.random.default_rng(1).normal(size=(2, height, width, 3)).astype(np.float32)
    larger = rebuilt(model, architecture, (size_for_output(height, levels), size_for_output(width, levels)))
    return nine_patches(model, images, levels, multiple), one_mirrored_pass(larger, images, levels)


@pytest.mark.parametrize(("levels", "height", "width"), [(1, 44, 45), (2, 72, 79), (2, 75, 70)])
def test_one_pass_is_what_aligned_patches_average_to(levels, height, width):
    nine, one = answers(levels, height, width, 2**levels)
    assert one.std() > 0.05
    np.testing.assert_allclose(nine, one, atol=1e-5)


def test_the_papers_own_overlap_is_an_ensemble_and_differs():
    assert patch_starts(unpadded_geometry(74, 2))[1] % 4
    nine, one = answers(2, 74, 74, 1)
    assert np.abs(nine - one).max() > 0.01


def test_at_the_papers_size_aligned_patches_cover_the_image():
    assert patch_starts(unpadded_geometry(512, 4), 16) == (0, 96, 192)
    assert 192 + unpadded_geometry(512, 4).output >= 512


def test_patches_that_alignment_pulls_apart_are_refused():
    assert patch_starts(unpadded_geometry(284, 4))
    with pytest.raises(ValueError, match="do not cover"):
        patch_starts(unpadded_geometry(284, 4), 64)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
@pytest.mark.parametrize("output", [1, 50, 512])
def test_the_size_for_an_output_is_the_smallest_that_serves(levels, output):
    size = size_for_output(output, levels)
    assert unpadded_geometry(size, levels).output >= output
    try:
        smaller = unpadded_geometry(size - 1, levels).output
    except ValueError:
        smaller = 0
    assert smaller < output
