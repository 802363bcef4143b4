"""Switches of an architecture that are mistakes on purpose, or readings of the paper we did not choose."""

import numpy as np
import pytest

from femur_lib.architecture import Architecture, unpadded_geometry
from femur_lib.networks import unet


def randomised(architecture: Architecture, size=None):
    model = unet(architecture, size)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.4, w.shape) for w in model.get_weights()])
    return model


def test_relu_before_softmax_leaves_half_where_both_logits_are_negative():
    wrong = unet(Architecture(2, 2, 1, relu_logits=True))
    right = unet(Architecture(2, 2, 1))
    for model in (wrong, right):
        kernel, _ = model.get_layer("logits").get_weights()
        model.get_layer("logits").set_weights([np.zeros_like(kernel), np.array([-1.0, -4.0])])
    x = np.ones((1, 8, 8, 3), np.float32)
    np.testing.assert_allclose(wrong.predict_on_batch(x), 0.5)
    np.testing.assert_allclose(right.predict_on_batch(x)[..., 1], 1 / (1 + np.exp(3)), rtol=1e-5)


@pytest.mark.parametrize(("centre_crop", "agree"), [(False, True), (True, False)])
def test_only_crops_by_geometry_make_shifted_windows_agree(centre_crop, agree):
    """Two inputs of sizes that pool differently see the same image; where both answer, the answers are the same."""
    architecture = Architecture(2, 2, 2, padded=False, centre_crop=centre_crop)
    small, large = (randomised(architecture, (n, n)) for n in (58, 68))
    assert any(start != end for start, end in unpadded_geometry(58, 2).crops)  # else both crops are one
    image = np.random.default_rng(1).normal(size=(1, 68, 68, 3)).astype(np.float32)
    at = 4  # a multiple of 2^poolings
    a = small.predict_on_batch(image[:, at : at + 58, at : at + 58])
    b = large.predict_on_batch(image)[:, at : at + a.shape[1], at : at + a.shape[2]]
    assert (np.abs(a - b).max() < 1e-6) == agree


def test_switches_that_do_not_apply_are_refused():
    with pytest.raises(ValueError, match="isotropic_dilation"):
        Architecture(2, 2, 2, isotropic_dilation=True)
    with pytest.raises(ValueError, match="centre_crop"):
        Architecture(2, 2, 2, centre_crop=True)
