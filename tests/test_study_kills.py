"""A study killed at five random moments, with a run damaged by hand, comes to the same tables as one left alone.

Slow: ``make slow``. Every training is a program that imports TensorFlow anew.
"""

import random
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

from femur_lib.study import plan

KILLS = 5
PROFILE = {
    "profile": "tiny", "subjects": 8, "grid_2d": [48, 48, 16], "grid_3d": [32, 32, 16], "epochs": 4,
    "first_epochs": 3, "learning_rate": 5e-3, "batch_size_2d": 8, "folds": 2, "deterministic": True,
    "experiments": ["2d-f2-l2", "3d-f2-l2"],
}  # fmt: skip


def start(profile: Path, runs: Path) -> subprocess.Popen:
    command = [Path(sys.executable).with_name("femur"), "study", profile, "--runs", runs, "--threads", "1"]
    with (runs.parent / f"{runs.name}.log").open("a") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def tables(runs: Path) -> list[str]:
    """The HTML tables of the executed notebook 06, and its verdicts; not the minutes that trainings took."""
    cells = {c.id: c for c in nbformat.read(runs / "study" / "notebooks" / "tables.ipynb", 4).cells}
    names = ("nb06-table1-hand", "nb06-table2-code", "nb06-table3", "nb06-table4", "nb06-claims-pairs", "nb06-optimism")
    shown = [o.get("data", {}) for name in names for o in cells[name].outputs]
    return [data["text/html"] for data in shown if "text/html" in data]


@pytest.mark.slow
def test_killed_five_times_it_comes_to_the_same_tables(tmp_path):
    profile = tmp_path / "tiny.yaml"
    profile.write_text(yaml.safe_dump(PROFILE))
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    assert start(profile, alone).wait() == 0, (tmp_path / "alone.log").read_text()

    chance, finished = random.Random(0), []
    for number in range(KILLS):
        study, begun = start(profile, killed), time.monotonic()
        # Alternately with all it has started, as by a machine that goes down, and by itself: then Snakemake and its
        # trainings live on beside those of the next start, and neither may spoil what the other does.
        time.sleep(chance.uniform(4, 22))
        assert study.poll() is None, f"finished before kill {number + 1}: give it more to do"
        doomed = [psutil.Process(study.pid)]
        doomed += doomed[0].children(recursive=True) if number % 2 else []
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        study.wait()
        finished.append(sum(job.state == "finished" for job in plan(profile, runs=killed).jobs))
        print(f"kill {number + 1} after {time.monotonic() - begun:.1f} s: {finished[-1]} of 4 trainings finished")
    assert start(profile, killed).wait() == 0, (tmp_path / "killed.log").read_text()

    (killed / "3d-f2-l2-fold1" / "model.keras").write_bytes(b"half of it")
    (killed / "2d-f2-l2-fold0" / "curves.npz").unlink()
    assert start(profile, killed).wait() == 0, (tmp_path / "killed.log").read_text()
    said = (tmp_path / "killed.log").read_text()
    assert "3d-f2-l2-fold1: a model.keras that was changed since it was written; put aside as study/damaged" in said
    assert "2d-f2-l2-fold0: no curves.npz; to be scored again" in said

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
