"""A study says what is done and to do, puts damaged runs aside, and hands the rest to Snakemake."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from femur_lib import study_runner
from femur_lib.cli import main
from femur_lib.errors import DataError
from femur_lib.evaluation import evaluate
from femur_lib.experiments import load_profile, run_name, seed_of, without_seed
from femur_lib.paper import NETWORKS
from femur_lib.runs import load_run
from femur_lib.study import expected_seconds, left, plan, prepare
from femur_lib.study_runner import run_study
from femur_lib.training import train
from femur_lib.words import duration

TINY = {
    "profile": "tiny", "grid_2d": [24, 24, 8], "grid_3d": [16, 16, 8], "epochs": 2, "first_epochs": 1, "folds": 3,
    "learning_rate": 0.01, "batch_size_2d": 4, "experiments": ["2d-f2-l1", "3d-f2-l1"], "study_folds": 2,
}  # fmt: skip


def write_profile(folder: Path, **changed) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY | changed))
    return path


@pytest.fixture(scope="module")
def half_done(tiny_cohort, tmp_path_factory):
    """A profile, and a folder of runs of which one is finished."""
    folder = tmp_path_factory.mktemp("study")
    profile = write_profile(folder)
    run = folder / "runs" / run_name("3d-f2-l1", 0)
    train(tiny_cohort, run, "3d-f2-l1", load_profile(profile), 0)
    evaluate(tiny_cohort, load_run(run))
    return profile, folder / "runs"


@pytest.fixture
def copied(half_done, tmp_path):
    return half_done[0], Path(shutil.copytree(half_done[1], tmp_path / "runs"))


def states(profile, runs) -> dict[tuple[str, int], str]:
    return {(job.experiment, job.fold): job.state for job in plan(profile, runs=runs).jobs}


def test_each_network_is_trained_on_each_fold_that_the_study_takes(half_done):
    assert states(*half_done) == {
        ("2d-f2-l1", 0): "to do", ("3d-f2-l1", 0): "finished", ("2d-f2-l1", 1): "to do", ("3d-f2-l1", 1): "to do",
    }  # fmt: skip
    assert plan(*half_done[:1], runs=half_done[1]).folds == 2


def test_the_papers_study_is_18_networks_on_four_folds(tmp_path):
    study = plan("paper", runs=tmp_path)
    assert study.experiments == NETWORKS
    assert len(study.jobs) == 18 * 4
    more = plan("workshop", runs=tmp_path).experiments
    assert more[:18] == NETWORKS
    assert {without_seed(name) for name in more[18:] if seed_of(name)} < set(NETWORKS)  # what another seed changes


def test_a_profile_without_networks_or_with_one_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(DataError, match="neither study nor experiments"):
        plan(write_profile(tmp_path, experiments=[]))
    with pytest.raises(DataError, match=r"2d-unpadded-f2-l4.*Change the grid"):
        plan(write_profile(tmp_path, study=["2d-unpadded-f2-l4"]))
    with pytest.raises(DataError, match="at least 2"):
        plan(write_profile(tmp_path, study_folds=1))


def test_runs_of_another_profile_or_cohort_are_refused(copied, asked, tiny_cohort, tmp_path):
    profile, runs = copied
    with pytest.raises(DataError, match=r"3d-f2-l1-fold0: found a run that differs in profile\.learning_rate"):
        plan(write_profile(tmp_path, learning_rate=0.02), runs=runs)
    run_study(profile, tiny_cohort.root, runs)
    with pytest.raises(DataError, match="differs in cohort"):
        run_study(profile, tmp_path / "others", runs)


@pytest.mark.parametrize(
    ("spoil", "state"),
    [
        (lambda run: (run / "model.keras").write_bytes(b"half"), "damaged"),
        (lambda run: (run / "run.json").write_text('{"half": '), "damaged"),
        (lambda run: (run / "history.csv").unlink(), "damaged"),
        (lambda run: (run / "scores.csv").write_text("participant_id,dice\n"), "stopped"),
        (lambda run: (run / "evaluation.json").unlink(), "stopped"),
        (lambda run: run.rename(run.with_name(run.name + ".partial")), "stopped"),
        (lambda run: None, "finished"),
    ],
)
def test_what_was_damaged_or_stopped_is_noticed(copied, spoil, state):
    profile, runs = copied
    spoil(runs / "3d-f2-l1-fold0")
    assert states(profile, runs)["3d-f2-l1", 0] == state


def test_a_damaged_run_is_put_aside_to_be_trained_again_and_nothing_is_lost(copied):
    profile, runs = copied
    run, said = runs / "3d-f2-l1-fold0", []
    prepare(plan(profile, runs=runs), said.append)
    mark = runs / "study" / "done" / "3d-f2-l1-fold0.json"
    assert mark.is_file()
    assert said == []
    for number in (1, 2):
        good = Path(shutil.copytree(run, runs / "good"))
        (run / "model.keras").write_bytes(b"half")
        prepare(plan(profile, runs=runs), said.append)
        assert (runs / "study" / "damaged" / f"3d-f2-l1-fold0.{number}" / "model.keras").read_bytes() == b"half"
        assert f"put aside as study/damaged/3d-f2-l1-fold0.{number}" in said[-1]
        assert not run.exists()
        assert not mark.exists()
        good.rename(run)


def test_a_run_whose_scores_were_changed_keeps_its_network(copied):
    profile, runs = copied
    (runs / "3d-f2-l1-fold0" / "scores.csv").write_text("participant_id,dice\n")
    said = []
    (runs / "study").mkdir()
    (runs / "study" / "tables.html").write_text("of scores that are lost")
    prepare(plan(profile, runs=runs), said.append)
    assert not (runs / "study" / "tables.html").exists()
    assert "a scores.csv that was changed since it was written; to be scored again" in said[0]
    assert (runs / "3d-f2-l1-fold0" / "model.keras").is_file()
    assert not (runs / "study" / "done" / "3d-f2-l1-fold0.json").exists()


def test_time_is_expected_from_the_same_network_or_by_work(half_done):
    jobs = plan(half_done[0], runs=half_done[1]).jobs
    finished = next(job for job in jobs if job.state == "finished")
    assert expected_seconds(replace(finished, fold=1, seconds=None), jobs) == finished.seconds
    flat = next(job for job in jobs if job.experiment.startswith("2d"))
    assert expected_seconds(flat, jobs) == pytest.approx(finished.seconds * flat.work / finished.work)
    twin = replace(finished, experiment="3d-f4-l1", seconds=None, work=2 * finished.work)
    assert expected_seconds(twin, (*jobs, replace(flat, seconds=1e6))) == pytest.approx(2 * finished.seconds)
    assert expected_seconds(flat, [replace(job, seconds=None) for job in jobs]) is None


def test_a_dry_run_says_what_is_done_and_what_is_to_do_and_does_nothing(half_done, capsys):
    profile, runs = half_done
    before = sorted(runs.rglob("*"))
    assert main(["study", str(profile), "--runs", str(runs), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "4 trainings: 2 networks, 2 of 3 folds" in said
    assert "fold 0 to do, fold 1 to do" in said
    assert "1 finished, which took" in said
    assert "3 to do, about" in said
    assert sorted(runs.rglob("*")) == before


def test_what_is_left_shrinks_with_trainings_at_once(half_done):
    study = plan(half_done[0], runs=half_done[1])
    hours = replace(study, jobs=tuple(replace(job, seconds=job.seconds and 7200.0) for job in study.jobs))
    alone = sum(expected_seconds(job, hours.jobs) for job in hours.jobs if job.state != "finished")
    assert left(hours).endswith(f"about {duration(alone)}")
    assert left(hours, at_once=2).endswith(f"about {duration(alone / 2)}")
    done = replace(study, jobs=tuple(job for job in study.jobs if job.state == "finished"))
    assert left(done) == "nothing left to train"
    assert "how long is known once" in left(replace(study, jobs=tuple(replace(j, seconds=None) for j in study.jobs)))
    assert [duration(s) for s in (48, 720, 12_000)] == ["48 s", "12 min", "3 h 20 min"]


def test_two_studies_do_not_work_in_one_folder(half_done):
    profile, runs = half_done
    (runs / "study").mkdir(exist_ok=True)
    with FileLock(runs / "study" / ".lock"), pytest.raises(DataError, match="a study that is at work"):
        run_study(profile, runs=runs)


@pytest.fixture
def asked(monkeypatch):
    """What Snakemake would be asked, in place of asking it."""
    found = []
    monkeypatch.setattr(study_runner, "machine_bytes", lambda: 9 * 10**8)
    monkeypatch.setattr(study_runner, "_gpus_here", lambda: [])
    monkeypatch.setattr(study_runner, "_snakemake", lambda study, snakefile, options, progress: found.append(options))
    return found


SLURM = ["--executor", "slurm", "--jobs", "9"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"cores": 8, "gpus": 0}, "--cores 8 --resources mem_mb=900 --config gpus=none gpus_each=0 threads=8"),
        ({"cores": 4, "threads": 2}, "--cores 4 --resources mem_mb=900 --config gpus=none gpus_each=0 threads=2"),
        ({"cores": 8, "gpus": 2}, "--cores 8 --resources mem_mb=900 gpu=2 --config gpus=id0+id1 gpus_each=1 threads=4"),
        ({"more": SLURM}, "--executor slurm --jobs 9 --config gpus=none gpus_each=1 threads=8"),
        ({"more": SLURM, "gpus": 0}, "--executor slurm --jobs 9 --config gpus=none gpus_each=0 threads=8"),
    ],
)  # fmt: skip
def test_cores_and_gpus_are_shared_out_here_and_left_to_a_cluster_there(copied, asked, given, expected):
    run_study(copied[0], runs=copied[1], **given)
    assert asked == [expected.split()]


def test_gpus_that_may_be_used_are_those_of_the_variable(monkeypatch):
    for value, expected in (("2,3", ["2", "3"]), ("", []), ("-1", [])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert study_runner._gpus_here() == expected


def test_more_gpus_a_training_than_there_are_is_refused(copied, asked):
    with pytest.raises(DataError, match="GPUs: found 1; expected 2"):
        study_runner._options(2, 8, 1, 0, [])


def test_scores_made_again_by_other_ways_are_seen_by_snakemake(copied):
    profile, runs = copied
    prepare(plan(profile, runs=runs))
    mark, sealed = runs / "study" / "done" / "3d-f2-l1-fold0.json", runs / "3d-f2-l1-fold0" / "evaluation.json"
    sealed.write_text(json.dumps(json.loads(sealed.read_text()) | {"seconds": 3.0}))
    prepare(plan(profile, runs=runs))
    assert mark.read_bytes() == sealed.read_bytes()


ASKED_TO_END = """
import signal, sys
from pathlib import Path
from femur_lib import study, study_runner
profile, runs, fake, ignored = sys.argv[1:]
if ignored == "ignored":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
study_runner.ENDING_SECONDS = 600  # before it would be killed
found = study.plan(profile, runs=runs)
found.folder.mkdir(exist_ok=True)
sys.executable = fake
study_runner._snakemake(found, Path("Snakefile"), [], print)
"""
FAKE_SNAKEMAKE = """#!/bin/sh
trap '' TERM
echo $$ > "{folder}/started"
sleep 60
echo survived > "{folder}/survived"
"""


@pytest.mark.parametrize("interrupts", ["heard", "ignored"])  # as in a script's background
def test_asked_to_end_it_ends_what_it_started(copied, tmp_path, interrupts):
    fake, started = tmp_path / "fake", tmp_path / "started"
    fake.write_text(FAKE_SNAKEMAKE.format(folder=tmp_path))
    fake.chmod(0o755)
    command = [sys.executable, "-c", ASKED_TO_END, *copied, fake, interrupts]
    study = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (started.is_file() and started.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    study.terminate()
    assert "KeyboardInterrupt" in study.communicate(timeout=40)[1]
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


@pytest.mark.parametrize(("enough", "rounds"), [(2, 2), (99, study_runner.ROUNDS)])
def test_a_snakemake_that_found_nothing_to_do_is_asked_again_while_trainings_are_missing(
    tmp_path, monkeypatch, enough, rounds
):
    asked: list[int] = []

    def plan_after(*args, **kwargs):
        study = plan(*args, **kwargs)
        if len(asked) < enough:
            return study
        return replace(study, jobs=tuple(replace(job, state="finished") for job in study.jobs))

    def tables_of_another(study, *_):
        asked.append(1)
        study.tables.touch()

    monkeypatch.setattr(study_runner, "plan", plan_after)
    monkeypatch.setattr(study_runner, "_snakemake", tables_of_another)
    if enough == rounds:
        run_study("quick", runs=str(tmp_path / "runs"))
    else:
        with pytest.raises(DataError, match="others undo"):
            run_study("quick", runs=str(tmp_path / "runs"))
    assert len(asked) == rounds


def test_a_job_that_failed_is_named_with_its_error(tmp_path):
    notebook = tmp_path / "one.ipynb"
    error = {"output_type": "error", "ename": "DataError", "evalue": "a scan that is too small", "traceback": []}
    notebook.write_text(json.dumps({"cells": [{"cell_type": "code", "outputs": [error]}]}))
    log = tmp_path / "snakemake.log"
    log.write_text(f"Error in rule train:\n    message: None\n    jobid: 3\n    log: {notebook} (check log file(s))\n")
    assert study_runner._failures(log) == "one.ipynb: DataError: a scan that is too small"
    notebook.write_text("")  # made by Snakemake before the job began
    log.write_text(f"Error in rule train:\n    message: sbatch: no such partition\n    log: {notebook} (check)\n")
    assert study_runner._failures(log) == "sbatch: no such partition"
    log.write_text("Error: no space left")
    assert "a failure of Snakemake" in study_runner._failures(log)


GPU_TAKER = """
import os, sys, time
from pathlib import Path
name = os.environ["CUDA_VISIBLE_DEVICES"]
for number in name.split(","):
    (Path(sys.argv[1]) / f"busy{number}").touch(exist_ok=False)  # fails if somebody else has it
time.sleep(0.3)
for number in name.split(","):
    (Path(sys.argv[1]) / f"busy{number}").unlink()
print(name)
"""


def test_gpus_are_handed_out_to_one_training_each(tmp_path):
    here = Path(__file__).parents[1] / "workflow" / "on_free_gpus.py"
    commands = [
        [tmp_path / "locks", "id0+id5+id7", wanted, sys.executable, "-c", GPU_TAKER, tmp_path] for wanted in "112112"
    ]
    workers = [subprocess.Popen([sys.executable, here, *c], stdout=subprocess.PIPE, text=True) for c in commands]
    given = [worker.communicate()[0].split() for worker in workers]
    assert all(worker.returncode == 0 for worker in workers)
    assert [len(names[0].split(",")) for names in given] == [1, 1, 2, 1, 1, 2]
