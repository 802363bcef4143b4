"""What one, two or more labelled patients are worth, with weights that have seen drawn hips and without.

    nice python benchmarks/few_patients.py hips out [--patients 1 2 4 8 12] [--draws 3]

In each draw the patients are shuffled: the last four are set aside, and the first N are trained on. A training has 240
steps whatever N is, once from the weights "hip-drawn" at the rate of the profile ``few``, once from scratch at twice
that rate. The threshold comes from the training's own scans. The row of 0 patients is "hip-drawn" as it is, with the
threshold that drawn hips chose. A second start goes on with what is there. Writes OUT/few_patients.csv, one row a hip
and way; prints means with intervals from a bootstrap over patients.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from femur_lib._runtime.files import write_csv
from femur_lib.cohort import Cohort, read_cohort, read_subject
from femur_lib.config import Profile, load_profile
from femur_lib.evaluation import score
from femur_lib.inference import segment
from femur_lib.runs import Run, load_run, read_record
from femur_lib.training import train

NETWORK, STEPS, ASIDE = "3d-f8-l4-a2-gn", 240, 4
STARTS = {"drawn hips": {}, "scratch": {"start_from": "", "learning_rate": 2e-3}}


def some(cohort: Cohort, patients: list[str]) -> Cohort:
    """The hips of some patients."""
    return replace(cohort, subjects=tuple(s for s in cohort.subjects if s.patient in patients))


def scored(cohort: Cohort, run: Run, **way: object) -> list[dict]:
    """One row a hip."""
    rows = []
    for subject in cohort.subjects:
        image, mask = read_subject(subject)
        got = score(mask, segment(replace(run.segmenter, largest_component=True), image)[1])
        rows.append(way | {"participant_id": subject.id, "patient": subject.patient} | got)
    return rows


def main() -> None:
    """Train, segment, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--patients", type=int, nargs="+", default=[1, 2, 4, 8, 12])
    parser.add_argument("--draws", type=int, default=3)
    a = parser.parse_args()
    cohort, profile = read_cohort(a.cohort), load_profile("few")
    everybody = sorted({s.patient for s in cohort.subjects})
    rows = scored(cohort, load_run("hip-drawn"), start="drawn hips", patients=0, draw=0, seconds=0.0)
    for draw in range(a.draws):
        order = np.random.default_rng(draw).permutation(everybody).tolist()
        aside = some(cohort, order[-ASIDE:])
        for n in a.patients:
            known = some(cohort, order[:n])
            scans = len(known.subjects)
            in_an_epoch = -(-profile.epoch_scans // scans) * scans
            for start, changed in STARTS.items():
                used = Profile(**profile.model_dump() | changed)
                run = a.out / f"{start.replace(' ', '-')}-{n}-{draw}"
                train(known, run, NETWORK, used, None, round(STEPS / in_an_epoch))
                way = {"start": start, "patients": n, "draw": draw, "seconds": read_record(run)["seconds_training"]}
                rows += scored(aside, load_run(run), **way)
                write_csv(a.out / "few_patients.csv", pd.DataFrame(rows).round(4))
    print(summary(pd.DataFrame(rows)).round(3).to_string(index=False))


def summary(rows: pd.DataFrame, draws: int = 2000) -> pd.DataFrame:
    """Mean Dice and ASD of each way, with the middle 95 % of a bootstrap over the patients that were set aside."""
    rng, table = np.random.default_rng(0), []
    for (start, n), way in rows.groupby(["start", "patients"], sort=False):
        each = way.groupby(["draw", "patient"]).dice.mean().to_numpy()
        means = rng.choice(each, (draws, len(each))).mean(1)
        low, high = np.quantile(means, [0.025, 0.975])
        row = {"start": start, "patients": n, "dice": way.dice.mean(), "low": low, "high": high}
        table.append(row | {"worst": way.dice.min(), "asd_mm": way.asd_mm.mean(), "seconds": way.seconds.median()})
    return pd.DataFrame(table)


if __name__ == "__main__":
    main()
