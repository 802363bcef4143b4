"""Seconds of one 3D training step on this machine, and what could slow it down: no oneDNN, or data from a generator.

    python benchmarks/training_step.py [--rounds 3]

Each setting runs in a process of its own, and the settings take turns for several rounds. The table gives the median of
the rounds' medians, and the ratio to the course's own setting. Nothing else should be running.
"""

import argparse
import os
import statistics
import subprocess
import sys

import femur_lib  # noqa: F401  It sets what TensorFlow reads when it starts, unless the user has set it.

SETTINGS = {
    "the course's: oneDNN on, tf.data.Dataset.range": ("1", "range"),
    "oneDNN off": ("0", "range"),
    "tf.data.Dataset.from_generator": ("1", "generator"),
}


def measure(source: str) -> float:
    """Median seconds of twelve steps of 3d-f16-l3 at 96 x 96 x 24."""
    import time

    import numpy as np
    import tensorflow as tf

    from femur_lib._runtime.backend import keras
    from femur_lib.architecture import parse_network
    from femur_lib.losses import DiceCrossEntropy
    from femur_lib.unet import unet

    model = unet(parse_network("3d-f16-l3"))
    model.compile("adam", DiceCrossEntropy())
    x = np.random.default_rng(0).normal(size=(1, 96, 96, 24, 1)).astype(np.float32)
    y = (x[..., 0] > 1).astype(np.uint8)
    steps = 15
    if source == "range":
        data = tf.data.Dataset.range(steps).map(
            lambda k: tf.numpy_function(lambda _: (x, y), [k], (tf.float32, tf.uint8))
        )
        data = data.map(lambda a, b: (tf.ensure_shape(a, x.shape), tf.ensure_shape(b, y.shape)))
    else:
        signature = tf.TensorSpec(x.shape, tf.float32), tf.TensorSpec(y.shape, tf.uint8)
        data = tf.data.Dataset.from_generator(lambda: ((x, y) for _ in range(steps)), output_signature=signature)
    times: list[float] = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.started = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            times.append(time.perf_counter() - self.started)

    model.fit(data.prefetch(2), verbose=0, callbacks=[Watch()])
    return statistics.median(times[3:])


def main() -> None:
    """Run every setting and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(measure(arguments.measure))
        return
    seconds: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for _ in range(arguments.rounds):
        for name, (onednn, source) in SETTINGS.items():
            done = subprocess.run(
                [sys.executable, __file__, "--measure", source],
                env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": onednn},
                capture_output=True,
                text=True,
                check=True,
            )
            seconds[name].append(float(done.stdout.split()[-1]))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    best = next(iter(medians.values()))
    print(f"{'setting':<52}{'s a step':>10}{'ratio':>8}   all")
    for name, median in medians.items():
        print(f"{name:<52}{median:>10.3f}{median / best:>8.2f}   {' '.join(f'{v:.3f}' for v in seconds[name])}")


if __name__ == "__main__":
    main()
