"""What each kind of chance in drawn scans is worth on real hips, which no network here has seen.

    nice python benchmarks/drawn_ablation.py hips out [--epochs 6] [--left-out none contrast ...]

Trains on drawn hips at a quarter of the length of the weights "hip-drawn", once with everything that the recipe
``drawn`` leaves to chance and once without each of its kinds. Every threshold comes from drawn hips by the rule of
"hip-drawn". A second start goes on with what is there. Writes OUT/ablation.csv, one row a hip and network; prints the
means, and by how much Dice falls without a kind, with the middle 95 % of a bootstrap over patients.
"""

import argparse
from pathlib import Path

import pandas as pd
from few_patients import NETWORK, scored

from femur_lib._runtime.files import write_csv
from femur_lib.cohort import read_cohort
from femur_lib.config import load_profile
from femur_lib.lab.drawn import train_drawn
from femur_lib.metrics.statistics import interval
from femur_lib.runs import load_run

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
        rows += scored(cohort, run, left_out=left_out, threshold=run.segmenter.threshold)
        write_csv(a.out / "ablation.csv", pd.DataFrame(rows).round(4))
    print(summary(pd.DataFrame(rows)).to_string(index=False))


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a network: its scores, and its Dice less that of the network with everything, patient by patient."""
    by_patient = rows.pivot_table(values="dice", index="patient", columns="left_out")
    table = []
    for left_out, found in rows.groupby("left_out", sort=False):
        row = {"left_out": left_out, "threshold": found.threshold.iloc[0], "dice": round(found.dice.mean(), 3)}
        row |= {"worst": round(found.dice.min(), 3), "asd_mm": round(found.asd_mm.mean(), 2)}
        change = (by_patient[left_out] - by_patient[EVERYTHING]).to_numpy()
        low, high = interval(change)
        table.append(row | {"change": f"{change.mean():+.3f}", "interval": f"{low:+.3f} to {high:+.3f}"})
    return pd.DataFrame(table)


if __name__ == "__main__":
    main()
