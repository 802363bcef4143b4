"""The paper's networks: a U-net in 2D or 3D, padded or not, with a dilated centre or a plain one (Methods, Fig. 6).

Shapes in comments: N batch, H rows, W columns, S slices, C maps. Channels are always last.
"""

import keras
from keras import layers

from femur_lib.architecture import CHANNELS_2D, Architecture, unpadded_geometry
from femur_lib.precision import resolve

BIAS = 0.10  # Table 5


def unet(architecture: Architecture, size: tuple[int, int] | None = None, precision: str = "float32") -> keras.Model:
    """Build a network.

    Args:
        architecture: see :class:`Architecture`.
        size: rows and columns of the input; needed for unpadded networks, whose crops depend on it. Padded ones
            take any size that is a multiple of ``architecture.size_multiple``.
        precision: of the arithmetic, see :mod:`femur_lib.precision`. Logits and softmax are float32 in any case.

    Returns:
        A Keras model. 2D: (N, H, W, 3) to (N, H', W', 2), three consecutive slices to the middle one's
        probabilities. 3D: (N, H, W, S, 1) to (N, H, W, S, 2). The last axis holds background and femur and sums
        to 1.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(resolve(precision, architecture))
    try:
        return _build(architecture, size)
    finally:
        keras.config.set_dtype_policy(before)


def _build(a: Architecture, size: tuple[int, int] | None) -> keras.Model:
    if a.padded:
        shape: tuple[int | None, ...] = (None,) * a.dimensions
        crops = None
    else:
        if size is None:
            raise ValueError("an unpadded network needs the size of its input")
        shape = size
        crops = list(zip(*(_crops(n, a) for n in size), strict=True))
    x = inputs = keras.Input((*shape, CHANNELS_2D if a.dimensions == 2 else 1), name="image")

    copied = []
    for level in range(a.levels):  # contracting path
        x = _two_convolutions(x, a, level)
        copied.append(x)
        x = _layer("MaxPooling", a)(_kernel(a, level, 2), name=f"pool{level}")(x)
    x = _centre(x, a)
    for level in reversed(range(a.levels)):  # expanding path
        up = _kernel(a, level, 2)
        x = _transposed(a)(
            a.features * 2**level, up, strides=up, padding="same", activation="relu",
            bias_initializer=keras.initializers.Constant(BIAS), name=f"up{level}",
        )(x)  # fmt: skip
        skip = copied[level]
        if crops is not None:
            skip = layers.Cropping2D(crops[level], name=f"crop{level}")(skip)
        x = layers.Concatenate(name=f"copy{level}")([skip, x])
        x = _two_convolutions(x, a, level, "up")
    x = _convolution(x, a, 2, kernel=1, name="logits", dtype="float32")
    if a.relu_logits:
        x = layers.Activation("relu", dtype="float32", name="relu_logits")(x)
    outputs = layers.Activation("softmax", dtype="float32", name="probability")(x)
    return keras.Model(inputs, outputs, name=f"unet{a.dimensions}d")


def rebuilt(
    model: keras.Model, architecture: Architecture, size: tuple[int, int] | None = None, precision: str = "float32"
) -> keras.Model:
    """A network with the same weights for inputs of another size, or that computes in another precision."""
    other = unet(architecture, size, precision)
    other.set_weights(model.get_weights())
    return other


def _crops(size: int, a: Architecture) -> tuple[tuple[int, int], ...]:
    """Pixels (start, end) to cut from each level's copied map, along one axis."""
    crops = unpadded_geometry(size, a.levels).crops
    if a.centre_crop:
        return tuple(((start + end) // 2, start + end - (start + end) // 2) for start, end in crops)
    return crops


def _layer(kind: str, a: Architecture):
    return getattr(layers, f"{kind}{a.dimensions}D")


def _transposed(a: Architecture):
    return layers.Conv2DTranspose if a.dimensions == 2 else layers.Conv3DTranspose


def _kernel(a: Architecture, level: int, width: int) -> tuple[int, ...]:
    """``width`` along every axis, but 1 across slices in levels that stay within a slice."""
    if a.dimensions == 2:
        return (width, width)
    return (width, width, 1 if level < a.in_plane_levels else width)


def _convolution(x, a: Architecture, maps: int, kernel, name: str, dilation=1, dtype: str | None = None):
    return _layer("Conv", a)(
        maps,
        kernel,
        padding="same" if a.padded else "valid",
        dilation_rate=dilation,
        kernel_initializer="glorot_uniform",  # "Xavier" (Table 5)
        bias_initializer=keras.initializers.Constant(BIAS),
        dtype=dtype,
        name=name,
    )(x)


def _block(x, a: Architecture, maps: int, kernel, name: str, dilation=1):
    """Convolution, normalisation if any, ReLU."""
    x = _convolution(x, a, maps, kernel, name, dilation)
    if a.normalisation == "batch":
        x = layers.BatchNormalization(name=f"{name}_norm")(x)
    elif a.normalisation == "group":
        x = layers.GroupNormalization(groups=-1, name=f"{name}_norm")(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def _two_convolutions(x, a: Architecture, level: int, path: str = "down"):
    for i in (1, 2):
        x = _block(x, a, a.features * 2**level, _kernel(a, level, 3), name=f"{path}{level}_conv{i}")
    return x


def _centre(x, a: Architecture):
    """The centre: two convolutions, the second of them once for each dilation rate, side by side (Fig. 6).

    In 3D the rates act within slices, (r, r, 1): at the paper's depth of 3 slices there, a rate of 4 across them
    would see nothing but padding above and below.
    """
    maps = a.features * 2**a.levels
    kernel = _kernel(a, a.levels, 3)
    x = _block(x, a, maps, kernel, "centre_conv1")
    branches = []
    for rate in a.dilation_rates:
        across = rate if a.isotropic_dilation else 1
        dilation = (rate, rate) if a.dimensions == 2 else (rate, rate, across)
        branches.append(_block(x, a, maps, kernel, f"centre_rate{rate}", dilation))
    return branches[0] if len(branches) == 1 else layers.Concatenate(name="centre")(branches)
