"""A receptive field measured by gradients, to compare with what the library computes."""

import numpy as np


def measured_receptive_field(
    model, shape: tuple[int, ...], position: tuple[int, ...], channels: int, tries: int = 12
) -> tuple[tuple[int, int], ...]:
    """First and last input voxel, along each axis, for which the gradient of one output voxel is not zero.

    Meanwhile the weights are positive, so that no ReLU is closed and no two paths cancel. Max-pooling lets a gradient
    through to one of its voxels only; the union over several random inputs finds the others.

    Args:
        model: a network from :func:`femur_lib.unet.unet`; it gets its weights back.
        shape: of the input, without batch and channels.
        position: of the output voxel.
        channels: of the input.
        tries: number of random inputs.
    """
    from femur_lib._runtime.backend import gradient, keras

    logits = keras.Model(model.input, model.get_layer("logits").output)
    kept = model.get_weights()
    rng = np.random.default_rng(0)
    # Sums of many positive numbers grow from layer to layer; divided by how many there are, they do not.
    model.set_weights([rng.uniform(0.5, 1.5, w.shape) / max(1, np.prod(w.shape[:-1])) for w in kept])
    seen = np.zeros(shape, bool)
    for _ in range(tries):
        x = rng.uniform(0, 1, (1, *shape, channels))
        seen |= (gradient(lambda v: logits(v, training=False)[(0, *position, 1)], x)[0] != 0).any(-1)
    model.set_weights(kept)
    axes = range(len(shape))
    spans = [np.flatnonzero(seen.any(tuple(a for a in axes if a != axis))) for axis in axes]
    return tuple((int(s[0]), int(s[-1])) for s in spans)
