"""Many synthetic hips, written as a cohort on disk."""

import os
from collections.abc import Callable

import numpy as np

from femur_lib.cohort import Cohort, new_cohort, read_cohort
from femur_lib.phantom.anatomy import draw_hip
from femur_lib.phantom.scanner import scan

# Rows, columns, slices. The paper's is 512 x 512 x 60; all sizes cover the same 120 x 120 x 90 mm.
SIZES = {"quick": (96, 96, 30), "workshop": (128, 128, 40), "paper": (512, 512, 60)}


def make_cohort(
    out: str | os.PathLike,
    subjects: int,
    size: str = "quick",
    seed: int = 0,
    progress: Callable[[str], None] = lambda line: None,
) -> Cohort:
    """Make synthetic hips, one a woman; 36 in 86 have a fragility fracture elsewhere, as in the paper.

    Subject 7 of seed 0 has the same shape at every size, and in a cohort of any length.

    Raises:
        ValueError: an unknown size, or no subjects.
        DataError: ``out`` exists already.
    """
    if size not in SIZES:
        raise ValueError(f"size is one of {', '.join(SIZES)}, got {size!r}")
    if subjects < 1:
        raise ValueError(f"a cohort has at least one subject, got {subjects}")
    with new_cohort(out, "Synthetic hips", f"femur phantom, seed {seed}, size {size}", License="CC0-1.0") as add:
        for k in range(subjects):
            name = f"sub-{k + 1:03d}"
            fracture = (k + 1) * 36 // 86 > k * 36 // 86  # spread evenly, exactly 36 in 86
            side = "RL"[k % 2]
            hip = draw_hip(np.random.default_rng((seed, k)), fracture)
            image, mask = scan(hip, SIZES[size], side, np.random.default_rng((seed, k, SIZES[size][0])))
            add(name, name, side, "fracture" if fracture else "control", image, mask)
            progress(f"{name} of {subjects}")
    return read_cohort(out)
