"""One mirrored pass against nine patches: seconds for a slice, their ratio, and the largest difference.

    python benchmarks/one_pass.py [--size 512] [--network 2d-unpadded-f64-l4] [--slices 1] [--rounds 3]

The two take turns in one process, and medians are printed. The nine patches begin at multiples of 2^poolings, where the
two ways should agree, and once at the paper's places, where they need not.
"""

import argparse
import statistics
import time

import numpy as np

from femur_lib.architecture import parse_network, size_for_output
from femur_lib.inference import nine_patches, one_mirrored_pass
from femur_lib.unet import rebuilt, unet


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--network", default="2d-unpadded-f64-l4")
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    a = parser.parse_args()
    architecture = parse_network(a.network)
    model = unet(architecture, (a.size, a.size))
    larger = rebuilt(model, architecture, (size_for_output(a.size, architecture.levels),) * 2)
    images = np.random.default_rng(0).normal(size=(a.slices, a.size, a.size, 3)).astype(np.float32)
    multiple = 2**architecture.levels
    ways = {
        "nine patches": lambda: nine_patches(model, images, architecture.levels, multiple),
        "one mirrored pass": lambda: one_mirrored_pass(larger, images, architecture.levels),
    }
    answers = {name: way() for name, way in ways.items()}  # this also traces the graphs, before any clock runs
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(a.rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append((time.perf_counter() - start) / a.slices)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"{a.network}, {a.size} x {a.size}, {a.slices} slices at once, {a.rounds} rounds")
    for name, median in medians.items():
        print(f"{name:20}{median:8.2f} s a slice")
    print(f"ratio {medians['nine patches'] / medians['one mirrored pass']:.2f}")
    one = answers["one mirrored pass"]
    print(f"largest difference, aligned patches: {np.abs(answers['nine patches'] - one).max():.1e}")
    paper = nine_patches(model, images, architecture.levels)
    print(f"largest difference, the paper's places: {np.abs(paper - one).max():.1e}")


if __name__ == "__main__":
    main()
