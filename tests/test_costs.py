"""What a network costs, counted by hand in the library and by Keras here."""

from math import prod

import pytest

from femur_lib.architecture import Architecture
from femur_lib.costs import cost, warn_if_too_large
from femur_lib.experiments import parse_experiment
from femur_lib.networks import unet

NETWORKS = [
    (Architecture(2, 4, 2), (16, 24)),
    (Architecture(2, 4, 2, dilation_rates=(1, 2, 4)), (16, 16)),
    (Architecture(3, 4, 2), (16, 8, 12)),
    (Architecture(3, 2, 3, dilation_rates=(1, 4), normalisation="batch"), (16, 16, 8)),
    (Architecture(3, 4, 2, in_plane_levels=1, normalisation="group"), (16, 8, 6)),
    (Architecture(2, 4, 2, padded=False), (60, 53)),
]


@pytest.mark.parametrize(("architecture", "size"), NETWORKS, ids=str)
def test_weights_and_activations_are_those_keras_counts(architecture, size):
    model = unet(architecture, None if architecture.padded else size)
    channels = 3 if architecture.dimensions == 2 else 1
    counted = cost(architecture, size)
    assert counted.weights == sum(prod(w.shape) for w in model.trainable_weights)
    shapes = {}
    for layer in model.layers:  # follow the shapes through the graph
        if not layer._inbound_nodes or layer.__class__.__name__ == "InputLayer":
            shapes[layer.name] = (1, *size, channels)
            continue
        inputs = [shapes[t._keras_history[0].name] for t in layer._inbound_nodes[0].input_tensors]
        shapes[layer.name] = tuple(layer.compute_output_shape(inputs if len(inputs) > 1 else inputs[0]))
    stored = sum(prod(shape) for name, shape in shapes.items() if name != "image")
    # A transposed convolution's ReLU is inside its layer, which stores both or one: here one.
    assert counted.activations == stored


def test_multiplications_of_a_small_network_by_hand():
    # 8 x 8, F 2, one level: 3->2, 2->2 at 64 pixels; 2->4, 4->4 at 16; up 4->2 (2 x 2) at 16; 4->2, 2->2, 2->2 (1 x 1).
    by_hand = 9 * (6 + 4) * 64 + 9 * (8 + 16) * 16 + 4 * 8 * 16 + 9 * (8 + 4) * 64 + 4 * 64
    assert cost(Architecture(2, 2, 1), (8, 8)).multiplications == by_hand


def test_the_papers_largest_network_has_47_million_weights():
    """And the plain one 22.6 (design notes)."""
    plain, dilated = (cost(parse_experiment(n), (256, 256, 48)) for n in ("3d-f32-l4", "3d-f32-l4-d1.2.4.8"))
    assert plain.weights == pytest.approx(22.6e6, rel=0.005)
    assert dilated.weights == pytest.approx(47.0e6, rel=0.005)


def test_training_takes_more_memory_than_inference_and_grows_with_the_batch():
    c = cost(Architecture(3, 4, 2), (16, 16, 8))
    assert c.training_bytes() > c.inference_bytes()
    assert c.training_bytes(3) - c.training_bytes(2) == 4 * c.activations
    assert c.training_bytes(2, bytes_per_number=2) < c.training_bytes(2)


def test_a_network_too_large_for_the_machine_is_warned_of():
    with pytest.warns(RuntimeWarning, match=r"needs at least 6\.0 GB, this machine has 4\.0"):
        assert warn_if_too_large("3d-f32-l4", 6_000_000_000, 4_000_000_000)
    assert not warn_if_too_large("3d-f32-l4", 4, 4)


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ValueError, match="no output"):
        cost(Architecture(2, 2, 4, padded=False), (60, 60))
    with pytest.raises(ValueError, match="2 numbers"):
        cost(Architecture(2, 2, 1), (16, 16, 16))
    with pytest.raises(ValueError, match=r"multiple of \(4, 4\)"):
        cost(Architecture(2, 2, 2), (16, 18))
