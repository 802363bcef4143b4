"""Synthetic hips beside real ones: four slices of each, front to back, at the same scale.

    python docs/beside_real.py REAL_COHORT docs/phantom.png

REAL_COHORT is made by `femur import pelvis` (data/README.md). The synthetic hips are computed each time, from seed 0.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from femur_lib.cohort import read_cohort, read_subject
from femur_lib.phantom.cohort import stacks
from femur_lib.phantom.scanner import scan
from femur_lib.phantom.subject import draw_person
from femur_lib.plotting import save, show_slice
from femur_lib.volumes import Volume, to_stack

VIEW_MM = 118.0  # the synthetic field of view; real scans are cut to it around the middle of the femur
AT_MM = (-14.0, 0.0, 12.0, 24.0)  # from the middle of head and neck; negative is to the front


def cut(stack: np.ndarray, mask: np.ndarray, spacing: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """A square of the view's size that begins 14 mm above the mask and is centred on it from side to side."""
    rows, columns = (round(VIEW_MM / s) for s in spacing[:2])
    top = max(0, int(np.flatnonzero(mask.any((1, 2)))[0] - 14 / spacing[0]))
    middle = int(np.flatnonzero(mask[top : top + rows].any((0, 2))).mean())
    left = int(np.clip(middle - columns // 2, 0, max(0, stack.shape[1] - columns)))
    box = np.s_[top : top + rows, left : left + columns]
    return stack[box], mask[box]


def main(real: Path, out: Path) -> None:
    """Draw and save the picture."""
    cohort = read_cohort(real)
    hips: list[tuple[str, Volume, Volume]] = []
    for subject in [cohort.subjects[i] for i in (0, 8, 17)]:
        image, mask = read_subject(subject)
        hips.append((f"real, {subject.side}", image, mask))
    for number in (4, 0, 1):
        person = draw_person(0, number)
        image, expert, _ = stacks(person, scan(person, 256, 60))
        hips.append((f"synthetic, {person.side}", image, Volume(expert, image.affine)))
    figure, axes = plt.subplots(4, 6, figsize=(13, 8.9), layout="constrained")
    for column, (title, image, mask) in enumerate(hips):
        stack, true, spacing = to_stack(image).array, to_stack(mask).array, to_stack(image).spacing_mm
        stack, true = cut(stack, true, spacing)
        middle = float(np.median(np.nonzero(true[: true.shape[0] // 2])[2]))  # slice of head and neck, their median
        limits = float(np.percentile(stack, 1)), float(np.percentile(stack, 99.3))
        for row, at in enumerate(AT_MM):
            k = int(np.clip(round(middle + at / spacing[2]), 0, stack.shape[2] - 1))
            ax = axes[row, column]
            show_slice(ax, stack[..., k], true[..., k], limits=limits, aspect=spacing[0] / spacing[1])
            if column == 0:
                ax.set_ylabel(f"{abs(at):.0f} mm {'in front' if at < 0 else 'behind'}" if at else "head and neck")
        axes[0, column].set_title(title)
    save(figure, out)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
