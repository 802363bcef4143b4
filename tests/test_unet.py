"""The networks that Keras builds are those of the paper, and every pixel comes out where it went in."""

from functools import partial

import keras
import numpy as np
import pytest
from conftest import pass_through

from femur_lib._runtime.backend import gradient
from femur_lib.architecture import Architecture, parse_network, unpadded_geometry
from femur_lib.unet import rebuilt, unet

pytestmark = pytest.mark.backends


def randomise(model: keras.Model) -> keras.Model:
    """Weights large enough for the output to vary from pixel to pixel."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            fan_in = np.prod(kernel.shape[:-1])
            layer.set_weights([rng.normal(0, (4 / fan_in) ** 0.5, kernel.shape), rng.normal(0, 0.1, bias.shape)])
    return model


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


# --- the paper's networks


@pytest.mark.parametrize(("dimensions", "across"), [(2, []), (3, [1])])
def test_the_dilated_centre_puts_its_rates_side_by_side_and_stays_within_slices(dimensions, across):
    model = unet(Architecture(dimensions, 2, 1, dilation_rates=(1, 2, 4)))
    rates = [model.get_layer(f"centre_rate{r}").dilation_rate for r in (1, 2, 4)]
    assert rates == [(r, r, *across) for r in (1, 2, 4)]
    assert model.get_layer("centre").output.shape[-1] == 3 * 4


@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_bias_begins_at_a_tenth(dimensions):
    biases = [w for w in unet(Architecture(dimensions, 2, 2)).weights if w.name == "bias"]
    assert len(biases) == 13  # ten 3 x 3 convolutions, two transposed ones, the last one
    for bias in biases:
        np.testing.assert_allclose(bias.numpy(), 0.1)


def test_kernels_begin_as_xavier_says():
    kernel = unet(Architecture(2, 16, 1)).get_layer("down0_conv2").kernel.numpy()
    limit = np.sqrt(6 / (2 * 9 * 16))
    assert abs(kernel).max() <= limit
    assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.1)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_pooling_keeps_the_largest_value(dimensions):
    x = np.arange(2.0**dimensions).reshape(1, *[2] * dimensions, 1).repeat(2, -1)
    pooled = np.asarray(unet(Architecture(dimensions, 2, 1)).get_layer("pool0")(x))
    np.testing.assert_array_equal(pooled.ravel(), [2**dimensions - 1] * 2)


@pytest.mark.parametrize("normalisation", [None, "group"])
def test_every_convolution_except_the_last_is_rectified(normalisation):
    model = unet(Architecture(2, 4, 1, normalisation=normalisation))
    if normalisation is None:
        randomise(model)
    maps = [layer.output for layer in model.layers if layer.name.endswith("_relu") or layer.name == "up0"]
    rectified = keras.Model(model.input, maps).predict_on_batch(images(1, 16, 16, 3))
    assert len(rectified) == 7
    for m in rectified:
        assert m.min() == 0
        assert m.max() > 0
    logits = keras.Model(model.input, model.get_layer("logits").output).predict_on_batch(images(1, 16, 16, 3))
    assert normalisation or logits.min() < 0


# --- padded networks


@pytest.mark.parametrize(
    "name",
    ["2d-f2-l2", "2d-f2-l1-d1.2", "2d-f2-l1-gn", "3d-f2-l2", "3d-f2-l1-d1.2", "3d-f2-l2-a1", "3d-f2-l2-a2",
     "3d-f2-l1-a1-gn"],
)  # fmt: skip
def test_a_padded_network_keeps_the_size_and_gives_probabilities(name):
    architecture = parse_network(name)
    size = tuple(3 * m for m in architecture.size_multiple)
    p = unet(architecture).predict_on_batch(images(2, *size, architecture.channels))
    assert p.shape == (2, *size, 2)
    assert p.min() >= 0
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-5)


def test_every_convolution_except_the_last_is_normalised():
    names = {layer.name for layer in unet(Architecture(3, 2, 1, normalisation="group")).layers}
    convolutions = {n.removesuffix("_relu") for n in names if n.endswith("_relu")}
    assert len(convolutions) == 6
    assert {n for n in names if n.endswith("_norm")} == {f"{n}_norm" for n in convolutions}


def test_group_normalisation_treats_each_map_alone():
    norm = unet(Architecture(3, 2, 1, normalisation="group")).get_layer("down0_conv1_norm")
    normalised = keras.ops.convert_to_numpy(norm(np.float32((5 + 3 * images(1, 4, 4, 4, 2)) * [1, 100])))
    np.testing.assert_allclose(normalised.mean((1, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(normalised.std((1, 2, 3)), 1, atol=1e-2)


@pytest.mark.backends
@pytest.mark.parametrize("size", [(5, 4), (3, 4, 2)])
def test_group_normalisation_and_its_gradient_are_those_of_keras(size):
    norm = unet(Architecture(len(size), 3, 1, normalisation="group")).get_layer("down0_conv1_norm")
    norm.set_weights([np.float32([0.5, 1, 2]), np.float32([-1, 0, 3])])
    x, weights = np.float32(2 + images(2, *size, 3) * [1, 3, 5]), images(2, *size, 3) ** 2
    plain = partial(type(norm).call, norm)
    both = norm(x), plain(keras.ops.convert_to_tensor(x))
    np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, both), atol=1e-5)
    ours, theirs = (gradient(lambda x, f=f: keras.ops.sum(keras.ops.multiply(f(x), weights)), x) for f in (norm, plain))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow keeps a copy")
@pytest.mark.parametrize("name", ["3d-f2-l2", "3d-f2-l2-a1-gn"])
def test_a_gradient_that_keeps_no_concatenated_maps_is_the_same_gradient(name):
    import tensorflow as tf

    model, x = randomise(unet(parse_network(name))), tf.constant(images(2, 8, 12, 4, 1))

    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(x)
            p = model(x, training=True)
            loss = tf.reduce_mean(p[..., 1] ** 2)
        return [p, *tape.gradient(loss, [x, *(v.value for v in model.trainable_variables)])]

    step = tf.function(gradients)
    of_kernels = [op for op in step.get_concrete_function().graph.get_operations() if "BackpropFilter" in op.type]
    assert of_kernels
    assert not [op for op in of_kernels if op.inputs[0].op.type == "ConcatV2"]
    for ours, plain in zip(step(), gradients(), strict=True):  # computed one by one, they are Keras's own
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_only_what_lies_between_input_and_logits_is_half_as_wide(policy):
    before = keras.config.dtype_policy()
    model = unet(Architecture(2, 2, 1), precision=policy)
    assert keras.config.dtype_policy() == before
    assert {w.dtype for w in model.trainable_weights} == {"float32"}
    assert {n.name for n in model.layers if n.compute_dtype == "float32"} == {"logits", "probability"}
    p = model.predict_on_batch(images(1, 8, 8, 3))
    assert p.dtype == np.float32
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-6)


# --- unpadded networks


@pytest.mark.parametrize(
    ("size", "levels"),
    [(18, 1), (21, 1), (22, 1), (23, 1), (44, 2), (45, 2), (46, 2), (47, 2), (49, 2), (92, 3), (99, 3)],
)
def test_the_built_network_has_the_size_that_the_geometry_says(size, levels):
    model = unet(Architecture(2, 2, levels, padded=False), (size, size + 3))
    expected = unpadded_geometry(size, levels).output, unpadded_geometry(size + 3, levels).output
    assert model.output_shape == (None, *expected, 2)
    assert model.predict_on_batch(images(1, size, size + 3, 3)).shape == (1, *expected, 2)


@pytest.mark.parametrize("route", [0, 1, 2])
@pytest.mark.parametrize("size", [44, 45, 46, 47])
def test_copied_and_up_sampled_maps_meet_at_the_same_place(size, route):
    """By whatever level a pixel goes, it comes out where the geometry says it lies in the input."""
    levels = 2
    model = unet(Architecture(2, 1, levels, padded=False), (size, size + 1))
    pass_through(model, levels, route)
    # Pooling must not mix values, so the image consists of blocks as large as a pixel of the deepest level,
    # beginning where that level's pixels do.
    block, phase = 2**route, 2 ** (route + 1) - 2
    coarse = np.random.default_rng(0).uniform(0.1, 3, (60, 60)).astype(np.float32)
    image = coarse.repeat(block, 0).repeat(block, 1)[-phase % block :, -phase % block :][:size, : size + 1]
    p = model.predict_on_batch(np.stack([image * 0 + 9, image, image * 0 + 7], axis=-1)[None])[0, ..., 1]
    rows, columns = unpadded_geometry(size, levels), unpadded_geometry(size + 1, levels)
    expected = image[rows.before : rows.before + rows.output, columns.before : columns.before + columns.output]
    np.testing.assert_allclose(np.log(p / (1 - p)), expected, atol=1e-4)


@pytest.mark.parametrize(("levels", "size", "larger"), [(1, 46, 50), (2, 46, 58), (2, 58, 68), (2, 60, 69)])
def test_inputs_of_two_sizes_that_see_the_same_image_have_the_same_answers(levels, size, larger):
    """Sizes that pool differently, cropped by half of the difference in size, would not agree."""
    architecture, at = Architecture(2, 2, levels, padded=False), 2**levels
    model = randomise(unet(architecture, (size, size)))
    image = images(1, larger, larger, 3)
    here = model.predict_on_batch(image[:, at : at + size, at : at + size])
    there = rebuilt(model, architecture, (larger, larger)).predict_on_batch(image)
    there = there[:, at : at + here.shape[1], at : at + here.shape[2]]
    assert here[..., 1].std() > 0.01
    np.testing.assert_allclose(here[:, : there.shape[1], : there.shape[2]], there, atol=1e-5)


@pytest.mark.parametrize(("size", "says"), [(None, "needs the size"), ((20, 60), "has no output")])
def test_an_unpadded_network_must_know_a_size_that_has_an_output(size, says):
    with pytest.raises(ValueError, match=says):
        unet(Architecture(2, 2, 2, padded=False), size)


# --- built again


def test_a_network_is_rebuilt_only_where_something_has_to_change():
    solid, flat = Architecture(3, 2, 1), Architecture(2, 2, 1, padded=False)
    model, unpadded = unet(solid), unet(flat, (20, 24))
    assert rebuilt(model, solid) is model
    assert rebuilt(unpadded, flat, (20, 24)) is unpadded
    assert rebuilt(unpadded, flat, (24, 20)).input_shape == (None, 24, 20, 3)
    half = rebuilt(model, solid, precision="mixed_bfloat16")
    assert half.get_layer("down0_conv1").compute_dtype == "bfloat16"
    back = rebuilt(half, solid)
    assert back is not half
    assert {layer.compute_dtype for layer in back.layers} == {"float32"}
    for other in (half, back):
        assert all((a == b).all() for a, b in zip(model.get_weights(), other.get_weights(), strict=True))


def test_stacks_of_other_depths_may_follow_one_another():
    model = unet(parse_network("3d-f2-l2"))
    for slices in (24, 16, 8):
        assert model.predict_on_batch(np.zeros((1, 16, 16, slices, 1), np.float32)).shape == (1, 16, 16, slices, 2)
