"""How far a network sees: the input voxels that can change one output voxel, computed and measured."""

import numpy as np

from femur_lib.architecture import Architecture


def receptive_field(architecture: Architecture, position: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """First and last input voxel, along each axis, that an output voxel of a padded network depends on.

    Followed backwards through the network, layer by layer. A convolution of width 3 and rate r widens the interval by r
    on both sides. A pooled voxel comes from two; an up-sampled one from one, the half of its index, so that what a
    voxel sees depends a little on where it lies within its block of 2^poolings.

    Args:
        architecture: a padded network. With a normalisation every voxel depends, weakly, on all; that is left out.
        position: of the output voxel, along each axis.

    Returns:
        One (first, last) an axis, on an input without end: negative where it would see the padding.

    Raises:
        ValueError: an unpadded network (its field is that of the padded one, moved).
    """
    if not architecture.padded:
        raise ValueError("the receptive field of an unpadded network is that of the padded one")
    return tuple(_along_axis(architecture, axis, at) for axis, at in enumerate(position))


def _along_axis(a: Architecture, axis: int, at: int) -> tuple[int, int]:
    across_slices = axis == 2
    convolved = [not (across_slices and level < a.in_plane_levels) for level in range(a.levels + 1)]
    first = last = at
    for level in range(a.levels):  # backwards through the expanding path, from the output down
        if convolved[level]:
            first, last = (first - 2) // 2, (last + 2) // 2  # two convolutions, then the up-convolution
    rate = 1 if across_slices and not a.isotropic_dilation else max(a.dilation_rates)
    if convolved[a.levels]:
        first, last = first - 1 - rate, last + 1 + rate
    for level in reversed(range(a.levels)):  # and up through the contracting path
        if convolved[level]:
            first, last = 2 * first - 2, 2 * last + 1 + 2  # the pooling, then two convolutions
    return first, last


def measured_receptive_field(
    model, shape: tuple[int, ...], position: tuple[int, ...], channels: int, tries: int = 12, seed: int = 0
) -> tuple[tuple[int, int], ...]:
    """The same, measured: where the gradient of one output voxel is not zero.

    The network's weights are replaced by positive ones for the while, so that no ReLU is closed and no two paths
    cancel. Max-pooling lets a gradient through to one of its voxels only; the union over several random inputs finds
    the others.

    Args:
        model: a padded network from :func:`femur_lib.networks.unet`.
        shape: of the input, without batch and channels.
        position: of the output voxel.
        channels: of the input.
        tries: how many random inputs.
        seed: of weights and inputs.

    Returns:
        One (first, last) an axis, within the input.
    """
    import keras
    import tensorflow as tf

    logits = keras.Model(model.input, model.get_layer("logits").output)
    kept = model.get_weights()
    rng = np.random.default_rng(seed)
    try:
        # Sums of many positive numbers grow from layer to layer: divided by their count, they do not.
        model.set_weights([rng.uniform(0.5, 1.5, w.shape) / max(1, np.prod(w.shape[:-1])) for w in kept])
        seen = np.zeros(shape, bool)
        for _ in range(tries):
            x = tf.constant(rng.uniform(0, 1, (1, *shape, channels)), tf.float32)
            with tf.GradientTape() as tape:
                tape.watch(x)
                voxel = logits(x, training=False)[(0, *position, 1)]
            seen |= (tape.gradient(voxel, x).numpy()[0] != 0).any(-1)
    finally:
        model.set_weights(kept)
    axes = range(len(shape))
    spans = [np.flatnonzero(seen.any(tuple(a for a in axes if a != axis))) for axis in axes]
    return tuple((int(s[0]), int(s[-1])) for s in spans)
