"""The machine that TensorFlow computes on: what it is, and how it is set up before a training."""

import os
import platform

import keras
import numpy as np

import femur_lib
from femur_lib.errors import DataError


def prepare(deterministic: bool = False) -> None:
    """Let TensorFlow take GPU memory as it needs it, not all at once; and, if asked, repeat itself to the last bit.

    Determinism holds for the rest of the process. Where TensorFlow has begun to use a GPU its memory stays as it is.
    """
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # in use already
            break
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def strategy(gpus: int, batch_size: int):
    """How copies of a network share each batch: MirroredStrategy for several GPUs, TensorFlow's own for one or none.

    Raises:
        DataError: fewer GPUs than asked, or a batch that they cannot share evenly.
    """
    import tensorflow as tf

    if gpus == 1:
        return tf.distribute.get_strategy()
    names = [device.name for device in tf.config.list_logical_devices("GPU")]
    if len(names) < gpus:
        raise DataError("gpus", str(gpus), f"at most {len(names)}", "Correct the profile, or train on another machine.")
    return mirrored(names[:gpus], batch_size)


def mirrored(names: list[str], batch_size: int):
    """MirroredStrategy over devices; see :func:`strategy`."""
    import tensorflow as tf

    if batch_size % len(names):
        raise DataError(
            "batch size",
            f"{batch_size}, for {len(names)} devices",
            f"a multiple of {len(names)}",
            "Correct the profile: each device takes an equal share of a batch.",
        )
    return tf.distribute.MirroredStrategy(names)


def versions() -> dict[str, str]:
    """What the numbers of a run depend on besides the data."""
    import tensorflow as tf

    return {
        "femur_lib": femur_lib.__version__,
        "python": platform.python_version(),
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def devices() -> list[str]:
    """Names of the devices that TensorFlow computes on."""
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices()]
