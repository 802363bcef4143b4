"""Keras, imported in the one place that keeps its backend's start-up messages away from the reader; and one gradient.

TensorFlow writes those messages from C++, before it reads any setting, and they would stand in red under a notebook's
first cell. Errors still appear: Python raises them after the import has ended. What a backend reads from the
environment has been set by then (:func:`femur_lib._runtime.machine.set_environment`).
"""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

if "keras" not in sys.modules:
    sys.stderr.flush()
    _stderr, _nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(_nowhere, 2)
    try:
        import keras
    finally:
        os.dup2(_stderr, 2)
        os.close(_stderr)
        os.close(_nowhere)
else:
    import keras

# A user's own ~/.keras/keras.json may say otherwise, and changes or breaks trainings without a word.
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)
keras.config.set_image_data_format("channels_last")

if keras.backend.backend() == "tensorflow":
    import tensorflow

    # With it a 3D network fails, on a CPU, when a second scan has another number of slices. What is computed is the
    # same to the last bit without it.
    tensorflow.config.optimizer.set_experimental_options({"constant_folding": False})

# Where several networks follow one another TensorFlow warns that it traces their functions again.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

__all__ = ["gradient", "keras"]


def gradient(function: Callable, at: Any) -> Any:
    """The gradient of a function that answers with one number, by the backend in use; float32.

    Args:
        function: of an array, or of a list of arrays.
        at: where, such as an image, or the values of a network's parameters.

    Returns:
        An array, or for a list of them a list of the backend's tensors, as an optimizer takes them.
    """
    name, several = keras.backend.backend(), isinstance(at, list)
    arrays = [keras.ops.convert_to_numpy(a).astype(np.float32) for a in (at if several else [at])]

    def answer(tensors):
        return function(tensors if several else tensors[0])

    if name == "jax":
        import jax

        found = jax.grad(answer)([jax.numpy.asarray(a) for a in arrays])
    elif name == "torch":
        import torch

        tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
        found = torch.autograd.grad(answer(tensors), tensors)
    else:
        import tensorflow as tf

        tensors = [tf.constant(a) for a in arrays]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            number = answer(tensors)
        found = tape.gradient(number, tensors)
    return list(found) if several else keras.ops.convert_to_numpy(found[0])
