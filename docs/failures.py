"""The eight worst predictions of a cohort, each on the four slices with the most wrong voxels, front to back.

    python docs/failures.py SCORES PREDICTIONS COHORT docs/hip-drawn-failures.png

PREDICTIONS is the folder that `femur predict RUN --cohort COHORT` wrote, and SCORES the table of `femur score`.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from femur_lib.cohort import read_cohort, read_subject
from femur_lib.evaluation import read_prediction
from femur_lib.inference import SUFFIXES
from femur_lib.plotting import masks_legend, save, show_slice
from femur_lib.volumes import to_stack

HIPS, SLICES = 8, 4


def main(scores: Path, predictions: Path, cohort: Path, out: Path) -> None:
    """Draw and save the picture; two hips in a row."""
    subjects = read_cohort(cohort)
    figure, axes = plt.subplots(HIPS // 2, 2 * SLICES, figsize=(15, 8.4), layout="constrained")
    worst = pd.read_csv(scores).nsmallest(HIPS, "dice").itertuples()
    for row, panels in zip(worst, axes.reshape(HIPS, SLICES), strict=True):
        image, mask = read_subject(subjects[row.participant_id])
        stack, true = to_stack(image), to_stack(mask).array
        found = to_stack(read_prediction(predictions / f"{row.participant_id}{SUFFIXES['mask']}")).array
        wrong = (true != found).sum((0, 1))
        for ax, k in zip(panels, sorted(np.argsort(wrong)[-SLICES:]), strict=True):
            show_slice(
                ax, stack.array[..., k], true[..., k], found[..., k], aspect=stack.spacing_mm[0] / stack.spacing_mm[1]
            )
            ax.set_title(f"slice {k + 1}", fontsize=8)
        panels[0].set_ylabel(f"{row.participant_id}, Dice {row.dice:.3f}")
    masks_legend(figure, predicted=True)
    save(figure, out)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
