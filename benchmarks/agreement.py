"""How well do networks agree with each other, and how well with the labels? Read this before you turn another knob.

    python benchmarks/real_hips.py hips out --like "half length" --arms "half length" "another seed" "two dimensions" \\
        drawn monai
    python benchmarks/agreement.py hips out --results results/agreement

It compares the masks of held-out hips that real_hips.py has left in ``out``: those of each two arms, and those of each
arm with the labels, on the scan's own grid. It counts Dice; surface Dice, the share of both surfaces that lies within
one pixel of the other; and Dice without the first and the last slice of the labelled femur and all beyond them. What
more than half of the arms call femur is one more arm, "majority". Means are over the hips that both have, with 95 %
bootstrap intervals over patients. A second table tells for each patient how large the masks are beside the label's.
"""

import argparse
import itertools
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from real_hips import ARMS, folder_of

from femur_lib._runtime.files import write_csv
from femur_lib.cohort import Cohort, read_cohort
from femur_lib.evaluation import read_prediction
from femur_lib.inference import SUFFIXES
from femur_lib.metrics.overlap import overlap
from femur_lib.metrics.statistics import interval
from femur_lib.metrics.surface_distance import distances
from femur_lib.volumes import read_mask, to_stack

COMPARED = ("half length", "another seed", "two dimensions", "drawn", "monai")
SCORES = ("dice", "surface_dice", "dice_without_ends")
LABELS, MAJORITY, FOLDS = "labels", "majority", range(4)


def compare(one: np.ndarray, other: np.ndarray, label: np.ndarray, spacing_mm) -> dict[str, float]:
    """Scores of one mask against another, all stacks (rows, columns, slices); ``label`` says where the femur ends."""
    touched = np.flatnonzero(label.any((0, 1)))
    between = np.s_[..., touched[0] + 1 : touched[-1]]
    return {
        "dice": overlap(one, other)["dice"],
        "surface_dice": distances(one, other, spacing_mm, tolerance_mm=max(spacing_mm[:2]))["nsd"],
        "dice_without_ends": overlap(one[between], other[between])["dice"],
    }


def majority(masks: list[np.ndarray]) -> np.ndarray:
    """The voxels that more than half of the masks call femur."""
    return 2 * np.sum(masks, axis=0) > len(masks)


def compare_all(cohort: Cohort, out: Path, arms: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row a hip and pair of arms; and one row a hip and arm with its volume, as a multiple of the label's."""
    pairs, volumes = [], []
    for subject in cohort.subjects:
        files = {
            arm: path
            for arm in arms
            for fold in FOLDS
            if (path := folder_of(out, arm, fold) / "predictions" / f"{subject.id}{SUFFIXES['mask']}").is_file()
        }
        label = to_stack(read_mask(subject.mask))
        masks = {arm: to_stack(read_prediction(path)).array for arm, path in files.items()}
        if len(masks) == len(arms) > 2:
            masks[MAJORITY] = majority(list(masks.values()))
        who = {"patient": subject.patient, "participant_id": subject.id}
        volumes += [who | {"arm": arm, "volume_ratio": m.sum() / label.array.sum()} for arm, m in masks.items()]
        masks = {LABELS: label.array} | masks
        for first, second in itertools.combinations(masks, 2):
            scores = compare(masks[first], masks[second], label.array, label.spacing_mm)
            pairs.append(who | {"first": first, "second": second, **scores})
    return pd.DataFrame(pairs), pd.DataFrame(volumes)


def agreement(pairs: pd.DataFrame) -> pd.DataFrame:
    """One row a pair: the mean of each score over patients, and its interval."""
    rows = []
    for (first, second), hips in pairs.groupby(["first", "second"], sort=False):
        by_patient = hips.groupby("patient")[list(SCORES)].mean()
        row = {"first": first, "second": second, "patients": len(by_patient), "hips": len(hips)}
        for score in SCORES:
            low, high = interval(by_patient[score].to_numpy())
            row |= {score: by_patient[score].mean(), f"{score}_low": low, f"{score}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def by_patient(pairs: pd.DataFrame, volumes: pd.DataFrame) -> pd.DataFrame:
    """One row a patient and arm: scores with the labels, and the mask's volume as a multiple of the label's."""
    labelled = pairs[pairs["first"] == LABELS].rename(columns={"second": "arm"})
    hips = labelled.merge(volumes, on=["patient", "participant_id", "arm"])
    return hips.groupby(["patient", "arm"], sort=False)[[*SCORES, "volume_ratio"]].mean().reset_index()


def keep_records(out: Path, arms: list[str], results: Path) -> None:
    """Copy what each training told of itself."""
    for arm, fold in itertools.product(arms, FOLDS):
        folder = folder_of(out, arm, fold)
        if (folder / "scores.csv").is_file():
            shutil.copyfile(folder / "run.json", results / f"{folder.name}.json")


def main() -> None:
    """Compare, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(COMPARED))
    parser.add_argument("--results", type=Path, help="where tables and records go")
    a = parser.parse_args()
    pairs, volumes = compare_all(read_cohort(a.cohort), a.out, a.arms)
    table, patients = agreement(pairs), by_patient(pairs, volumes)
    if a.results:
        write_csv(a.results / "agreement.csv", table.round(4))
        write_csv(a.results / "by_patient.csv", patients.round(4))
        keep_records(a.out, a.arms, a.results)
    for score in SCORES:
        shown = table[score].map("{:.3f}".format) + " (" + table[f"{score}_low"].map("{:.3f}".format)
        table[score] = shown + " to " + table[f"{score}_high"].map("{:.3f}".format) + ")"
    print(table[["first", "second", "hips", *SCORES]].to_string(index=False))
    wide = patients.pivot(index="patient", columns="arm", values="volume_ratio")
    print(f"\nThe masks' volumes as multiples of the label's\n{wide.round(2).to_string()}")


if __name__ == "__main__":
    main()
