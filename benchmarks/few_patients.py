"""What one, two or more labelled patients are worth, with weights that have seen drawn hips and without.

    nice python benchmarks/few_patients.py hips out [--patients 1 2 4 8 12] [--draws 3]

In each draw the patients are shuffled: the last four are set aside, and the first N are trained on. A training has
about 240 steps whatever N is (whole epochs), once from the weights "hip-drawn" at the rate of the profile ``few``, once
from scratch at twice that rate. The threshold comes from the training's own scans; of each mask the largest piece is
kept. The row of 0 patients is "hip-drawn" as it is, with the threshold that drawn hips chose. A second start goes on
with what is there. Writes OUT/few_patients.csv, one row a hip and way, and few_patients.png; prints means over patients
(of each its mean over hips and draws), with intervals from a bootstrap over patients.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from femur_lib._runtime.files import write_csv
from femur_lib.cohort import Cohort, read_cohort, read_subject
from femur_lib.config import load_profile
from femur_lib.evaluation import score
from femur_lib.inference import segment
from femur_lib.metrics.statistics import interval
from femur_lib.plotting import save
from femur_lib.runs import Run, load_run, read_record
from femur_lib.training import train

NETWORK, STEPS, ASIDE = "3d-f8-l4-a2-gn", 240, 4
STARTS = {"drawn hips": {}, "scratch": {"start_from": "", "learning_rate": 2e-3}}


def some(cohort: Cohort, patients: list[str]) -> Cohort:
    """The hips of some patients."""
    return replace(cohort, subjects=tuple(s for s in cohort.subjects if s.patient in patients))


def scored(cohort: Cohort, run: Run, changed: Callable = lambda image, mask: image, **way: object) -> list[dict]:
    """One row a hip, of the scan as ``changed`` makes it."""
    rows = []
    for subject in cohort.subjects:
        image, mask = read_subject(subject)
        got = score(mask, segment(replace(run.segmenter, largest_component=True), changed(image, mask))[1])
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
    if max(a.patients) + ASIDE > len(everybody):
        parser.error(f"{max(a.patients)} patients and {ASIDE} set aside are more than the cohort's {len(everybody)}")
    rows = scored(cohort, load_run("hip-drawn"), start="drawn hips", patients=0, draw=0, seconds=0.0)
    for draw in range(a.draws):
        order = np.random.default_rng(draw).permutation(everybody).tolist()
        aside = some(cohort, order[-ASIDE:])
        for n in a.patients:
            known = some(cohort, order[:n])
            scans = len(known.subjects)
            in_an_epoch = -(-profile.epoch_scans // scans) * scans
            for start, changed in STARTS.items():
                used = profile.changed(**changed)
                run = a.out / f"{start.replace(' ', '-')}-{n}-{draw}"
                train(known, run, NETWORK, used, None, round(STEPS / in_an_epoch))
                way = {"start": start, "patients": n, "draw": draw, "seconds": read_record(run)["seconds_training"]}
                rows += scored(aside, load_run(run), **way)
                write_csv(a.out / "few_patients.csv", pd.DataFrame(rows).round(4))
    found = summary(pd.DataFrame(rows))
    save(curve(found), a.out / "few_patients.png")
    print(found.round(3).to_string(index=False))


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean Dice and ASD of each way, with 95 % bootstrap intervals over the patients that were set aside in any draw.

    ``gain`` is the Dice of a training from the weights less that of the same training from scratch, patient by patient.
    """
    each = rows.groupby(["start", "patients", "patient"])[["dice", "asd_mm"]].mean()
    table = []
    for (start, n), way in rows.groupby(["start", "patients"], sort=False):
        by_patient = each.loc[start, n]
        low, high = interval(by_patient.dice.to_numpy())
        row = {"start": start, "patients": n, "dice": by_patient.dice.mean(), "low": low, "high": high}
        if start == "drawn hips" and n and "scratch" in each.index:
            gain = (by_patient.dice - each.loc["scratch", n].dice).to_numpy()
            row |= dict(zip(("gain", "gain_low", "gain_high"), (gain.mean(), *interval(gain)), strict=True))
        row |= {"worst": way.dice.min(), "asd_mm": by_patient.asd_mm.mean(), "seconds": way.seconds.median()}
        table.append(row)
    return pd.DataFrame(table)


def curve(found: pd.DataFrame) -> Figure:
    """Dice over patients, one line a start; the weights alone as a level."""
    figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    alone = found[found.patients == 0].iloc[0]
    ax.axhline(alone.dice, color="0.4", ls=":", label=f"no patient: hip-drawn as it is, {alone.dice:.3f}")
    trained = found[found.patients > 0]
    for shift, (start, way) in zip((0.97, 1.03), trained.groupby("start", sort=False), strict=True):
        spread = (way.dice - way.low, way.high - way.dice)
        ax.errorbar(way.patients * shift, way.dice, spread, marker="o", capsize=3, label=f"from {start}")
    ax.set(xscale="log", xlabel="labelled patients, two hips each", ylabel="Dice on hips of four other patients")
    ax.set_xticks(sorted(set(trained.patients)), [str(n) for n in sorted(set(trained.patients))])
    ax.minorticks_off()
    ax.legend(loc="lower right")
    return figure


if __name__ == "__main__":
    main()
