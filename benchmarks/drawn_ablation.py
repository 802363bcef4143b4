"""What each kind of chance in drawn scans is worth on real hips, which no network here has seen.

    nice python benchmarks/drawn_ablation.py hips out [--epochs 6] [--left-out none contrast ...]

Trains on drawn hips at a quarter of the length of the weights "hip-drawn", once with everything that the recipe
``drawn`` leaves to chance and once without each of its kinds. Every threshold comes from drawn hips by the rule of
"hip-drawn". Each hip is segmented as it is, and once more with fat suppressed, which is imitated. A second start goes
on with what is there. Writes OUT/ablation.csv, one row a hip, contrast and network; prints the means, and by how much
Dice changes without a kind, with the middle 95 % of a bootstrap over patients.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from few_patients import NETWORK, scored
from scipy import ndimage

from femur_lib._runtime.files import write_csv
from femur_lib.cohort import read_cohort
from femur_lib.config import load_profile
from femur_lib.lab.drawn import train_drawn
from femur_lib.metrics.statistics import interval
from femur_lib.runs import load_run
from femur_lib.volumes import Volume

EVERYTHING = "none"


def main() -> None:
    """Train, segment, score and print."""
    profile = load_profile("drawn")
    kinds = list(profile.recipe.drawing)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--left-out", nargs="+", choices=[EVERYTHING, *kinds], default=[EVERYTHING, *kinds])
    a = parser.parse_args()
    cohort, rows = read_cohort(a.cohort), []
    for left_out in dict.fromkeys([EVERYTHING, *a.left_out]):  # with everything first: the others are compared with it
        drawing = [kind for kind in kinds if kind != left_out]
        used = profile.changed(recipe={"base": "drawn", "drawing": drawing})
        run = load_run(train_drawn(a.out / left_out, NETWORK, used, a.epochs))
        for contrast, changed in CONTRASTS.items():
            rows += scored(
                cohort, run, changed, left_out=left_out, contrast=contrast, threshold=run.segmenter.threshold
            )
        write_csv(a.out / "ablation.csv", pd.DataFrame(rows).round(4))
    print(summary(pd.DataFrame(rows)).round(3).to_string(index=False))


def fat_suppressed(image: Volume, mask: Volume) -> Volume:
    """A scan whose marrow and fat are dark: what is as bright as marrow is taken for fat, as in notebook 10."""
    grey = ndimage.gaussian_filter(image.array.astype(np.float32), 0.7) / np.median(image.array[mask.array])
    return replace(image, array=image.array * (1 - 0.9 * np.clip((grey - 0.45) / 0.4, 0, 1)))


CONTRASTS = {"as it is": lambda image, mask: image, "fat suppressed": fat_suppressed}


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a contrast and network: scores, and Dice less that of the network with everything, patient by patient."""
    by_patient = rows.pivot_table(values="dice", index="patient", columns=["contrast", "left_out"])
    table = []
    for (contrast, left_out), found in rows.groupby(["contrast", "left_out"], sort=False):
        change = (by_patient[contrast, left_out] - by_patient[contrast, EVERYTHING]).to_numpy()
        low, high = interval(change)
        row = {"contrast": contrast, "left_out": left_out, "threshold": found.threshold.iloc[0]}
        row |= {"dice": found.dice.mean(), "worst": found.dice.min(), "asd_mm": found.asd_mm.mean()}
        table.append(row | {"change": change.mean(), "low": low, "high": high})
    return pd.DataFrame(table).sort_values("contrast", kind="stable")


if __name__ == "__main__":
    main()
