"""A study stopped at five random moments, with runs damaged by hand, comes to the same tables as one left alone.

Slow: ``make slow``. Every training is a program that imports TensorFlow anew.
"""

import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
import yaml

from femur_lib.paper.study import plan

STOPS = ("femur alone", "everything", "SIGTERM", "femur alone", "everything")
PROFILE = {
    "profile": "tiny", "subjects": 8, "grid_2d": [48, 48, 16], "grid_3d": [32, 32, 16], "epochs": 12,
    "first_epochs": 3, "learning_rate": 5e-3, "batch_size_2d": 8, "folds": 2, "deterministic": True,
    "networks": ["2d-f2-l2", "3d-f2-l2"],
}  # fmt: skip


def start(profile: Path, runs: Path) -> subprocess.Popen:
    command = [Path(sys.executable).with_name("femur"), "study", profile, "--runs", runs, "--threads", "1"]
    with log(runs).open("a") as file:
        return subprocess.Popen(command, stdout=file, stderr=file)


def log(runs: Path) -> Path:
    return runs.with_name(f"{runs.name}.log")


def stop(study: subprocess.Popen, how: str, profile: Path, runs: Path) -> None:
    """Stop a study: all of it, as when a machine goes down; or its command alone, and then its Snakemake; or politely.

    Where only these two are killed, trainings live on beside those of the next start, and neither may spoil the other.
    """
    ours = [psutil.Process(study.pid), *psutil.Process(study.pid).children(recursive=True)]
    snakemake = [process for process in ours if is_snakemake(process)]
    if how == "SIGTERM":
        study.terminate()
        assert study.wait(30) == (130 if snakemake else -signal.SIGTERM)
        assert not psutil.wait_procs(ours, 5)[1]
        return
    kill(ours if how == "everything" else ours[:1])
    if how != "everything" and snakemake:
        assert start(profile, runs).wait() == 1
        assert f"A study is at work in {runs}: process {snakemake[0].pid}" in log(runs).read_text()
        kill(snakemake)
    study.wait()


def is_snakemake(process: psutil.Process) -> bool:
    try:
        return "snakemake" in process.cmdline()
    except psutil.Error:  # it has just ended
        return False


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
            process.wait(5)


def tables(runs: Path) -> list[str]:
    """The HTML tables of the executed notebook 06, and its verdicts; not the minutes that trainings took."""
    cells = {c.id: c for c in nbformat.read(runs / "study" / "notebooks" / "tables.ipynb", 4).cells}
    names = ("nb06-table1-hand", "nb06-table2-code", "nb06-table3", "nb06-table4", "nb06-claims-pairs", "nb06-optimism")
    shown = [o.get("data", {}) for name in names for o in cells[name].outputs]
    return [data["text/html"] for data in shown if "text/html" in data]


@pytest.mark.slow
def test_stopped_five_times_it_comes_to_the_same_tables(tmp_path):
    profile = tmp_path / "tiny.yaml"
    profile.write_text(yaml.safe_dump(PROFILE))
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    assert start(profile, alone).wait() == 0, log(alone).read_text()

    chance = random.Random(0)
    for number, how in enumerate(STOPS, start=1):
        study, begun = start(profile, killed), time.monotonic()
        time.sleep(chance.uniform(4, 22))
        assert study.poll() is None, f"finished before stop {number}: give it more to do"
        stop(study, how, profile, killed)
        finished = sum(job.state == "finished" for job in plan(profile, runs=killed).jobs)
        print(f"stop {number}, {how}, after {time.monotonic() - begun:.1f} s: {finished} of 4 trainings finished")
    assert start(profile, killed).wait() == 0, log(killed).read_text()

    (killed / "3d-f2-l2-fold1" / "model.keras").write_bytes(b"half of it")
    (killed / "2d-f2-l2-fold0" / "curves.npz").unlink()
    assert start(profile, killed).wait() == 0, log(killed).read_text()
    said = log(killed).read_text()
    assert f"3d-f2-l2-fold1: model.keras was changed after it was written; put aside as {killed}/study/damaged" in said
    assert "2d-f2-l2-fold0: curves.npz is missing; to be scored again" in said

    states = {job.folder.name: job.state for job in plan(profile, runs=killed).jobs}
    assert set(states.values()) == {"finished"}, states
    for job in plan(profile, runs=alone).jobs:
        for name in ("history.csv", "scores.csv", "components.csv"):
            one, other = (pd.read_csv(runs / job.folder.name / name) for runs in (alone, killed))
            pd.testing.assert_frame_equal(one, other, check_exact=True)
        one, other = (np.load(runs / job.folder.name / "curves.npz") for runs in (alone, killed))
        assert one.files == other.files
        assert all(np.array_equal(one[name], other[name]) for name in one.files)
    assert len(tables(alone)) == 6
    assert tables(killed) == tables(alone)
    assert not list(killed.glob("*.partial"))
