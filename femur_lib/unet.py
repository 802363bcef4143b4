"""The paper's networks: a U-net in 2D or 3D, padded or not, with a dilated centre or a plain one (Methods, Fig. 6).

Each level has two convolutions on the way down, and each pooling is followed by twice as many maps. The way up mirrors
it, and each level also receives the map that was copied on the way down. Shapes: N batch, H rows, W columns, S slices.
Channels always come last.
"""

from collections.abc import Sequence
from functools import partial

from femur_lib._runtime.backend import keras
from femur_lib._runtime.machine import choose_precision
from femur_lib.architecture import Architecture, unpadded_geometry

layers, ops = keras.layers, keras.ops
BIAS = 0.10  # Table 5


def unet(architecture: Architecture, size: tuple[int, int] | None = None, precision: str = "float32") -> keras.Model:
    """Build a network.

    >>> unet(Architecture(dimensions=3, features=2, levels=2)).output_shape
    (None, None, None, None, 2)

    Args:
        architecture: what to build.
        size: rows and columns of the input; needed for unpadded networks, whose crops depend on it. Padded ones
            take any size that is a multiple of ``architecture.size_multiple``.
        precision: what to compute in, see :mod:`femur_lib._runtime.machine`. Logits and softmax are always float32.

    Returns:
        A Keras model. 2D: (N, H, W, 3) to (N, H', W', 2), three consecutive slices to the middle one's
        probabilities. 3D: (N, H, W, S, 1) to (N, H, W, S, 2). The last axis holds background and femur and sums
        to 1.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(choose_precision(precision, architecture.features, architecture.dimensions))
    try:
        return _build(architecture, size)
    finally:
        keras.config.set_dtype_policy(before)


def _build(a: Architecture, size: tuple[int, int] | None) -> keras.Model:
    shape: Sequence[int | None] = (None,) * a.dimensions
    crops = None
    if not a.padded:
        if size is None:
            raise ValueError("an unpadded network needs the size of its input")
        shape = size
        crops = list(zip(*(unpadded_geometry(n, a.levels).crops for n in size), strict=True))
    x = inputs = keras.Input((*shape, a.channels), name="image")

    copied = []
    for level in range(a.levels):  # contracting path
        x = _two_convolutions(x, a, level, "down")
        copied.append(x)
        x = _layer("MaxPooling{}D", a)(_kernel(a, level, 2), name=f"pool{level}")(x)
    x = _centre(x, a)
    for level in reversed(range(a.levels)):  # expanding path
        x = _up_convolution(x, a, level)
        skip = copied[level] if crops is None else layers.Cropping2D(crops[level], name=f"crop{level}")(copied[level])
        x = layers.Concatenate(name=f"copy{level}")([skip, x])
        x = _two_convolutions(x, a, level, "up")
    x = _convolution(x, a, 2, kernel=1, name="logits", dtype="float32")
    outputs = layers.Activation("softmax", dtype="float32", name="probability")(x)
    return keras.Model(inputs, outputs, name=f"unet{a.dimensions}d")


def _two_convolutions(x, a: Architecture, level: int, path: str):
    for i in (1, 2):
        x = _block(x, a, a.features * 2**level, _kernel(a, level, 3), name=f"{path}{level}_conv{i}")
    return x


def _centre(x, a: Architecture):
    """The centre: two convolutions, the second of them once for each dilation rate, side by side (Fig. 6).

    In 3D the rates act within slices, (r, r, 1): the paper's centre is 3 slices deep, where a rate of 4 across slices
    would see nothing but padding.
    """
    maps, kernel = a.features * 2**a.levels, _kernel(a, a.levels, 3)
    x = _block(x, a, maps, kernel, "centre_conv1")
    branches = []
    for rate in a.dilation_rates:
        dilation = (rate, rate) if a.dimensions == 2 else (rate, rate, 1)
        branches.append(_block(x, a, maps, kernel, f"centre_rate{rate}", dilation))
    return branches[0] if len(branches) == 1 else layers.Concatenate(name="centre")(branches)


def _block(x, a: Architecture, maps: int, kernel, name: str, dilation=1):
    """Convolution, normalisation if there is one, ReLU."""
    x = _convolution(x, a, maps, kernel, name, dilation)
    if a.normalisation == "group":
        layer = layers.GroupNormalization(groups=-1, name=f"{name}_norm")
        if keras.backend.backend() == "tensorflow":
            layer.call = partial(_normalised_in_one, layer)  # what is saved is Keras's own layer all the same
        x = layer(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def _normalised_in_one(layer, x):
    """Each map of each image normalised by itself, as batch normalisation of one image that has all these maps.

    TensorFlow has one operation for that, and one for its gradient, which keeps nothing but ``x``. Keras's own is made
    of many: with it a training step of ``3d-f8-l4-a2-gn`` takes a quarter longer on a CPU, and a larger one a fifth
    more memory.
    """
    import tensorflow as tf

    shape, maps = tf.shape(x), x.shape[-1]
    images = shape[0]
    y = tf.transpose(tf.reshape(x, (images, -1, maps)), (1, 0, 2))  # of a single image nothing is moved
    y, *_ = tf.compat.v1.nn.fused_batch_norm(
        tf.reshape(y, (1, -1, 1, images * maps)), tf.tile(layer.gamma, [images]), tf.tile(layer.beta, [images]),
        epsilon=layer.epsilon,
    )  # fmt: skip
    return tf.reshape(tf.transpose(tf.reshape(y, (-1, images, maps)), (1, 0, 2)), shape)


def _up_convolution(x, a: Architecture, level: int):
    """Twice the size, half the maps: a transposed convolution, 2 x 2 and in steps of 2."""
    kernel = _kernel(a, level, 2)
    layer = _layer("Conv{}DTranspose", a)(
        a.features * 2**level, kernel, strides=kernel, padding="same", activation="relu",
        bias_initializer=keras.initializers.Constant(BIAS), name=f"up{level}",
    )  # fmt: skip
    if keras.backend.backend() == "jax":
        layer.call = partial(_up_by_product, layer)  # what is saved is Keras's own layer all the same
    return layer(x)


def _up_by_product(layer, x):
    """What a transposed convolution gives whose kernel is as wide as its step: each pixel by itself becomes several.

    JAX hands the gradient of such a kernel to the GPU as a convolution by a window as large as the image. A training
    step of ``3d-f32-l4`` took 0.86 s on an H200, of which this took 0.79.
    """
    *sizes, channels = x.shape[1:]
    n, axes = ops.shape(x)[0], range(1, len(sizes) + 1)
    weights = ops.reshape(ops.moveaxis(layer.kernel, -1, 0), (channels, -1))
    y = ops.reshape(ops.matmul(x, weights), (n, *sizes, *layer.kernel_size, layer.filters))
    y = ops.transpose(y, (0, *(i for axis in axes for i in (axis, axis + len(sizes))), 2 * len(sizes) + 1))
    larger = (size * k for size, k in zip(sizes, layer.kernel_size, strict=True))
    return layer.activation(ops.reshape(y, (n, *larger, layer.filters)) + layer.bias)


def _convolution(x, a: Architecture, maps: int, kernel, name: str, dilation=1, dtype: str | None = None):
    layer = _layer("Conv{}D", a)(
        maps,
        kernel,
        padding="same" if a.padded else "valid",
        dilation_rate=dilation,
        kernel_initializer="glorot_uniform",  # "Xavier" (Table 5)
        bias_initializer=keras.initializers.Constant(BIAS),
        dtype=dtype,
        name=name,
    )
    if keras.backend.backend() == "tensorflow" and a.dimensions == 3:
        layer.call = partial(_keeping_no_copy, layer)  # what is saved is Keras's own layer all the same
    return layer(x)


def _keeping_no_copy(layer, x):
    """The convolution of two concatenated maps, whose gradient is computed from each map by itself.

    TensorFlow would keep the concatenated copy until then, and cut its gradient in two by copying it: a training step
    of ``3d-f32-l4`` at 256 x 256 x 48 took 5.7 GB on a CPU, and takes 4.7.
    """
    import tensorflow as tf

    if not tf.is_symbolic_tensor(x) or x.op.type != "ConcatV2":
        return type(layer).call(layer, x)

    @tf.custom_gradient
    def convolved(first, second, kernel, bias):
        def gradient(dy):
            of_first, of_second = tf.split(kernel, [first.shape[-1], second.shape[-1]], axis=-2)
            y = layer.convolution_op(first, of_first) + layer.convolution_op(second, of_second)
            inputs = [first, second, kernel, bias]
            return tf.gradients(tf.nn.bias_add(y, bias), inputs, dy, stop_gradients=inputs)  # as if unrelated

        return tf.nn.bias_add(layer.convolution_op(tf.concat([first, second], axis=-1), kernel), bias), gradient

    first, second, _ = x.op.inputs  # the last one is the axis
    return convolved(first, second, *(tf.cast(weight, x.dtype) for weight in (layer.kernel, layer.bias)))


def _layer(kind: str, a: Architecture):
    return getattr(layers, kind.format(a.dimensions))


def _kernel(a: Architecture, level: int, width: int) -> tuple[int, ...]:
    """``width`` along every axis, except across slices in levels that stay within a slice."""
    if a.dimensions == 2:
        return (width, width)
    return (width, width, 1 if level < a.in_plane_levels else width)


def rebuilt(
    model: keras.Model, architecture: Architecture, size: tuple[int, int] | None = None, precision: str = "float32"
) -> keras.Model:
    """A network with the same weights, for inputs of another size or computing in another precision.

    The model itself where nothing has to change.
    """
    if precision == "float32" and size in (None, model.input_shape[1:3]) and model.dtype_policy.name == "float32":
        return model
    other = unet(architecture, size, precision)
    other.set_weights(model.get_weights())
    return other
