"""Keras, imported in the one place that keeps its backend's start-up messages away from the reader; and one gradient.

TensorFlow writes those messages from C++, before it reads any setting, and they would stand in red under a notebook's
first cell. Errors still appear: Python raises them after the import has ended. What a backend reads from the
environment has been set by then (:func:`femur_lib._runtime.machine.set_environment`).
"""

import logging
import os
import sys
from collections.abc import Callable

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


def gradient(function: Callable, at: np.ndarray) -> np.ndarray:
    """The gradient of a function that answers with one number, at an array, by the backend in use; float32."""
    at, name = np.asarray(at, np.float32), keras.backend.backend()
    if name == "jax":
        import jax

        return np.asarray(jax.grad(function)(jax.numpy.asarray(at)))
    if name == "torch":
        import torch

        x = torch.tensor(at, requires_grad=True)
        function(x).backward()
        return x.grad.numpy()
    import tensorflow as tf

    x = tf.constant(at)
    with tf.GradientTape() as tape:
        tape.watch(x)
        answer = function(x)
    return tape.gradient(answer, x).numpy()
