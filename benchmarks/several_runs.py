"""What the average of several networks is worth, on real hips of patients whom none of them has seen.

    nice python benchmarks/several_runs.py hips out

The patients of fold 0 are set aside. The others are cut into four folds again. A network is trained on each three of
these, and one on all of them, by our recipe at half its length and on half the grid of the profile ``hips`` (64 x 48 x
28, pixels of 2.7 mm), so that it takes minutes. Then the hips that were set aside are segmented by each network alone,
and by the four together (:func:`femur_lib.evaluation.several_as_one`). A second start goes on with what is there.
Writes OUT/several_runs.csv, one row a hip and way.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd

from femur_lib._runtime.files import write_csv
from femur_lib.cohort import folds, read_cohort, read_subject
from femur_lib.config import load_profile
from femur_lib.evaluation import evaluate, score, several_as_one
from femur_lib.inference import segment
from femur_lib.runs import load_run
from femur_lib.training import train

NETWORK, TOGETHER = "3d-f8-l4-a2-gn", "four together"
CHANGED = {"epochs": 12, "grid_3d": (64, 48, 28)}


def main() -> None:
    """Train, segment, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path)
    a = parser.parse_args()
    profile = load_profile("hips").changed(**CHANGED)
    everybody = read_cohort(a.cohort)
    aside = folds(everybody, profile.folds, profile.seed)[0].validation
    known = replace(everybody, subjects=tuple(s for s in everybody.subjects if s.id not in aside))
    runs = {}
    for name, fold in {"all": None, **{f"fold{k}": k for k in range(profile.folds)}}.items():
        folder = train(known, a.out / name, NETWORK, profile, fold)
        shutil.copyfile(folder / "run.json", a.out / f"{name}.json")
        runs[name] = load_run(folder)
        if fold is not None:
            evaluate(known, runs[name], print)
    ways = {name: run.segmenter for name, run in runs.items()}
    ways[TOGETHER] = several_as_one([run for name, run in runs.items() if name != "all"], print)
    rows = []
    for hip in aside:
        image, mask = read_subject(everybody[hip])
        for way, segmenter in ways.items():
            rows.append({"way": way, "participant_id": hip, **score(mask, segment(segmenter, image)[1])})
    found = pd.DataFrame(rows)
    write_csv(a.out / "several_runs.csv", found.round(4))
    by_way = found.groupby("way", sort=False)
    table = by_way[["dice", "asd_mm", "msd_mm"]].mean().assign(worst=by_way.dice.min())
    print(table.round(4).to_string())


if __name__ == "__main__":
    main()
