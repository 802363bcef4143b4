"""A study that is stopped, started by several, or robbed of its scans and its clock, comes to its end all the same.

Slow: ``make slow``. Every training is a program that imports TensorFlow anew. With MEASURE_FAULTS=1 the study is
stopped more often, and the rows of results/faults/faults.csv are written.
"""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
import yaml

from femur_lib.paper.study import plan

STOPS = ("femur alone", "everything", "SIGTERM")
if os.environ.get("MEASURE_FAULTS"):
    STOPS += STOPS[:2]
PROFILE = {
    "profile": "tiny", "subjects": 8, "grid_2d": [48, 48, 16], "grid_3d": [32, 32, 16], "epochs": 12,
    "first_epochs": 3, "learning_rate": 5e-3, "batch_size_2d": 8, "folds": 2, "deterministic": True,
    "networks": ["2d-f2-l2", "3d-f2-l2"],
}  # fmt: skip


pytestmark = pytest.mark.slow


def start(profile: Path, runs: Path, *cohort: Path) -> subprocess.Popen:
    command = [Path(sys.executable).with_name("femur"), "study", profile, *cohort, "--runs", runs, "--threads", "1"]
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


def goes_on(study: subprocess.Popen, runs: Path, since: float) -> bool:
    """Whether a study trains or scores: it has written a notebook since a time."""
    assert study.poll() is None, log(runs).read_text()
    return any(path.stat().st_mtime > since for path in (runs / "study" / "notebooks").glob("*.ipynb"))


def wait_until(there: Callable[[], bool], at_most: float = 300) -> float:
    """Seconds until something holds."""
    begun = time.monotonic()
    while not there():
        assert time.monotonic() - begun < at_most
        time.sleep(0.1)
    return time.monotonic() - begun


def finished(runs: Path) -> dict[str, str]:
    """Checksums of the files of finished trainings, to see that nobody has touched them."""
    files = [run.parent / name for run in runs.glob("*/run.json") for name in ("run.json", "model.keras")]
    return {str(file.relative_to(runs)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_stopped_again_and_again_it_comes_to_the_same_tables(tmp_path, faults):
    profile = tmp_path / "tiny.yaml"
    profile.write_text(yaml.safe_dump(PROFILE))
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    assert start(profile, alone).wait() == 0, log(alone).read_text()

    chance, took = random.Random(0), []
    for number, how in enumerate(STOPS, start=1):
        since, study, begun = time.time(), start(profile, killed), time.monotonic()
        took.append(wait_until(lambda study=study, since=since: goes_on(study, killed, since)))
        time.sleep(chance.uniform(0, 16))
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
    faults("a study is stopped", len(STOPS), "the same scores, curves and tables", took)


def test_four_starters_a_damaged_scan_and_a_clock_set_back(tiny_cohort, tmp_path, faults):
    cohort = Path(shutil.copytree(tiny_cohort.root, tmp_path / "hips"))
    profile, runs = tmp_path / "tiny.yaml", tmp_path / "runs"
    settings = {"networks": ["3d-f2-l2"], "folds": 3, "grid_3d": [24, 24, 8], "learning_rate": 1e-2}
    profile.write_text(yaml.safe_dump(PROFILE | settings))

    starters = [start(profile, runs, cohort) for _ in range(4)]
    refused: list[subprocess.Popen] = []
    wait_until(
        lambda: refused.extend(s for s in starters if s.poll() is not None and s not in refused) or len(refused) == 3
    )
    (study,) = set(starters) - set(refused)
    assert [starter.returncode for starter in refused] == [1, 1, 1]
    # One that was refused in the first moments read the lock before it named its process.
    assert log(runs).read_text().count(f"A study is at work in {runs}: ") == 3
    faults("four start one study at once", 1, "one works, three are told so")

    # A scan loses its second half while the study trains; what needs it fails and says so.
    wait_until(lambda: goes_on(study, runs, 0))
    scan = next(cohort.glob("sub-01R/anat/*"))
    whole = scan.read_bytes()
    scan.write_bytes(whole[: len(whole) // 2])
    assert study.wait() == 1
    assert re.search(r"sub-01R_T1w\.nii\.gz is incomplete", log(runs).read_text())
    scan.write_bytes(whole)
    since, study = time.time(), start(profile, runs, cohort)
    took = wait_until(lambda: goes_on(study, runs, since))
    faults("a scan is damaged in mid-study", 1, "goes on when the scan is whole again", [took])

    # The clock goes back by a day: all that was written until then is of tomorrow.
    wait_until(lambda: bool(finished(runs)))
    stop(study, "everything", profile, runs)
    before, tomorrow = finished(runs), time.time() + 86400
    for path in (*runs.rglob("*"), *cohort.rglob("*")):
        os.utime(path, (tomorrow, tomorrow), follow_symlinks=False)
    begun, study = time.monotonic(), start(profile, runs, cohort)
    said = len(log(runs).read_text())
    wait_until(lambda: bool(re.search("^(local)?rule (train|tables):", log(runs).read_text()[said:], re.M)))
    faults("the clock is set back by a day in mid-study", 1, "nothing is trained twice", [time.monotonic() - begun])
    assert study.wait() == 0, log(runs).read_text()
    assert before.items() <= finished(runs).items()
    assert {job.state for job in plan(profile, cohort, runs).jobs} == {"finished"}
