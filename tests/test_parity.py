"""The same weights in an independent PyTorch implementation give the same probabilities."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch", reason="the oracles are not installed: make oracles")

from pytorch_unet import UNet

from femur_lib import paper
from femur_lib.architecture import Architecture
from femur_lib.experiments import parse_experiment
from femur_lib.networks import unet

SMALL = [
    (Architecture(2, 3, 2), (16, 24)),
    (Architecture(2, 3, 2, dilation_rates=(1, 2, 4)), (32, 16)),
    (Architecture(2, 3, 2, padded=False), (60, 53)),
    (Architecture(2, 2, 4, padded=False), (190, 201)),  # maps of odd size at several levels
    (Architecture(3, 3, 2), (16, 8, 12)),
    (Architecture(3, 3, 2, dilation_rates=(1, 2, 4, 8)), (16, 24, 8)),
    (Architecture(3, 3, 2, dilation_rates=(1, 2), isotropic_dilation=True), (16, 16, 16)),
    (Architecture(3, 3, 2, in_plane_levels=1, normalisation="group"), (16, 8, 6)),
    (Architecture(3, 3, 2, normalisation="batch"), (16, 8, 12)),
    (Architecture(3, 3, 1, relu_logits=True), (8, 8, 8)),
]


def sharpened(architecture: Architecture, size: tuple[int, ...]):
    """A network whose answers differ from pixel to pixel: no weight is left as it began, normalisations included."""
    model = unet(architecture, None if architecture.padded else size)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        for w in layer.weights:
            wide = max(1, int(np.prod(w.shape[:-1])))
            value = rng.normal(0, (2 / wide) ** 0.5, w.shape) if len(w.shape) > 1 else rng.normal(0.1, 0.2, w.shape)
            w.assign(np.abs(value) + 0.5 if w.name in ("gamma", "moving_variance") else value)
    logits = model.get_layer("logits")
    kernel, bias = logits.get_weights()
    logits.set_weights([3 * kernel, bias])
    return model


def difference(architecture: Architecture, size: tuple[int, ...]) -> float:
    model = sharpened(architecture, size)
    channels = 3 if architecture.dimensions == 2 else 1
    images = np.random.default_rng(1).normal(size=(2, *size, channels)).astype(np.float32)
    ours = model.predict_on_batch(images)
    theirs = UNet(architecture).take_weights(model).probability(images)
    assert ours.shape == theirs.shape
    assert ours[..., 1].std() > 0.05
    return float(np.abs(ours - theirs).max())


@pytest.mark.parametrize(("architecture", "size"), SMALL, ids=str)
def test_the_same_weights_give_the_same_probabilities(architecture, size):
    assert difference(architecture, size) < 1e-4


@pytest.mark.parametrize("name", paper.NETWORKS)
def test_every_network_of_the_paper_with_fewer_maps(name):
    """All 18, at their own depth and rates; an eighth of the maps."""
    architecture = dataclasses.replace(parse_experiment(name), features=parse_experiment(name).features // 8)
    size = {2: (48, 64), 3: (32, 48, 16)}[architecture.dimensions] if architecture.padded else (205, 190)
    assert difference(architecture, size) < 1e-4


def test_an_error_in_one_weight_is_seen():
    """The comparison can fail."""
    architecture = Architecture(2, 3, 2)
    model = sharpened(architecture, (16, 16))
    peer = UNet(architecture).take_weights(model)
    peer.layers["centre_conv1"].weight.data[0, 0, 1, 1] += 0.5
    images = np.random.default_rng(1).normal(size=(1, 16, 16, 3)).astype(np.float32)
    assert np.abs(model.predict_on_batch(images) - peer.probability(images)).max() > 1e-4
