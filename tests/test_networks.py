import keras
import numpy as np
import pytest
from conftest import pass_through
from hypothesis import given
from hypothesis import strategies as st

from femur_lib.architecture import Architecture, unpadded_geometry
from femur_lib.networks import unet

ODD_AND_EVEN = [
    (18, 1),
    (21, 1),
    (22, 1),
    (23, 1),
    (44, 2),
    (45, 2),
    (46, 2),
    (47, 2),
    (49, 2),
    (92, 3),
    (99, 3),
]


def randomise(model: keras.Model) -> None:
    """Weights large enough for the output to vary from pixel to pixel."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            fan_in = np.prod(kernel.shape[:-1])
            layer.set_weights([rng.normal(0, (4 / fan_in) ** 0.5, kernel.shape), rng.normal(0, 0.1, bias.shape)])


def has_output(size: int, levels: int) -> bool:
    try:
        return unpadded_geometry(size, levels).output >= 1
    except ValueError:
        return False


# --- the paper's networks


@pytest.mark.parametrize(
    ("rates", "parameters"), [((1,), 22_575_362), ((1, 2, 4, 8), 46_956_290)], ids=["3d-f32-l4", "dilated"]
)
def test_parameters_of_the_papers_largest_3d_networks(rates, parameters):
    assert unet(Architecture(3, 32, 4, dilation_rates=rates)).count_params() == parameters


def test_maps_double_with_every_level():
    model = unet(Architecture(2, 3, 2))
    maps = [model.get_layer(f"{name}_conv2").filters for name in ("down0", "down1")]
    assert [*maps, model.get_layer("centre_rate1").filters] == [3, 6, 12]
    assert [model.get_layer(f"up{k}").filters for k in (1, 0)] == [6, 3]


def test_the_dilated_centre_puts_its_rates_side_by_side():
    model = unet(Architecture(2, 2, 1, dilation_rates=(1, 2, 4)))
    assert [model.get_layer(f"centre_rate{r}").dilation_rate for r in (1, 2, 4)] == [(1, 1), (2, 2), (4, 4)]
    assert model.get_layer("centre").output.shape[-1] == 3 * 4


def test_3d_rates_stay_within_slices():
    model = unet(Architecture(3, 2, 1, dilation_rates=(1, 8)))
    assert model.get_layer("centre_rate8").dilation_rate == (8, 8, 1)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_bias_begins_at_a_tenth(dimensions):
    biases = [w for w in unet(Architecture(dimensions, 2, 2)).weights if w.name == "bias"]
    assert len(biases) == 13  # ten 3 x 3 convolutions, two transposed ones, the last one
    for bias in biases:
        np.testing.assert_allclose(bias.numpy(), 0.1)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_pooling_keeps_the_largest_value(dimensions):
    x = np.arange(2.0**dimensions).reshape(1, *[2] * dimensions, 1).repeat(2, -1)
    pooled = np.asarray(unet(Architecture(dimensions, 2, 1)).get_layer("pool0")(x))
    np.testing.assert_array_equal(pooled.ravel(), [2**dimensions - 1] * 2)


@pytest.mark.parametrize("normalisation", [None, "batch"])
def test_every_convolution_but_the_last_is_rectified(normalisation):
    model = unet(Architecture(2, 4, 1, normalisation=normalisation))
    if normalisation is None:
        randomise(model)
    maps = [layer.output for layer in model.layers if layer.name.endswith("_relu") or layer.name == "up0"]
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype(np.float32)
    rectified = keras.Model(model.input, maps).predict_on_batch(x)
    assert len(rectified) == 7
    for m in rectified:
        assert m.min() == 0
        assert m.max() > 0


def test_kernels_begin_as_xavier_says():
    kernel = unet(Architecture(2, 16, 1)).get_layer("down0_conv2").kernel.numpy()
    limit = np.sqrt(6 / (2 * 9 * 16))
    assert abs(kernel).max() <= limit
    assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.1)


# --- padded networks


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(2, 2, 2),
        Architecture(2, 2, 1, dilation_rates=(1, 2)),
        Architecture(3, 2, 2),
        Architecture(3, 2, 1, dilation_rates=(1, 2)),
        Architecture(3, 2, 2, in_plane_levels=1),
        Architecture(3, 2, 2, in_plane_levels=2),
        Architecture(3, 2, 1, normalisation="batch"),
        Architecture(3, 2, 1, in_plane_levels=1, normalisation="group"),
        Architecture(2, 2, 1, normalisation="group"),
    ],
    ids=lambda a: f"{a.dimensions}d-l{a.levels}-d{a.dilation_rates}-a{a.in_plane_levels}-{a.normalisation}",
)
def test_a_padded_network_keeps_the_size_and_gives_probabilities(architecture):
    size = tuple(3 * m for m in architecture.size_multiple)
    x = np.random.default_rng(0).normal(size=(2, *size, 3 if architecture.dimensions == 2 else 1))
    p = unet(architecture).predict_on_batch(x.astype(np.float32))
    assert p.shape == (2, *size, 2)
    assert p.min() >= 0
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "multiple"),
    [
        (Architecture(2, 2, 3), (8, 8)),
        (Architecture(3, 2, 4), (16, 16, 16)),
        (Architecture(3, 2, 4, in_plane_levels=2), (16, 16, 4)),
        (Architecture(3, 2, 2, in_plane_levels=2), (4, 4, 1)),
    ],
)
def test_sides_must_be_a_multiple_of_two_to_the_poolings(architecture, multiple):
    assert architecture.size_multiple == multiple


def test_in_plane_levels_do_not_mix_slices():
    model = unet(Architecture(3, 2, 2, in_plane_levels=1))
    assert model.get_layer("down0_conv1").kernel_size == model.get_layer("up0_conv2").kernel_size == (3, 3, 1)
    assert model.get_layer("pool0").pool_size == model.get_layer("up0").strides == (2, 2, 1)
    assert model.get_layer("down1_conv1").kernel_size == model.get_layer("centre_conv1").kernel_size == (3, 3, 3)
    assert model.get_layer("pool1").pool_size == model.get_layer("up1").strides == (2, 2, 2)


@pytest.mark.parametrize("kind", ["batch", "group"])
def test_every_convolution_but_the_last_is_normalised(kind):
    names = {layer.name for layer in unet(Architecture(3, 2, 1, normalisation=kind)).layers}
    convolutions = {n.removesuffix("_relu") for n in names if n.endswith("_relu")}
    assert len(convolutions) == 6
    assert {n for n in names if n.endswith("_norm")} == {f"{n}_norm" for n in convolutions}


def test_group_normalisation_treats_each_map_alone():
    model = unet(Architecture(3, 2, 1, normalisation="group"))
    norm = model.get_layer("down0_conv1_norm")
    x = np.random.default_rng(0).normal(5, 3, (1, 4, 4, 4, 2)).astype(np.float32) * [1, 100]
    np.testing.assert_allclose(np.asarray(norm(x)).mean((1, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(np.asarray(norm(x)).std((1, 2, 3)), 1, atol=1e-2)


def test_probabilities_are_float32_under_mixed_precision():
    before = keras.config.dtype_policy()
    model = unet(Architecture(2, 2, 1), precision="mixed_bfloat16")
    assert keras.config.dtype_policy() == before
    assert model.get_layer("logits").compute_dtype == "float32"
    assert model.get_layer("down0_conv1").compute_dtype == "bfloat16"
    p = model.predict_on_batch(np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32))
    assert p.dtype == np.float32
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-6)


# --- unpadded networks


@pytest.mark.parametrize(
    ("size", "levels", "output"), [(512, 2, 472), (512, 3, 420), (512, 4, 324), (572, 4, 388), (572, 2, 532)]
)
def test_unpadded_output_sizes(size, levels, output):
    geometry = unpadded_geometry(size, levels)
    assert geometry.output == output
    assert geometry.before + output + geometry.after == size


def test_crops_at_512_with_4_levels():
    assert [start for start, _ in unpadded_geometry(512, 4).crops] == [88, 40, 16, 4]


@pytest.mark.parametrize(("levels", "smallest"), [(1, 18), (2, 44), (3, 92), (4, 188)])
def test_the_smallest_size_that_has_an_output(levels, smallest):
    assert has_output(smallest, levels)
    assert not any(has_output(size, levels) for size in range(1, smallest))


def test_an_input_without_an_output_is_refused():
    with pytest.raises(ValueError, match="4 levels has no output for an input of 100"):
        unpadded_geometry(100, 4)


@given(size=st.integers(16, 700), levels=st.integers(1, 4))
def test_no_crop_is_negative(size, levels):
    if has_output(size, levels):
        geometry = unpadded_geometry(size, levels)
        assert min(n for crop in geometry.crops for n in crop) >= 0
        assert geometry.after >= geometry.before > 0


@pytest.mark.parametrize(("size", "levels"), ODD_AND_EVEN)
def test_the_built_network_has_the_size_that_the_arithmetic_says(size, levels):
    model = unet(Architecture(2, 2, levels, padded=False), (size, size + 3))
    expected = unpadded_geometry(size, levels).output, unpadded_geometry(size + 3, levels).output
    assert model.output_shape == (None, *expected, 2)


def test_what_comes_out_has_that_size_too():
    model = unet(Architecture(2, 2, 2, padded=False), (45, 50))
    p = model.predict_on_batch(np.zeros((1, 45, 50, 3), np.float32))
    assert p.shape == (1, unpadded_geometry(45, 2).output, unpadded_geometry(50, 2).output, 2)
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("route", [0, 1, 2])
@pytest.mark.parametrize("size", [44, 45, 46, 47])
def test_copied_and_up_sampled_maps_meet_at_the_same_place(size, route):
    """By whatever level a pixel goes, it comes out where the arithmetic says it lies in the input."""
    levels = 2
    model = unet(Architecture(2, 1, levels, padded=False), (size, size + 1))
    pass_through(model, levels, route)
    # Pooling must not mix values, so the image consists of blocks as large as a pixel of the deepest level,
    # beginning where that level's pixels do.
    block, phase = 2**route, 2 ** (route + 1) - 2
    coarse = np.random.default_rng(0).uniform(0.1, 3, (60, 60)).astype(np.float32)
    image = coarse.repeat(block, 0).repeat(block, 1)[-phase % block :, -phase % block :][:size, : size + 1]
    x = np.stack([image * 0 + 9, image, image * 0 + 7], axis=-1)[None]
    p = model.predict_on_batch(x)[0, ..., 1]
    rows, columns = unpadded_geometry(size, levels), unpadded_geometry(size + 1, levels)
    expected = image[rows.before : rows.before + rows.output, columns.before : columns.before + columns.output]
    np.testing.assert_allclose(np.log(p / (1 - p)), expected, atol=1e-4)


@pytest.mark.parametrize("levels", [1, 2])
def test_an_unpadded_network_moves_its_output_with_its_input(levels):
    size, step = 46, 2**levels
    model = unet(Architecture(2, 4, levels, padded=False), (size, size))
    randomise(model)
    image = np.random.default_rng(1).normal(size=(1, size + step, size + 2 * step, 3)).astype(np.float32)
    here = model.predict_on_batch(image[:, :size, :size])
    there = model.predict_on_batch(image[:, step:, 2 * step :])
    assert here[..., 1].std() > 0.01
    np.testing.assert_allclose(there[:, :-step, : -2 * step], here[:, step:, 2 * step :], atol=1e-5)


# --- what cannot be built


@pytest.mark.parametrize(
    "arguments",
    [
        {"dimensions": 1},
        {"dimensions": 4},
        {"features": 0},
        {"levels": 0},
        {"dimensions": 3, "padded": False},
        {"padded": False, "dilation_rates": (1, 2)},
        {"normalisation": "layer"},
        {"dilation_rates": ()},
        {"dilation_rates": (0,)},
        {"dilation_rates": (1, 1)},
        {"in_plane_levels": -1},
    ],
    ids=str,
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError):  # noqa: PT011  (each has a message of its own)
        Architecture(**{"dimensions": 2, "features": 2, "levels": 2, **arguments})


def test_an_unpadded_network_must_know_its_size():
    with pytest.raises(ValueError, match="needs the size"):
        unet(Architecture(2, 2, 2, padded=False))


def test_an_unpadded_network_too_small_for_an_output_is_refused():
    with pytest.raises(ValueError, match="has no output"):
        unet(Architecture(2, 2, 2, padded=False), (20, 60))
