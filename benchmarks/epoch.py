"""Minutes an epoch and seconds a subject of each kind of network, beside the paper's; and whether the feed keeps up.

    python benchmarks/epoch.py [--steps 2] [--kinds 2d-unpadded 2d 3d]

The paper (Results, Computational efficiency) gives them for 32 maps and 4 layers on an NVIDIA P100 (16 GB): three folds
of 86 subjects of 48 slices an epoch. Here a few steps are trained on a synthetic hip of the paper's size, read through
the library's own feed and disk cache, and multiplied up. "feed" is the time a sample takes to be read, flipped and
batched, by itself; "waits" the share of a step by which real samples make it longer than one batch given again and
again. A GPU as fast as the paper's would wait where the feed takes longer than the paper's own step.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from measuring import answered, in_a_fresh_process, timed

SUBJECTS, SLICES = 86 * 3 / 4, 48
KINDS = {  # network, the paper's minutes an epoch and seconds a subject
    "2d-unpadded": ("2d-unpadded-f32-l4", 5, 18),
    "2d": ("2d-f32-l4", 7, 4),
    "3d": ("3d-f32-l4", 7, 5),
}


def measured(request: dict) -> dict:
    """Seconds of a training step with and without a real feed, of the feed alone, and of a subject's inference."""
    from femur_lib.experiments import Profile
    from femur_lib.onednn import avoid_where_it_hangs

    profile = Profile(profile="paper")
    architecture = profile.architecture(request["experiment"])
    grid = profile.grid(architecture.dimensions)
    avoid_where_it_hangs(architecture, grid.rows, grid.columns)
    import keras

    from femur_lib.cohort import read_cohort
    from femur_lib.feeding import Feed, load_samples
    from femur_lib.inference import grid_probability
    from femur_lib.losses import WeightedCrossEntropy
    from femur_lib.runs import build

    cohort = read_cohort(request["cohort"])
    samples = load_samples(cohort, [cohort.subjects[0].id] * 4, grid, request["cache"])
    feed = Feed(samples, architecture, 1, ("flip",), 0)
    turns = iter(range(10**6))
    alone = statistics.median(timed(lambda: feed.batch(next(turns) % len(feed)), 8))
    model = build(architecture, grid)
    model.compile(keras.optimizers.Adam(5e-5), WeightedCrossEntropy(1.0, 8.0))
    x, y = feed.batch(0)
    same = timed(lambda: model.train_on_batch(x, y), request["steps"])
    batches = iter(feed.dataset().repeat())
    fed = timed(lambda: model.train_on_batch(*next(batches)), request["steps"])
    stack = samples[0].image if architecture.dimensions == 3 else samples[0].image[..., : request["slices"]]
    started = time.perf_counter()
    grid_probability(model, architecture, stack)  # as a user meets it, the first call included
    inference = (time.perf_counter() - started) * samples[0].image.shape[2] / stack.shape[2]
    return {"same": statistics.median(same), "fed": statistics.median(fed), "feed": alone, "inference": inference}


def main() -> None:
    """Measure each kind in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--slices", type=int, default=2, help="of a subject to predict by 2D networks, of 48")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    a = parser.parse_args()
    from femur_lib.phantom.cohort import make_cohort

    with tempfile.TemporaryDirectory() as folder:
        cohort = Path(folder) / "hips"
        make_cohort(cohort, 1, "paper", progress=lambda line: None)
        print(f"{'network':<20}{'min an epoch':>13}{'paper':>7}{'ratio':>7}{'s a subject':>13}{'paper':>7}{'ratio':>7}"
              f"{'step [s]':>10}{'waits':>7}{'feed [s]':>10}{'paper step':>12}")  # fmt: skip
        for kind in a.kinds:
            experiment, minutes, seconds = KINDS[kind]
            request = {"experiment": experiment, "cohort": str(cohort), "cache": f"{folder}/cache"}
            found = in_a_fresh_process(__file__, request | {"steps": a.steps, "slices": a.slices})
            steps = SUBJECTS * (1 if kind == "3d" else SLICES)
            epoch, waits = found["fed"] * steps / 60, max(0.0, 1 - found["same"] / found["fed"])
            print(f"{experiment:<20}{epoch:>13.0f}{minutes:>7}{epoch / minutes:>7.1f}{found['inference']:>13.1f}"
                  f"{seconds:>7}{found['inference'] / seconds:>7.1f}{found['fed']:>10.2f}{waits:>7.1%}"
                  f"{found['feed']:>10.3f}{minutes * 60 / steps:>12.3f}", flush=True)  # fmt: skip


if __name__ == "__main__" and not answered(measured):
    main()
