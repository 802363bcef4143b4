"""Collect what a finished study found, small enough for a repository; networks and predictions stay where they are.

    python workflow/publish.py workshop results/workshop [--cohort COHORT] [--runs RUNS]

writes into a new folder: ``scores.csv`` (two rows for each network and scan: the mask as it was predicted, and its
largest component alone; with the scan's average precision and ``ProbabilityHistogram.tied``), ``histories.csv`` (one
row for each epoch), ``times.csv`` (time and memory of each training that Snakemake started), ``runs/`` (each
``run.json``), ``tables/`` and ``figures/`` (those of notebook 06).
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import write_csv
from femur_lib.evaluation import read_evaluation
from femur_lib.paper.study import Job, plan


def scores(job: Job) -> pd.DataFrame:
    """The scores of one training: components.csv, with each scan's average precision and share of tied voxels."""
    evaluation = read_evaluation(job.folder)
    of_scan = {
        name: {"average_precision": histogram.average_precision(), "tied": histogram.tied()}
        for name, histogram in evaluation.curves.items()
    }
    return evaluation.components.join(pd.DataFrame.from_dict(of_scan, orient="index"), on="participant_id")


def gathered(jobs: Iterable[Job], read) -> pd.DataFrame:
    """The tables of all trainings under one another, with the network and the fold as their first columns."""
    tables = [(job, read(job)) for job in jobs]
    return pd.concat(
        [t.assign(network=j.network, fold=j.fold)[["network", "fold", *t.columns]] for j, t in tables],
        ignore_index=True,
    )


def publish(profile: str, out: Path, cohort: str = "", runs: str = "") -> None:
    """Write the folder.

    Raises:
        DataError: ``out`` is there already, or a training or the tables are not finished.
    """
    study = plan(profile, cohort, runs)
    if out.exists():
        raise DataError(f"{out} exists; the name of a new folder was expected.", "Choose another name, or remove it.")
    undone = [job.folder.name for job in study.jobs if job.state != "finished"]
    if undone or not study.tables.is_file():
        what = f"{len(undone)} trainings are not finished, {undone[0]} first" if undone else "its tables are missing"
        raise DataError(f"{study.runs} holds no finished study: {what}.", "Finish it with femur study.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        half_written = Path(scratch) / out.name
        (half_written / "runs").mkdir(parents=True)
        write_csv(half_written / "scores.csv", gathered(study.jobs, scores))
        histories = gathered(study.jobs, lambda job: pd.read_csv(job.folder / "history.csv"))
        write_csv(half_written / "histories.csv", histories.round(6))
        times = study.folder / "times"
        timed = [
            job for job in study.jobs if (times / f"{job.folder.name}.tsv").is_file()
        ]  # others were finished before
        if timed:
            measured = gathered(timed, lambda job: pd.read_csv(times / f"{job.folder.name}.tsv", sep="\t"))
            write_csv(half_written / "times.csv", measured.drop(columns="h:m:s"))
        for job in study.jobs:
            shutil.copyfile(job.folder / "run.json", half_written / "runs" / f"{job.folder.name}.json")
        for kind, ending in (("tables", "csv"), ("figures", "png")):
            (half_written / kind).mkdir()
            for path in (study.folder / "tables").glob(f"*.{ending}"):
                shutil.copyfile(path, half_written / kind / path.name)
        half_written.rename(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile")
    parser.add_argument("out", type=Path)
    parser.add_argument("--cohort", default="")
    parser.add_argument("--runs", default="")
    a = parser.parse_args()
    publish(a.profile, a.out, a.cohort, a.runs)
