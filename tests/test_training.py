"""A run is whole or not there, goes on after being killed, and refuses settings and folders that are not its own."""

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from conftest import tiny_hip

from femur_lib import training
from femur_lib._runtime.errors import DataError, TrainingFailed
from femur_lib.cohort import new_cohort, read_cohort, read_subject, write_hip
from femur_lib.config import Profile, resolve
from femur_lib.dataset import HipDataset, load_samples
from femur_lib.runs import load_run
from femur_lib.training import learning_rate, split, train
from femur_lib.unet import unet
from femur_lib.volumes import Volume

PROFILE = Profile(
    profile="tiny", grid_2d=(16, 16, 8), grid_3d=(16, 16, 8), epochs=6, first_epochs=3, patience=2, learning_rate=3e-3,
    batch_size_2d=4, folds=2,
)  # fmt: skip
FILES = ["history.csv", "model.keras", "run.json"]
SCRIPT = """
import json, sys
from femur_lib.cohort import read_cohort
from femur_lib.config import Profile
from femur_lib.training import train
cohort, network, profile, *runs = sys.argv[1:]
say = lambda line: print(line, flush=True)
for run in runs:
    train(read_cohort(cohort), run, network, Profile(**json.loads(profile)), progress=say)
"""


def command(cohort, *runs: Path, network: str = "3d-f2-l2", profile: Profile = PROFILE) -> list[str]:
    """The command line of trainings in a process of their own."""
    return [sys.executable, "-c", SCRIPT, str(cohort.root), network, profile.model_dump_json(), *map(str, runs)]


def quiet(line: str) -> None:
    """Say nothing."""


def assert_alike(one: Path, other: Path) -> None:
    """Two trainings of the same settings end alike, up to the order in which a processor adds."""
    histories = [pd.read_csv(run / "history.csv") for run in (one, other)]
    np.testing.assert_allclose(*histories, rtol=1e-3, atol=1e-4)
    a, b = load_run(one), load_run(other)
    for x, y in zip(a.model.get_weights(), b.model.get_weights(), strict=True):
        np.testing.assert_allclose(x, y, atol=2e-3)
    assert b.segmenter.threshold == pytest.approx(a.segmenter.threshold, abs=5e-3)


@pytest.fixture(scope="module")
def run(tiny_cohort, tmp_path_factory) -> Path:
    return train(tiny_cohort, tmp_path_factory.mktemp("runs") / "run", "3d-f2-l2", PROFILE, 0, progress=quiet)


def test_a_training_that_fails_in_its_first_epoch_is_not_in_the_way_of_the_next(tiny_cohort, tmp_path, monkeypatch):
    with pytest.raises(TrainingFailed, match="Lower the learning rate"):
        train(tiny_cohort, tmp_path / "run", "3d-f2-l1", PROFILE.changed(learning_rate=1e30), 0, progress=quiet)
    assert not list(tmp_path.glob("run*"))

    def fail(work, *_):
        (work / "thesis.txt").touch()
        raise TrainingFailed("so it is")

    monkeypatch.setattr(training, "fit", fail)
    with pytest.raises(TrainingFailed):
        train(tiny_cohort, tmp_path / "run", "3d-f2-l1", PROFILE, 0, progress=quiet)
    assert [path.name for path in (tmp_path / "run.partial").iterdir()] == ["thesis.txt"]


# --- a finished run


def test_a_run_holds_the_network_the_history_and_the_record_and_nothing_else(run):
    assert sorted(p.name for p in run.iterdir()) == FILES
    assert not run.with_name("run.partial").exists()
    record = json.loads((run / "run.json").read_text())
    assert (record["network"], record["kept"], record["synthetic"]) == ("3d-f2-l2", "best", False)
    assert record["threshold_chosen_on"] == "validation"
    assert (record["backend"], record["float_type"]) == (keras.backend.backend(), "float32")
    assert not set(record["training"]) & set(record["validation"])
    assert len(pd.read_csv(run / "history.csv")) == record["epochs_trained"]


def test_a_femur_outside_the_slices_that_are_trained_on_is_named_every_time(tiny_cohort, tmp_path):
    profile = PROFILE.changed(grid_3d=(24, 24, 4), epochs=1)
    for run in ("one", "again"):  # the second finds the scans in the cache
        said: list[str] = []
        train(tiny_cohort, tmp_path / run, "3d-f2-l1", profile, 0, progress=said.append)
        assert re.fullmatch(
            "the network is trained on the central 4 slices; in 4 of 7 scans the femur goes on beyond them: sub-.*",
            said[0],
        )


def test_the_spacing_of_a_run_is_that_of_its_training_scans_alone(tmp_path):
    with new_cohort(tmp_path / "hips", "tiny", "tests") as add:
        for k in range(4):
            image, mask = tiny_hip(k)
            add(f"sub-{k}", f"p{k}", "R", "x", image, mask)
    cohort, profile = read_cohort(tmp_path / "hips"), PROFILE.changed(epochs=1)
    for name in split(cohort, profile, 0)[1]:
        image, mask = read_subject(cohort[name])
        stretched = Volume(image.array, image.affine @ np.diag([1, 1, 1.4, 1]))
        write_hip(cohort.root, name, stretched, mask.array)
    run = train(cohort, tmp_path / "run", "3d-f2-l1", profile, 0, progress=quiet)
    rows, columns, _ = profile.grid_3d
    assert json.loads((run / "run.json").read_text())["grid_spacing_mm"] == pytest.approx(
        [2 * 24 / rows, 2 * 24 / columns, 5]
    )


def test_the_best_epochs_weights_are_kept(run, tiny_cohort):
    loaded = load_run(run)
    samples = load_samples(tiny_cohort, loaded.record["validation"], loaded.segmenter.grid)
    loaded.model.compile(metrics=["accuracy"], loss="sparse_categorical_crossentropy")
    accuracy = loaded.model.evaluate(HipDataset(samples, loaded.segmenter.architecture, 1), verbose=0)[1]
    assert accuracy == pytest.approx(pd.read_csv(run / "history.csv").val_accuracy.max(), abs=1e-4)


def test_a_finished_run_is_found_and_not_trained_again(run, tiny_cohort):
    before, said = (run / "model.keras").stat().st_mtime_ns, []
    train(tiny_cohort, run, "3d-f2-l2", PROFILE, 0, progress=said.append)
    assert said == [f"{run} is finished already"]
    assert (run / "model.keras").stat().st_mtime_ns == before


def test_a_run_of_other_settings_is_neither_taken_nor_overwritten(run, tiny_cohort):
    with pytest.raises(DataError, match=r"differs in profile\.epochs"):
        train(tiny_cohort, run, "3d-f2-l2", PROFILE, 0, epochs=7, progress=quiet)


def test_a_folder_that_is_not_a_run_is_left_alone(tiny_cohort, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not lose me")
    with pytest.raises(DataError, match="mine is a folder, but not a run"):
        train(tiny_cohort, tmp_path / "mine", "3d-f2-l2", PROFILE, 0, progress=quiet)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "do not lose me"


@pytest.mark.parametrize("file", ["thesis.txt", ".notes", "epochs/plan.txt"])
def test_a_folder_of_the_name_to_work_in_is_left_alone_before_any_scan_is_read(
    tiny_cohort, tmp_path, monkeypatch, file
):
    theirs = tmp_path / "mine.partial" / file
    theirs.parent.mkdir(parents=True)
    theirs.write_text("do not lose me")
    monkeypatch.setattr(training, "load_samples", lambda *a: 1 / 0)
    with pytest.raises(DataError, match=r"mine\.partial was not begun by a training \(it has no settings\.json\)"):
        train(tiny_cohort, tmp_path / "mine", "3d-f2-l2", PROFILE, 0, progress=quiet)
    assert theirs.read_text() == "do not lose me"


def test_what_somebody_else_puts_beside_a_training_at_work_stays(tiny_cohort, tmp_path):
    theirs = [tmp_path / "mine.partial" / name for name in ("notes.txt", ".hidden", "epochs/plan.txt", "epochs/1.h5")]

    def put(line: str) -> None:
        for file in theirs:
            file.parent.mkdir(exist_ok=True)
            file.write_text("do not lose me")

    train(tiny_cohort, tmp_path / "mine", "3d-f2-l1", PROFILE.changed(epochs=2), 0, progress=put)
    kept = {str(path.relative_to(tmp_path / "mine")) for path in (tmp_path / "mine").rglob("*") if path.is_file()}
    assert kept == {*FILES, "notes.txt", ".hidden", "epochs/plan.txt", "epochs/1.h5"}


# --- a full disk


@pytest.fixture
def disk(monkeypatch) -> dict[str, int]:
    """How much is said to be free."""
    free = {"free": 10**15}
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(**free))
    return free


def test_before_a_training_begins_it_looks_whether_there_is_room(tiny_cohort, tmp_path, monkeypatch, disk):
    needed: list[int] = []
    monkeypatch.setattr(training, "load_samples", lambda *a: needed.append(disk["free"]) or 1 / 0)
    scans, weights = 7 * 16 * 16 * 8 * 5, PROFILE.cost("3d-f2-l2").weights * 4
    disk["free"] = scans + 10 * weights - 1  # the network, and thrice the weights with two moments each
    with pytest.raises(
        DataError, match=r"^.*: the disk, or your share of it, is full; .* MB are free and .* MB are ne"
    ):
        train(tiny_cohort, tmp_path / "r", "3d-f2-l2", PROFILE, 0, progress=quiet)
    assert not needed
    assert not list(tmp_path.iterdir())
    disk["free"] += 1
    with pytest.raises(ZeroDivisionError):
        train(tiny_cohort, tmp_path / "r", "3d-f2-l2", PROFILE, 0, progress=quiet)


def test_a_disk_that_becomes_full_at_a_checkpoint_is_said_and_the_training_goes_on(
    run, tiny_cohort, tmp_path, monkeypatch
):
    real = np.savez

    def savez(path, *arrays):
        if "0003" in Path(path).name:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, *arrays)

    monkeypatch.setattr(np, "savez", savez)
    with pytest.raises(
        DataError, match=r"r\.partial/epochs: the disk, or your share of it, is full; .* GB are free and"
    ):
        train(tiny_cohort, tmp_path / "r", "3d-f2-l2", PROFILE, 0, progress=quiet)
    assert "0003.npz" not in {path.name for path in (tmp_path / "r.partial" / "epochs").iterdir()}
    monkeypatch.undo()
    said: list[str] = []
    train(tiny_cohort, tmp_path / "r", "3d-f2-l2", PROFILE, 0, progress=said.append)
    assert said[0].startswith("epoch 3/6")
    assert_alike(run, tmp_path / "r")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_becomes_full_while_scans_are_kept_is_said(tiny_cohort, tmp_path, monkeypatch, number):
    def dump(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("joblib.numpy_pickle.dump", dump)
    with pytest.raises(DataError, match=r"\.femur-cache: the disk, or your share of it, is full"):
        train(tiny_cohort, tmp_path / "r", "3d-f2-l2", PROFILE, 0, progress=quiet)
    assert not (tmp_path / "r.partial").exists()


# --- what a profile changes


def test_another_training_seed_gives_another_network_on_the_same_fold(run, tiny_cohort, tmp_path):
    train(tiny_cohort, tmp_path / "other", "3d-f2-l2", PROFILE.changed(training_seed=1), 0, progress=quiet)
    records = [json.loads((folder / "run.json").read_text()) for folder in (run, tmp_path / "other")]
    assert records[0]["validation"] == records[1]["validation"]
    first_losses = [pd.read_csv(folder / "history.csv").loss[0] for folder in (run, tmp_path / "other")]
    assert first_losses[0] != pytest.approx(first_losses[1], rel=1e-3)


def test_our_recipe_holds_the_validation_scans_out_of_every_choice(tiny_cohort, tmp_path):
    ours = PROFILE.changed(recipe="ours", epochs=2, flip_predictions=True)
    loaded = load_run(train(tiny_cohort, tmp_path / "r", "2d-f2-l1", ours, 1, progress=quiet))
    assert (loaded.record["threshold_chosen_on"], loaded.record["kept"]) == ("training", "last")
    assert loaded.segmenter.flip


def test_weights_may_be_averaged_over_the_last_steps(tiny_cohort, tmp_path):
    keras.utils.set_random_seed(PROFILE.seed)
    start, moved = unet(PROFILE.architecture("3d-f2-l1")).get_weights(), {}
    for keep in ("last", "average"):
        profile = PROFILE.changed(recipe={"base": "ours", "keep": keep}, epochs=2)
        run = load_run(train(tiny_cohort, tmp_path / keep, "3d-f2-l1", profile, 0, progress=quiet))
        assert run.record["kept"] == keep
        moved[keep] = sum(np.abs(a - b).sum() for a, b in zip(start, run.model.get_weights(), strict=True))
    assert 0 < moved["average"] < moved["last"] / 2  # an average lags behind


def test_the_learning_rate_warms_up_for_an_epoch_and_falls_to_zero():
    settings = resolve(PROFILE.changed(recipe="ours", epochs=20), "3d-f2-l2")
    rate = learning_rate(settings, steps_per_epoch=5)
    values = [float(rate(step)) for step in (0, 5, 50, 100)]
    assert values == pytest.approx([3e-4, 3e-3, 3e-3 * (1 + np.cos(np.pi * 45 / 95)) / 2, 3e-6], rel=1e-2)
    assert learning_rate(resolve(PROFILE, "3d-f2-l2"), 5) == 3e-3  # the paper's is constant


def test_trained_in_half_width_a_run_says_so_and_its_network_is_saved_in_full(tiny_cohort, tmp_path):
    profile = PROFILE.changed(precision="mixed_bfloat16", epochs=1)
    folder = train(tiny_cohort, tmp_path / "r", "3d-f2-l2", profile, 0, progress=quiet)
    assert load_run(folder).record["precision"] == "mixed_bfloat16"
    saved = keras.saving.load_model(folder / "model.keras", compile=False)
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}


def test_a_training_too_large_for_the_machine_is_warned_of_before_it_begins(tiny_cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(training.machine, "machine_bytes", lambda: 10**4)
    monkeypatch.setattr(training, "load_samples", lambda *a: 1 / 0)  # no further
    with pytest.warns(RuntimeWarning, match=r"3d-f2-l2 needs at least .* GB"), pytest.raises(ZeroDivisionError):
        train(tiny_cohort, tmp_path / "r", "3d-f2-l2", PROFILE, 0, progress=quiet)


def test_a_fold_is_held_out_or_nobody(tiny_cohort):
    everybody = tuple(s.id for s in tiny_cohort.subjects)
    assert split(tiny_cohort, PROFILE, None) == (everybody, ())
    assert sorted(sum(split(tiny_cohort, PROFILE, 1), ())) == sorted(everybody)
    with pytest.raises(DataError, match="Fold 2 does not exist; 0 to 1"):
        split(tiny_cohort, PROFILE, 2)
    with pytest.raises(DataError, match="9 folds need at least 9 patients"):
        split(tiny_cohort, PROFILE.changed(folds=9), 0)


@pytest.mark.parametrize("network", ["3d-f2-l2-d1.2-gn", "2d-f2-l2"])
def test_made_deterministic_two_trainings_are_alike_to_the_last_bit(tiny_cohort, tmp_path, network):
    """In a process of their own, for determinism lasts as long as the process."""
    profile, runs = PROFILE.changed(epochs=3, deterministic=True, recipe="ours"), [tmp_path / name for name in "ab"]
    subprocess.run(command(tiny_cohort, *runs, network=network, profile=profile), check=True, capture_output=True)
    weights = [load_run(run).model.get_weights() for run in runs]
    assert all((a == b).all() for a, b in zip(*weights, strict=True))


# --- interrupted


def test_a_training_begun_on_another_machine_goes_on_as_it_began(tiny_cohort, tmp_path, monkeypatch):
    class Stopped(BaseException):
        pass

    def stop(line: str) -> None:
        if line.startswith("epoch 2"):
            raise Stopped

    moved = tmp_path / "moved"
    monkeypatch.setattr("femur_lib.config.choose_precision", lambda precision, features, dimensions: "mixed_bfloat16")
    with pytest.raises(Stopped):
        train(tiny_cohort, moved, "3d-f2-l2", PROFILE, 0, progress=stop)
    monkeypatch.undo()  # here float32 is the choice
    train(tiny_cohort, moved, "3d-f2-l2", PROFILE, 0, progress=quiet)
    assert json.loads((moved / "run.json").read_text())["precision"] == "mixed_bfloat16"
    said: list[str] = []
    train(tiny_cohort, moved, "3d-f2-l2", PROFILE, 0, progress=said.append)
    assert said == [f"{moved} is finished already"]
    with pytest.raises(DataError, match="differs in"):
        train(tiny_cohort, moved, "3d-f2-l2", PROFILE.changed(precision="float32"), 0, progress=quiet)


def test_two_processes_with_one_run_train_it_once(run, tiny_cohort, tmp_path):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command(tiny_cohort, tmp_path / "run"), **pipes) for _ in range(2)]
    said = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    trained, waited = sorted((out for out, _ in said), key=lambda out: "epoch" not in out)
    assert trained.count("epoch ") == len(pd.read_csv(run / "history.csv"))
    assert "epoch" not in waited
    assert waited.splitlines()[-1] == f"{tmp_path / 'run'} is finished already"
    assert sorted(p.name for p in tmp_path.iterdir()) == [".femur-cache", "run"]
    assert_alike(run, tmp_path / "run")


@pytest.mark.backends
def test_killed_in_mid_epoch_it_goes_on_and_ends_as_one_that_was_not(run, tiny_cohort, tmp_path):
    killed = tmp_path / "killed"
    first = subprocess.Popen(command(tiny_cohort, killed), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in first.stdout:
        if line.startswith("epoch 3/"):
            time.sleep(0.05)  # into the fourth epoch
            first.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
            break
    first.wait()
    first.stdout.close()
    assert [p.name for p in tmp_path.iterdir() if "killed" in p.name and p.is_dir()] == ["killed.partial"]
    with pytest.raises(DataError, match="has not been finished"):
        load_run(killed)
    second = subprocess.run(command(tiny_cohort, killed), capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    epochs = [line.split()[1] for line in second.stdout.splitlines() if line.startswith("epoch")]
    assert epochs[0] in ("3/6", "4/6")  # the third again if the kill came before all of it was written
    assert_alike(run, killed)


def test_stopped_between_any_two_files_it_goes_on(run, tiny_cohort, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    real, starts, left = os.replace, 0, 0

    def killed_before_one(source, target):
        """Give some files their names, and be killed before the next gets its own, half-written."""
        nonlocal left
        left -= ".femur-cache" not in str(target)
        if left < 0:
            shutil.copy(source, Path(source).with_name(f".0-{Path(target).name}"))
            raise Killed
        real(source, target)

    monkeypatch.setattr(os, "replace", killed_before_one)
    while not (tmp_path / "killed").exists():
        starts += 1
        left = 2 + starts % 3
        assert starts < 20, "it does not get on"
        with contextlib.suppress(Killed):
            train(tiny_cohort, tmp_path / "killed", "3d-f2-l2", PROFILE, 0, progress=quiet)
    assert starts > 4
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == FILES
    assert_alike(run, tmp_path / "killed")


def test_killed_while_it_clears_up_nothing_is_trained_again(run, tiny_cohort, tmp_path):
    work, late, said = tmp_path / "late.partial", tmp_path / "late", []
    shutil.copytree(run, work)
    (work / "epochs").mkdir()
    train(tiny_cohort, late, "3d-f2-l2", PROFILE, 0, progress=said.append)
    assert said == []
    assert sorted(p.name for p in late.iterdir()) == FILES
    shutil.copytree(run, work)
    with pytest.raises(DataError, match=r"differs in profile\.epochs"):
        train(tiny_cohort, late, "3d-f2-l2", PROFILE, 0, epochs=7, progress=quiet)
