"""Where the wrong voxels of evaluated runs lie. Look at this before you change any setting.

    python benchmarks/where_errors_are.py COHORT RUN [RUN ...]

Each wrong voxel of a held-out scan is counted once. It may lie in the first or last slice of the true femur, or beyond
them. Otherwise it is counted by its in-plane distance, in pixels, from the nearest voxel of the other true class; this
is 1 on both sides of the border. The last columns are the mask's volume divided by the true volume, and the Dice that
the mask would have if every voxel beside the border were right.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from femur_lib.cohort import read_cohort
from femur_lib.evaluation import read_prediction
from femur_lib.inference import SUFFIXES
from femur_lib.metrics.overlap import overlap
from femur_lib.volumes import read_mask, to_stack


def distance_from_border(mask: np.ndarray) -> np.ndarray:
    """In-plane pixels from each voxel to the nearest one of the other class; infinite in slices without femur."""
    distance = np.full(mask.shape, np.inf)
    for k in np.flatnonzero(mask.any((0, 1))):
        inside = mask[..., k]
        distance[..., k] = ndimage.distance_transform_edt(inside) + ndimage.distance_transform_edt(~inside)
    return distance


def errors_of(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """For one stack, the share of its wrong voxels in each place."""
    wrong, distance = truth != predicted, distance_from_border(truth)
    touched = np.flatnonzero(truth.any((0, 1)))
    ends = np.ones(truth.shape, bool)
    ends[..., touched[0] + 1 : touched[-1]] = False
    places = {
        "end slices": ends,
        "1 pixel": ~ends & (distance <= 1),
        "2 pixels": ~ends & (distance > 1) & (distance <= 2),
        "farther": ~ends & (distance > 2),
    }
    mended = np.where(distance <= 1, truth, predicted)
    return {
        "Dice": overlap(truth, predicted)["dice"],
        **{place: float((wrong & where).sum() / wrong.sum()) for place, where in places.items()},
        "volume": float(predicted.sum() / truth.sum()),
        "Dice, border right": overlap(truth, mended)["dice"],
    }


def main() -> None:
    """Print one row for each scan, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    a = parser.parse_args()
    cohort, rows = read_cohort(a.cohort), {}
    for run in a.runs:
        for name in pd.read_csv(run / "scores.csv").participant_id:
            predicted = read_prediction(run / "predictions" / f"{name}{SUFFIXES['mask']}")
            rows[name] = errors_of(to_stack(read_mask(cohort[name].mask)).array, to_stack(predicted).array)
    table = pd.DataFrame(rows).T
    table.loc["mean"] = table.mean()
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
