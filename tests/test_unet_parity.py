"""The same weights in an independent PyTorch implementation give the same probabilities."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the oracles are not installed: make oracles")

from pytorch_unet import UNet

from femur_lib.architecture import PAPER_NETWORKS, Architecture, parse_network
from femur_lib.unet import unet

SMALL = [
    ("2d-f3-l2", (16, 24)),
    ("2d-f3-l2-d1.2.4", (32, 16)),
    ("2d-unpadded-f3-l2", (60, 53)),
    ("2d-unpadded-f2-l4", (190, 201)),  # maps of odd size at several levels
    ("3d-f3-l2", (16, 8, 12)),
    ("3d-f3-l2-d1.2.4.8", (16, 24, 8)),
    ("3d-f3-l2-a1-gn", (16, 8, 6)),
]


def sharpened(architecture: Architecture, size: tuple[int, ...]):
    """A network whose answers differ from pixel to pixel: no weight is left as it began, normalisations included."""
    model = unet(architecture, None if architecture.padded else size)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        for w in layer.weights:
            wide = max(1, int(np.prod(w.shape[:-1])))
            value = rng.normal(0, (2 / wide) ** 0.5, w.shape) if len(w.shape) > 1 else rng.normal(0.1, 0.2, w.shape)
            w.assign(np.abs(value) + 0.5 if w.name == "gamma" else value)
    logits = model.get_layer("logits")
    kernel, bias = logits.get_weights()
    logits.set_weights([3 * kernel, bias])
    return model


def difference(architecture: Architecture, size: tuple[int, ...]) -> float:
    model = sharpened(architecture, size)
    images = np.random.default_rng(1).normal(size=(2, *size, architecture.channels)).astype(np.float32)
    ours = model.predict_on_batch(images)
    theirs = UNet(architecture).take_weights(model).probability(images)
    assert ours.shape == theirs.shape
    assert ours[..., 1].std() > 0.05
    return float(np.abs(ours - theirs).max())


@pytest.mark.backends
@pytest.mark.parametrize(("name", "size"), SMALL, ids=str)
def test_the_same_weights_give_the_same_probabilities(name, size):
    assert difference(parse_network(name), size) < 1e-4


@pytest.mark.parametrize("name", PAPER_NETWORKS)
def test_every_network_of_the_paper_with_fewer_maps(name):
    """All 18, at their own depth and rates, with an eighth of the maps."""
    architecture = parse_network(name, features_divisor=8)
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
