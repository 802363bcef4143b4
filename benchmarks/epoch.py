"""Minutes for an epoch and seconds for a subject, beside the paper's, and whether the data come fast enough.

    python benchmarks/epoch.py [--steps 2] [--kinds 2d-unpadded 2d 3d]

The paper (Results, Computational efficiency) gives these times for 32 maps and 4 layers on an NVIDIA P100 (16 GB); an
epoch there is three of four folds of 86 subjects, with 48 slices each. Here a few steps are trained on a synthetic hip
of the paper's size, read through the library's own dataset and disk cache, and multiplied up. "batch" is the time that
it takes to read, flip and stack one batch. "waits" is the share of a step that is spent waiting for real batches,
compared with one batch that is used again and again. A GPU as fast as the paper's would have to wait if making a batch
took longer than the paper's own step.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

from measuring import answered, in_a_fresh_process, timed

SUBJECTS, SLICES = 86 * 3 / 4, 48
KINDS = {  # network, and the paper's minutes for an epoch and seconds for a subject
    "2d-unpadded": ("2d-unpadded-f32-l4", 5, 18),
    "2d": ("2d-f32-l4", 7, 4),
    "3d": ("3d-f32-l4", 7, 5),
}


def steps_of(model, batches, steps: int) -> list[float]:
    """Seconds of so many training steps, as Keras's own loop takes them; the first, which compiles, is left out."""
    from femur_lib._runtime.backend import keras

    ends: list[float] = []
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))
    while len(ends) < steps + 1:
        model.fit(batches, epochs=1, callbacks=[watch], shuffle=False, verbose=0)
    return [end - start for start, end in itertools.pairwise(ends)][:steps]


def measured(request: dict) -> dict:
    """Seconds of a training step with one batch again and again and with real ones, of a batch, and of a prediction."""
    from femur_lib.architecture import input_size
    from femur_lib.cohort import read_cohort
    from femur_lib.config import Profile, prepare_backend, resolve

    profile = Profile(profile="paper")
    prepare_backend(profile, request["network"])
    settings = resolve(profile, request["network"], "float32")
    architecture, grid = settings.architecture, settings.grid
    from femur_lib._runtime.backend import keras  # only now, because this starts TensorFlow
    from femur_lib.dataset import HipDataset, load_samples
    from femur_lib.inference import Segmenter, grid_probability
    from femur_lib.losses import WeightedCrossEntropy
    from femur_lib.unet import unet

    cohort = read_cohort(request["cohort"])
    samples = load_samples(cohort, [cohort.subjects[0].id] * 4, grid, request["cache"])
    dataset = HipDataset(samples, architecture, 1, ("flip",), 0)
    turns = iter(range(10**6))
    batch = statistics.median(timed(lambda: dataset[next(turns) % len(dataset)], 8))
    model = unet(architecture, input_size(architecture, grid.rows, grid.columns))
    model.compile(keras.optimizers.Adam(5e-5), WeightedCrossEntropy(1.0, 8.0))
    once = dataset[0]

    class Same(keras.utils.PyDataset):
        """One batch again and again."""

        def __len__(self):
            return request["steps"] + 1

        def __getitem__(self, number):
            return once

    same, real = (steps_of(model, batches, request["steps"]) for batches in (Same(), dataset))
    stack = samples[0].image if architecture.dimensions == 3 else samples[0].image[..., : request["slices"]]
    started = time.perf_counter()
    grid_probability(Segmenter(model, architecture, grid), stack)  # as a user meets it, the first call included
    inference = (time.perf_counter() - started) * samples[0].image.shape[2] / stack.shape[2]
    return {"same": statistics.median(same), "real": statistics.median(real), "batch": batch, "inference": inference}


def main() -> None:
    """Measure each kind in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--slices", type=int, default=2, help="how many of the 48 slices 2D networks predict")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    a = parser.parse_args()
    from femur_lib.phantom.cohort import make_cohort

    with tempfile.TemporaryDirectory() as folder:
        cohort = Path(folder) / "hips"
        make_cohort(cohort, 1, "paper", progress=lambda line: None)
        print(f"{'network':<20}{'min an epoch':>13}{'paper':>7}{'ratio':>7}{'s a subject':>13}{'paper':>7}{'ratio':>7}"
              f"{'step [s]':>10}{'waits':>7}{'batch [s]':>10}{'paper step':>12}")  # fmt: skip
        for kind in a.kinds:
            network, minutes, seconds = KINDS[kind]
            request = {"network": network, "cohort": str(cohort), "cache": f"{folder}/cache"}
            found = in_a_fresh_process(__file__, request | {"steps": a.steps, "slices": a.slices})
            steps = SUBJECTS * (1 if kind == "3d" else SLICES)
            epoch, waits = found["real"] * steps / 60, max(0.0, 1 - found["same"] / found["real"])
            print(f"{network:<20}{epoch:>13.0f}{minutes:>7}{epoch / minutes:>7.1f}{found['inference']:>13.1f}"
                  f"{seconds:>7}{found['inference'] / seconds:>7.1f}{found['real']:>10.2f}{waits:>7.1%}"
                  f"{found['batch']:>10.3f}{minutes * 60 / steps:>12.3f}", flush=True)  # fmt: skip


if __name__ == "__main__" and not answered(measured):
    main()
