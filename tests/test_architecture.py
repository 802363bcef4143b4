"""A network's name, its sizes, what it sees and what it costs, each found by the library and in another way."""

from math import prod

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from receptive_field_oracle import measured_receptive_field

from femur_lib._runtime.errors import DataError
from femur_lib.architecture import (
    PAPER_NETWORKS,
    Architecture,
    cost,
    parse_network,
    receptive_field,
    seed_of,
    size_for_output,
    unpadded_geometry,
    with_features,
    without_seed,
)
from femur_lib.paper import published
from femur_lib.unet import unet

# --- names


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("2d-f64-l4", Architecture(2, 64, 4)),
        ("2d-unpadded-f64-l3", Architecture(2, 64, 3, padded=False)),
        ("3d-f32-l4-d1.2.4.8", Architecture(3, 32, 4, dilation_rates=(1, 2, 4, 8))),
        ("2d-f64-l4-d1.8", Architecture(2, 64, 4, dilation_rates=(1, 8))),
        ("3d-f16-l4-a2", Architecture(3, 16, 4, in_plane_levels=2)),
        ("3d-f16-l4-a2-gn-s3", Architecture(3, 16, 4, in_plane_levels=2, normalisation="group")),
    ],
)
def test_a_name_says_what_the_network_is(name, architecture):
    assert parse_network(name) == architecture


def test_the_papers_networks_are_the_18_of_its_tables_and_each_has_a_name_that_can_be_read():
    assert PAPER_NETWORKS == published.NETWORKS
    assert len({parse_network(name) for name in PAPER_NETWORKS}) == 18


@pytest.mark.parametrize(
    "name",
    ["", "unet", "4d-f16-l4", "3d-f16", "3d-l4-f16", "3d-f16-l4-", "3d-f16-l4-d", "3d-f16-l4-d1.", "3d-f16-l4-xn",
     "3D-f16-l4", " 3d-f16-l4", "3d-f16-l4\n", "3d-f-16-l4", "3d-f1.5-l4", "3d-f16-l4-s", "3d-f16-l4-s1-gn"],
)  # fmt: skip
def test_a_name_that_breaks_the_rule_is_refused(name):
    with pytest.raises(DataError, match="is not the name of a network; one such as 3d-f16-l4"):
        parse_network(name)


@pytest.mark.parametrize(
    "name",
    ["3d-unpadded-f16-l4", "2d-unpadded-f64-l4-d1.2", "3d-f0-l4", "3d-f16-l0", "3d-f16-l4-d0", "3d-f16-l4-d2.2",
     "2d-f16-l4-a1", "3d-f16-l2-a3"],
)  # fmt: skip
def test_the_name_of_a_network_that_cannot_be_built_is_refused(name):
    with pytest.raises(DataError, match=f"{name} cannot be built: "):
        parse_network(name)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dimensions": 1}, "2 or 3"),
        ({"dilation_rates": ()}, "different whole numbers"),
        ({"normalisation": "layer"}, "'layer'"),
    ],
)
def test_an_architecture_out_of_range_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        Architecture(**{"dimensions": 2, "features": 2, "levels": 2} | change)


def test_a_name_may_ask_for_another_seed_of_the_same_network():
    assert seed_of("3d-f16-l4") is None
    assert seed_of("3d-f16-l4-a2-s12") == 12
    assert without_seed("3d-f16-l4-a2-s12") == "3d-f16-l4-a2" == without_seed("3d-f16-l4-a2")


def test_a_name_may_be_given_another_number_of_maps():
    assert with_features("3d-f32-l4-d1.2-s1", 8) == "3d-f8-l4-d1.2-s1"


def test_a_divisor_makes_every_network_smaller_down_to_one_map():
    assert parse_network("3d-f32-l4-d1.2", features_divisor=4) == Architecture(3, 8, 4, dilation_rates=(1, 2))
    assert parse_network("2d-f2-l2", features_divisor=8).features == 1


def test_where_the_centre_counts_as_a_level_there_is_one_pooling_less():
    assert parse_network("3d-f32-l4", centre_counts_as_level=True).levels == 3
    with pytest.raises(DataError, match="levels must be at least 1"):
        parse_network("3d-f32-l1", centre_counts_as_level=True)


# --- sizes


@pytest.mark.parametrize(
    ("name", "multiple"),
    [("2d-f2-l3", (8, 8)), ("3d-f2-l4", (16, 16, 16)), ("3d-f2-l4-a2", (16, 16, 4)), ("3d-f2-l2-a2", (4, 4, 1))],
)
def test_each_side_must_be_a_multiple_of_two_to_the_number_of_poolings(name, multiple):
    assert parse_network(name).size_multiple == multiple


@pytest.mark.parametrize(
    ("size", "levels", "output"), [(512, 2, 472), (512, 3, 420), (512, 4, 324), (572, 4, 388), (572, 2, 532)]
)
def test_output_sizes_of_known_unpadded_networks(size, levels, output):
    assert unpadded_geometry(size, levels).output == output


@pytest.mark.parametrize(("levels", "smallest"), [(1, 18), (2, 44), (3, 92), (4, 188)])
def test_the_smallest_input_that_has_an_output(levels, smallest):
    assert size_for_output(1, levels) == smallest
    assert unpadded_geometry(smallest, levels).output >= 1
    with pytest.raises(ValueError, match=f"{levels} levels has no output for an input of {smallest - 1}"):
        unpadded_geometry(smallest - 1, levels)


def follow_pixels(size: int, levels: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Where each output pixel lies in the input, and the crops by which copied maps meet the up-sampled ones."""
    place, copied, crops = np.arange(size, dtype=float), [], []
    for _ in range(levels):
        place = place[2:-2]
        copied.append(place)
        place = place[: len(place) // 2 * 2].reshape(-1, 2).mean(1)
    place = place[2:-2]
    for level in reversed(range(levels)):
        place = np.add.outer(place, [-(2**level) / 2, 2**level / 2]).ravel()
        (start,) = np.flatnonzero(copied[level] == place[0])
        crops.append((int(start), len(copied[level]) - len(place) - int(start)))
        place = place[2:-2]
    return place, crops[::-1]


@given(size=st.integers(16, 700), levels=st.integers(1, 4))
def test_pixels_followed_one_by_one_come_out_where_the_geometry_says(size, levels):
    if size < size_for_output(1, levels):
        return
    geometry, (place, crops) = unpadded_geometry(size, levels), follow_pixels(size, levels)
    np.testing.assert_array_equal(place, geometry.before + np.arange(geometry.output))
    assert list(geometry.crops) == crops
    assert min(min(crop) for crop in crops) >= 0
    assert geometry.before + geometry.output + geometry.after == size
    assert geometry.after >= geometry.before > 0


@given(output=st.integers(1, 600), levels=st.integers(1, 4))
def test_the_size_for_an_output_is_the_smallest_that_serves(output, levels):
    size = size_for_output(output, levels)
    assert unpadded_geometry(size, levels).output >= output
    if size > size_for_output(1, levels):
        assert unpadded_geometry(size - 1, levels).output < output


# --- what an output voxel sees


def test_the_receptive_field_of_one_level_by_hand():
    """Backwards: two convolutions, halved, two convolutions, doubled, two convolutions."""
    # 8 <- 6..10 <- 3..5 <- 1..7 <- 2..15 <- 0..17; and 10 <- 8..12 <- 4..6 <- 2..8 <- 4..17 <- 2..19
    assert receptive_field(Architecture(2, 1, 1), (8, 10)) == ((0, 17), (2, 19))


def test_dilation_widens_the_field_within_slices_only():
    plain = receptive_field(Architecture(3, 1, 2), (64, 64, 16))
    dilated = receptive_field(Architecture(3, 1, 2, dilation_rates=(1, 4)), (64, 64, 16))
    assert [(p[0] - d[0], d[1] - p[1]) for p, d in zip(plain, dilated, strict=True)] == [(12, 12), (12, 12), (0, 0)]


@pytest.mark.parametrize(
    ("name", "shape", "position"),
    [
        ("2d-f2-l1", (32, 32), (13, 16)),
        ("2d-f2-l2", (64, 64), (29, 34)),
        ("2d-f2-l2-d2.1", (80, 72), (39, 34)),
        ("3d-f2-l1", (28, 28, 24), (12, 13, 11)),
        ("3d-f2-l1-d1.2", (32, 32, 24), (15, 16, 11)),
        ("3d-f2-l2-a1", (60, 60, 24), (29, 30, 11)),
    ],
)
def test_the_computed_receptive_field_is_the_measured_one(name, shape, position):
    architecture = parse_network(name)
    computed = receptive_field(architecture, position)
    assert all(first >= 0 and last < n for (first, last), n in zip(computed, shape, strict=True))  # nothing cut off
    model = unet(architecture)
    before = model.get_weights()
    assert measured_receptive_field(model, shape, position, architecture.channels) == computed
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))  # put back afterwards


def test_the_receptive_field_of_an_unpadded_network_is_refused():
    with pytest.raises(ValueError, match="unpadded"):
        receptive_field(Architecture(2, 1, 1, padded=False), (8, 8))


# --- what it costs


@pytest.mark.parametrize(
    ("name", "size"),
    [("2d-f4-l2", (16, 24)), ("2d-f4-l2-d1.2.4", (16, 16)), ("2d-unpadded-f4-l2", (60, 53)), ("3d-f4-l2", (16, 8, 12)),
     ("3d-f2-l3-d1.4", (16, 16, 8)), ("3d-f4-l2-a1-gn", (16, 8, 6))],
)  # fmt: skip
def test_weights_activations_and_multiplications_are_those_of_the_layers_that_keras_builds(name, size):
    architecture = parse_network(name)
    model = unet(architecture, None if architecture.padded else size)
    shapes, multiplications = {"image": (1, *size, architecture.channels)}, 0
    for layer in model.layers[1:]:  # follow the shapes through the graph
        inputs = [shapes[t._keras_history[0].name] for t in layer._inbound_nodes[0].input_tensors]
        shapes[layer.name] = tuple(layer.compute_output_shape(inputs if len(inputs) > 1 else inputs[0]))
        if hasattr(layer, "kernel"):  # each position of a convolution's output, or of a transposed one's input
            transposed = isinstance(layer, keras.layers.Conv2DTranspose | keras.layers.Conv3DTranspose)
            positions = (inputs[0] if transposed else shapes[layer.name])[1:-1]
            multiplications += prod(layer.kernel.shape) * prod(positions)
    counted = cost(architecture, size)
    assert counted.weights == sum(prod(w.shape) for w in model.trainable_weights)
    assert counted.activations == sum(prod(shape) for name, shape in shapes.items() if name != "image")
    assert counted.multiplications == multiplications


@pytest.mark.parametrize(("name", "weights"), [("3d-f32-l4", 22_575_362), ("3d-f32-l4-d1.2.4.8", 46_956_290)])
def test_weights_of_the_papers_largest_networks(name, weights):
    assert cost(parse_network(name), (256, 256, 48)).weights == unet(parse_network(name)).count_params() == weights


def test_training_takes_more_memory_than_inference_and_grows_with_the_batch():
    c = cost(Architecture(3, 4, 2), (16, 16, 8))
    assert c.training_bytes() > c.inference_bytes()
    assert c.training_bytes(3) - c.training_bytes(2) == 4 * c.activations
    assert c.training_bytes(2, bytes_per_number=2) < c.training_bytes(2)


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("2d-unpadded-f2-l4", (60, 60), "no output"),
        ("2d-f2-l1", (16, 16, 16), "2 numbers"),
        ("2d-f2-l2", (16, 18), r"multiple of \(4, 4\)"),
    ],
)
def test_a_size_that_a_network_cannot_take_has_no_cost(name, size, says):
    with pytest.raises(ValueError, match=says):
        cost(parse_network(name), size)
