"""A study says what is done and to do, puts damaged runs aside, and hands the rest to Snakemake."""

import ast
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import psutil
import pytest
import yaml

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.words import duration
from femur_lib.architecture import seed_of, without_seed
from femur_lib.cli import main
from femur_lib.config import home, load_profile, run_name
from femur_lib.evaluation import evaluate
from femur_lib.paper import study as study_module
from femur_lib.paper.published import NETWORKS
from femur_lib.paper.study import describe, expected_seconds, failures, plan, prepare, run_study, share_out
from femur_lib.runs import SEAL, load_run
from femur_lib.training import train

TINY = {
    "profile": "tiny", "grid_2d": [24, 24, 8], "grid_3d": [16, 16, 8], "epochs": 2, "first_epochs": 1, "folds": 3,
    "learning_rate": 0.01, "batch_size_2d": 4, "subjects": 4, "networks": ["2d-f2-l1", "3d-f2-l1"], "study_folds": 2,
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
    return {(job.network, job.fold): job.state for job in plan(profile, runs=runs).jobs}


def test_each_network_is_trained_on_each_fold_that_the_study_takes(half_done):
    assert states(*half_done) == {
        ("2d-f2-l1", 0): "to do", ("3d-f2-l1", 0): "finished", ("2d-f2-l1", 1): "to do", ("3d-f2-l1", 1): "to do",
    }  # fmt: skip
    assert plan(*half_done[:1], runs=half_done[1]).folds == 2


def test_the_papers_study_is_18_networks_on_four_folds(tmp_path):
    study = plan("paper", runs=tmp_path)
    assert study.networks == NETWORKS
    assert len(study.jobs) == 18 * 4
    more = plan("workshop", runs=tmp_path).networks
    assert more[:18] == NETWORKS
    assert {without_seed(name) for name in more[18:] if seed_of(name)} < set(NETWORKS)  # what another seed changes


def test_a_profile_without_networks_or_with_one_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"tiny\.yaml names no networks"):
        plan(write_profile(tmp_path, networks=[]))
    with pytest.raises(DataError, match=r"2d-unpadded-f2-l4.*Change its grid"):
        plan(write_profile(tmp_path, study=["2d-unpadded-f2-l4"]))
    with pytest.raises(DataError, match="at least 2"):
        plan(write_profile(tmp_path, study_folds=1))


def test_runs_of_another_profile_or_cohort_are_refused(copied, asked, tiny_cohort, tmp_path):
    profile, runs = copied
    with pytest.raises(DataError, match=r"3d-f2-l1-fold0 holds a run that differs in profile\.learning_rate"):
        plan(write_profile(tmp_path, learning_rate=0.02), runs=runs)
    run_study(profile, tiny_cohort.root, runs)
    others = shutil.copytree(tiny_cohort.root, tmp_path / "others")
    with pytest.raises(DataError, match="differs in cohort"):
        run_study(profile, others, runs)
    with pytest.raises(DataError, match="nowhere"):
        run_study(profile, tmp_path / "nowhere", runs)
    assert len(asked) == 1


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
        assert f"put aside as {runs}/study/damaged/3d-f2-l1-fold0.{number}" in said[-1]
        assert not run.exists()
        assert not mark.exists()
        good.rename(run)


def test_a_run_whose_scores_were_changed_keeps_its_network(copied):
    profile, runs = copied
    (runs / "3d-f2-l1-fold0" / "scores.csv").write_text("participant_id,dice\n")
    said = []
    (runs / "study").mkdir()
    (runs / "study" / "tables.html").write_text("made from scores that are lost")
    prepare(plan(profile, runs=runs), said.append)
    assert not (runs / "study" / "tables.html").exists()
    assert "scores.csv was changed after it was written; to be scored again" in said[0]
    assert (runs / "3d-f2-l1-fold0" / "model.keras").is_file()
    assert not (runs / "study" / "done" / "3d-f2-l1-fold0.json").exists()


def test_scores_made_again_by_other_means_are_seen_by_snakemake(copied):
    profile, runs = copied
    prepare(plan(profile, runs=runs))
    mark, sealed = runs / "study" / "done" / "3d-f2-l1-fold0.json", runs / "3d-f2-l1-fold0" / SEAL
    before = mark.stat().st_mtime_ns
    prepare(plan(profile, runs=runs))
    assert mark.stat().st_mtime_ns == before
    sealed.write_text(json.dumps(json.loads(sealed.read_text()) | {"seconds": 3.0}))
    prepare(plan(profile, runs=runs))
    assert mark.read_bytes() == sealed.read_bytes()
    assert mark.stat().st_mtime_ns > before


def test_time_is_expected_from_the_same_network_or_by_work(half_done):
    jobs = plan(half_done[0], runs=half_done[1]).jobs
    finished = next(job for job in jobs if job.state == "finished")
    assert expected_seconds(finished.network, finished.work, jobs) == pytest.approx(finished.seconds)
    flat = next(job for job in jobs if job.network.startswith("2d"))
    by_work = finished.seconds * flat.work / finished.work
    assert expected_seconds(flat.network, flat.work, jobs) == pytest.approx(by_work)
    with_flat = (*jobs, replace(flat, seconds=1e6))
    assert expected_seconds("3d-f4-l1", 2 * finished.work, with_flat) == pytest.approx(2 * finished.seconds)
    assert expected_seconds(flat.network, flat.work, [replace(job, seconds=None) for job in jobs]) is None


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


def test_how_long_it_takes_is_the_sum_of_what_is_left(half_done):
    study = plan(half_done[0], runs=half_done[1])
    hours = replace(study, jobs=tuple(replace(job, seconds=job.seconds and 7200.0) for job in study.jobs))
    left = [job for job in hours.jobs if job.state != "finished"]
    expected = sum(expected_seconds(job.network, job.work, hours.jobs) for job in left)
    assert describe(hours).endswith(f"1 finished, which took 2 h 00 min; 3 to do, about {duration(expected)}")
    nothing = replace(study, jobs=tuple(replace(job, state="to do", seconds=None) for job in study.jobs))
    assert describe(nothing).endswith("0 finished; 4 to do, the time will be known once the first is finished")
    done = replace(study, jobs=tuple(replace(job, state="finished", seconds=30.0) for job in study.jobs))
    assert describe(done).endswith("4 finished, which took 2 min; nothing left to train")
    assert [duration(s) for s in (48, 720, 12_000)] == ["48 s", "12 min", "3 h 20 min"]


@pytest.fixture
def asked(monkeypatch):
    """What Snakemake would be asked, and with which GPUs, in place of asking it."""
    found = []

    def ask(command, environment, lock):
        found.append((command, environment))
        return 0

    monkeypatch.setattr(study_module, "run_in_foreground", ask)
    return found


def test_snakemake_is_told_of_the_study_and_of_a_cluster(copied, tiny_cohort, asked):
    profile, runs = copied
    arguments = ["--cores", "8", "--threads", "2", "--snakemake", "--executor", "slurm", "--jobs", "9"]
    assert main(["study", str(profile), str(tiny_cohort.root), "--runs", str(runs), *arguments]) == 0
    ((command, _),) = asked
    given = f"--config gpus=scheduler threads=2 profile={profile} cohort={tiny_cohort.root} runs={runs}"
    assert command[-9:] == f"--executor slurm --jobs 9 {given}".split()[-9:]
    assert {"--keep-going", "--rerun-incomplete"} < set(command)
    assert "--nolock" not in command


SLURM = ["--executor", "slurm"]


@pytest.mark.parametrize(
    ("here", "given", "expected", "visible"),
    [
        ("", (8, None, 0, []), "--cores 8 --resources mem_mb=900 gpu=0 --config gpus=none threads=8", None),
        ("", (0, None, 0, []), "--cores 3 --resources mem_mb=900 gpu=0 --config gpus=none threads=3", None),  # allotted
        ("", (4, None, 2, []), "--cores 4 --resources mem_mb=900 gpu=0 --config gpus=none threads=2", None),
        ("2,3", (8, None, 0, []), "--cores 8 --resources mem_mb=900 gpu=2 --config gpus=locks threads=4", "2,3"),
        ("2,3", (8, 1, 0, []), "--cores 8 --resources mem_mb=900 gpu=1 --config gpus=locks threads=8", "2"),
        ("2,3", (8, 0, 0, []), "--cores 8 --resources mem_mb=900 gpu=0 --config gpus=none threads=8", "-1"),
        ("-1", (8, 2, 0, []), "--cores 8 --resources mem_mb=900 gpu=2 --config gpus=locks threads=4", "0,1"),
        ("2,3", (8, None, 0, SLURM), "--executor slurm --config gpus=scheduler threads=8", None),
        ("2,3", (8, 0, 4, SLURM), "--executor slurm --config gpus=none threads=4", None),
    ],
)
def test_cores_and_gpus_are_shared_out_here_and_left_to_a_cluster_there(monkeypatch, here, given, expected, visible):
    monkeypatch.setattr(study_module, "machine_bytes", lambda: 9 * 10**8)
    monkeypatch.setattr("joblib.cpu_count", lambda: 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", here)
    options, environment = share_out(*given)
    assert options == expected.split()
    assert environment.get("CUDA_VISIBLE_DEVICES") == visible


def test_snakemake_understands_the_workflow_and_a_lock_left_behind_does_not_stop_it(copied, tiny_cohort, capfd):
    profile, runs = copied
    locks = runs / "study" / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text(f"{runs / 'study' / 'tables.html'}\n")
    run_study(profile, tiny_cohort.root, runs, more=["--dry-run"])
    out, err = capfd.readouterr()
    counted = {line.split()[0]: line.split()[1] for line in (out + err).splitlines() if len(line.split()) == 2}
    assert (counted["train"], counted["tables"]) == ("3", "1")
    assert "cannot be locked" not in out + err


def test_an_option_or_an_executor_that_snakemake_does_not_know_is_said_in_the_message(copied, tiny_cohort):
    profile, runs = copied
    said = r"did not start: argument --executor.*invalid choice: 'nope'.*\. Install its plugin \(workflow/README"
    with pytest.raises(DataError, match=said):
        run_study(profile, tiny_cohort.root, runs, more=["--executor", "nope"])


def test_a_home_that_cannot_be_written_to_is_replaced_and_the_kernel_is_this_pythons(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", "theirs")
    assert study_module.surroundings(tmp_path)["HOME"] == os.environ["HOME"]
    monkeypatch.setattr(study_module, "can_write", lambda path: False)
    found = study_module.surroundings(tmp_path)
    assert (found["HOME"], found["XDG_CONFIG_HOME"]) == (str(tmp_path / "home"), str(Path.home() / ".config"))
    assert Path(found["HOME"]).is_dir()
    assert found["JUPYTER_PATH"] == os.pathsep.join([str(Path(sys.prefix) / "share" / "jupyter"), "theirs"])


def test_a_user_whom_the_system_does_not_know_gets_a_name(tmp_path, monkeypatch):
    def unknown():
        raise KeyError("getpwuid(): uid not found: 60009")

    monkeypatch.delenv("LOGNAME", raising=False)
    monkeypatch.setattr("getpass.getuser", unknown)
    assert study_module.surroundings(tmp_path)["LOGNAME"] == str(os.getuid())


WORKS = """
import os, signal, sys
from pathlib import Path
from femur_lib.paper import study as study_module
profile, runs, fake, ignored = sys.argv[1:]
if ignored == "ignored":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
study_module.ENDING_SECONDS = 2
with (Path(runs) / "study" / ".lock").open("a+") as lock:
    study_module.take(lock, runs)
    study_module.run_in_foreground([fake], os.environ, lock)
"""
FAKE_SNAKEMAKE = """#!/bin/sh
trap '' {ignored}
echo $$ > "{folder}/started"
sleep 60
sleep 60
"""


def started(folder, profile, runs, ignored="TERM", interrupts="heard") -> tuple[subprocess.Popen, int]:
    """A study at work, with a shell in place of Snakemake that ignores some signals, and that shell's process id."""
    fake, started = folder / "fake", folder / "started"
    fake.write_text(FAKE_SNAKEMAKE.format(folder=folder, ignored=ignored))
    fake.chmod(0o755)
    (runs / "study").mkdir(exist_ok=True)
    command = [sys.executable, "-c", WORKS, profile, runs, fake, interrupts]
    study = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (started.is_file() and started.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return study, int(started.read_text())


@pytest.mark.parametrize("interrupts", ["heard", "ignored"])  # as in a script's background
@pytest.mark.parametrize("ignored", ["TERM", "TERM INT"])  # it waits for its jobs; it hangs
def test_asked_to_end_it_ends_what_it_started(copied, tmp_path, ignored, interrupts):
    study, snakemake = started(tmp_path, *copied, ignored, interrupts)
    ours = psutil.Process(study.pid).children(recursive=True)
    study.terminate()
    assert "KeyboardInterrupt" in study.communicate(timeout=90)[1]
    assert snakemake in [process.pid for process in ours]
    assert psutil.wait_procs(ours, timeout=20)[1] == []


def test_a_second_study_in_the_same_folder_is_refused_even_when_only_snakemake_is_left_of_the_first(copied, tmp_path):
    study, snakemake = started(tmp_path, *copied)
    refusal = rf"A study is at work in {copied[1]}: process {snakemake} on .*choose another --runs"
    with pytest.raises(DataError, match=refusal):
        run_study(copied[0], runs=copied[1])
    study.kill()
    study.wait()
    with pytest.raises(DataError, match=refusal):
        run_study(copied[0], runs=copied[1])
    left = [*psutil.Process(snakemake).children(recursive=True), psutil.Process(snakemake)]
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=20)
    run_study(copied[0], runs=copied[1], more=["--version"])


def test_trainings_that_failed_are_named_with_their_errors(copied, asked, monkeypatch):
    study = plan(copied[0], runs=copied[1])
    notebooks, logs = study.folder / "notebooks", study.folder / ".snakemake" / "log"
    notebooks.mkdir(parents=True)
    assert "Snakemake failed" in failures(study)
    logs.mkdir(parents=True)
    for day in ("01", "02"):
        (logs / f"2026-{day}.snakemake.log").touch()
    error = {"output_type": "error", "ename": "DataError", "evalue": "a scan\nthat is too small", "traceback": []}

    def fail(*_):
        for name, outputs in (("2d-f2-l1-fold0", [error]), ("3d-f2-l1-fold0", []), ("3d-f2-l1-fold1", [error])):
            cells = [{"cell_type": "markdown"}, {"cell_type": "code", "outputs": outputs}]
            (notebooks / f"{name}.ipynb").write_text(json.dumps({"cells": cells}))
        (notebooks / "2d-f2-l1-fold1.ipynb").write_text('{"cel')  # it was killed
        return 1

    monkeypatch.setattr(study_module, "run_in_foreground", fail)
    with pytest.raises(DataError) as raised:
        run_study(*copied[:1], runs=copied[1])
    failed = "2d-f2-l1-fold0.ipynb, 3d-f2-l1-fold1.ipynb ended with DataError: a scan that is too small"
    log = logs / "2026-02.snakemake.log"
    assert str(raised.value).startswith(f"{notebooks}: {failed}. Snakemake's log is {log}. Correct")
    prepare(plan(copied[0], runs=copied[1]))  # the next start tells of its own failures alone
    assert "Snakemake failed" in failures(study)


TRAIN_ONE = home() / "workflow" / "train_one.ipynb"


def test_the_notebook_of_one_training_is_stored_clean_and_takes_the_five_parameters():
    notebook = nbformat.read(TRAIN_ONE, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    (parameters,) = (cell.source for cell in code if "parameters" in cell.metadata.get("tags", []))
    statements = ast.parse(parameters).body
    assert all(isinstance(statement, ast.AnnAssign) for statement in statements)
    assert [s.target.id for s in statements] == ["profile", "cohort", "runs", "network", "fold"]
    assert all("  # " in line for line in parameters.splitlines())


@pytest.mark.notebook
def test_the_notebook_of_one_training_shows_its_curve_and_its_scores(copied, tiny_cohort, tmp_path):
    given = {"profile": copied[0], "cohort": tiny_cohort.root, "runs": copied[1], "network": "3d-f2-l1", "fold": 0}
    options = [word for name, value in given.items() for word in ("-p", name, str(value))]
    done = tmp_path / "done.ipynb"
    subprocess.run([sys.executable, "-m", "papermill", TRAIN_ONE, done, *options], check=True, capture_output=True)
    shown = [o for cell in nbformat.read(done, as_version=4).cells for o in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in shown)
    assert any("participant_id" in output.get("data", {}).get("text/html", "") for output in shown)
    assert any("is finished already" in output.get("text", "") for output in shown)


GPU_TAKER = """
import os, sys, time
from pathlib import Path
name = os.environ["CUDA_VISIBLE_DEVICES"]
(Path(sys.argv[1]) / f"busy{name}").touch(exist_ok=False)  # fails if somebody else has it
time.sleep(0.3)
(Path(sys.argv[1]) / f"busy{name}").unlink()
print(name)
"""


def test_each_training_gets_a_gpu_of_its_own(tmp_path):
    command = [sys.executable, home() / "workflow" / "on_a_free_gpu.py", tmp_path / "locks", sys.executable]
    command += ["-c", GPU_TAKER, tmp_path]
    visible = os.environ | {"CUDA_VISIBLE_DEVICES": "0,5,7"}
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=visible) for _ in range(6)]
    given = [worker.communicate()[0].strip() for worker in workers]
    assert all(worker.returncode == 0 for worker in workers)
    assert set(given) == {"0", "5", "7"}
