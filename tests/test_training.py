"""A run is whole or not there, resumes after being killed, and refuses what does not belong to it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from femur_lib import training
from femur_lib.callbacks import PaperEarlyStopping
from femur_lib.errors import DataError
from femur_lib.experiments import Profile
from femur_lib.recipes import RECIPES
from femur_lib.runs import load_run
from femur_lib.training import split, train

PROFILE = Profile(
    profile="tiny", grid_2d=(16, 16, 8), grid_3d=(16, 16, 8), epochs=6, first_epochs=3, patience=2, learning_rate=3e-3,
    batch_size_2d=4, folds=2,
)  # fmt: skip
SCRIPT = """
import sys
from femur_lib.cohort import read_cohort
from femur_lib.experiments import Profile
from femur_lib.training import train
train(read_cohort(sys.argv[1]), sys.argv[2], "3d-f2-l2", Profile(**{profile}), 0,
      progress=lambda line: print(line, flush=True))
"""


def quiet(line: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def run(tiny_cohort, tmp_path_factory) -> Path:
    return train(tiny_cohort, tmp_path_factory.mktemp("runs") / "run", "3d-f2-l2", PROFILE, 0, progress=quiet)


def test_a_run_holds_the_network_the_history_and_the_record_and_nothing_else(run):
    assert sorted(p.name for p in run.iterdir()) == ["history.csv", "model.keras", "run.json"]
    assert not run.with_name("run.partial").exists()
    record = json.loads((run / "run.json").read_text())
    assert record["experiment"] == "3d-f2-l2"
    assert record["threshold_chosen_on"] == "validation"
    assert not set(record["training"]) & set(record["validation"])
    assert len(pd.read_csv(run / "history.csv")) == record["epochs_trained"]


def test_the_best_epoch_s_weights_are_kept(run, tiny_cohort):
    history = pd.read_csv(run / "history.csv")
    loaded = load_run(run)
    from femur_lib.feeding import Feed, load_samples

    samples = load_samples(tiny_cohort, loaded.record["validation"], loaded.segmenter.grid)
    loaded.model.compile(metrics=["accuracy"], loss="sparse_categorical_crossentropy")
    accuracy = loaded.model.evaluate(Feed(samples, loaded.segmenter.architecture, 1).dataset(), verbose=0)[1]
    assert accuracy == pytest.approx(history.val_accuracy.max(), abs=1e-4)


def test_a_finished_run_is_found_and_not_trained_again(run, tiny_cohort):
    before = (run / "model.keras").stat().st_mtime_ns
    said: list[str] = []
    train(tiny_cohort, run, "3d-f2-l2", PROFILE, 0, progress=said.append)
    assert said == [f"{run} is finished already"]
    assert (run / "model.keras").stat().st_mtime_ns == before


def test_a_run_from_before_a_setting_existed_is_taken_as_of_its_default(run, tiny_cohort, tmp_path):
    older = tmp_path / "older"
    shutil.copytree(run, older)
    record = json.loads((older / "run.json").read_text())
    del record["profile"]["training_seed"], record["profile"]["gpus"]
    (older / "run.json").write_text(json.dumps(record))
    said: list[str] = []
    train(tiny_cohort, older, "3d-f2-l2", PROFILE, 0, progress=said.append)
    assert said == [f"{older} is finished already"]


def test_another_training_seed_gives_another_network_on_the_same_fold(run, tiny_cohort, tmp_path):
    other = Profile(**PROFILE.model_dump() | {"training_seed": 1})
    train(tiny_cohort, tmp_path / "other", "3d-f2-l2", other, 0)
    records = [json.loads((folder / "run.json").read_text()) for folder in (run, tmp_path / "other")]
    assert records[0]["validation"] == records[1]["validation"]
    histories = [pd.read_csv(folder / "history.csv") for folder in (run, tmp_path / "other")]
    assert not np.allclose(histories[0].loss, histories[1].loss)
    # A study, whose profile is one, asks for it by the network's name.
    train(tiny_cohort, tmp_path / "named", "3d-f2-l2-s1", PROFILE, 0)
    np.testing.assert_allclose(pd.read_csv(tmp_path / "named" / "history.csv"), histories[1], rtol=1e-3, atol=1e-4)


def test_a_run_of_other_settings_is_neither_taken_nor_overwritten(run, tiny_cohort):
    with pytest.raises(DataError, match=r"differs in profile\.epochs"):
        train(tiny_cohort, run, "3d-f2-l2", PROFILE, 0, epochs=7, progress=quiet)


def test_a_training_begun_on_another_machine_goes_on_as_it_began(tiny_cohort, tmp_path, monkeypatch):
    class Stopped(BaseException):
        pass

    def stop(line: str) -> None:
        if line.startswith("epoch 2"):
            raise Stopped

    monkeypatch.setattr(training, "resolve", lambda precision, architecture: "mixed_bfloat16")
    with pytest.raises(Stopped):
        train(tiny_cohort, tmp_path / "moved", "3d-f2-l2", PROFILE, 0, progress=stop)
    monkeypatch.undo()  # here float32 is the choice
    train(tiny_cohort, tmp_path / "moved", "3d-f2-l2", PROFILE, 0, progress=quiet)
    assert json.loads((tmp_path / "moved" / "run.json").read_text())["precision"] == "mixed_bfloat16"
    said: list[str] = []
    train(tiny_cohort, tmp_path / "moved", "3d-f2-l2", PROFILE, 0, progress=said.append)
    assert said == [f"{tmp_path / 'moved'} is finished already"]
    asked = PROFILE.model_copy(update={"precision": "float32"})
    with pytest.raises(DataError, match="differs in"):
        train(tiny_cohort, tmp_path / "moved", "3d-f2-l2", asked, 0, progress=quiet)


def test_a_folder_that_is_no_run_is_left_alone(tiny_cohort, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not lose me")
    with pytest.raises(DataError, match="no run"):
        train(tiny_cohort, tmp_path / "mine", "3d-f2-l2", PROFILE, 0, progress=quiet)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "do not lose me"


def test_two_processes_with_one_run_train_it_once(run, tiny_cohort, tmp_path):
    script = SCRIPT.format(profile=repr(PROFILE.model_dump()))
    command = [sys.executable, "-c", script, str(tiny_cohort.root), str(tmp_path / "run")]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    trained, waited = sorted((out for out, _ in said), key=lambda out: "epoch" not in out)
    assert trained.count("epoch ") == len(pd.read_csv(run / "history.csv"))
    assert "epoch" not in waited
    assert waited.splitlines()[-1] == f"{tmp_path / 'run'} is finished already"
    assert sorted(p.name for p in tmp_path.iterdir()) == [".femur-cache", "run"]
    np.testing.assert_allclose(
        pd.read_csv(tmp_path / "run" / "history.csv"), pd.read_csv(run / "history.csv"), rtol=1e-3, atol=1e-4
    )


def test_killed_in_mid_epoch_it_goes_on_and_ends_as_one_that_was_not(run, tiny_cohort, tmp_path):
    script = SCRIPT.format(profile=repr(PROFILE.model_dump()))
    command = [sys.executable, "-c", script, str(tiny_cohort.root), str(tmp_path / "killed")]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("epoch 3/"):
            time.sleep(0.05)  # into the fourth epoch
            first.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
            break
    first.wait()
    first.stdout.close()
    assert not (tmp_path / "killed").exists()
    assert (tmp_path / "killed.partial").is_dir()
    with pytest.raises(DataError, match="unfinished"):
        load_run(tmp_path / "killed")
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    epochs = [line.split()[1] for line in second.stdout.splitlines() if line.startswith("epoch")]
    assert epochs[0] in ("3/6", "4/6")  # the third again if the kill came before all of it was written
    whole, killed = pd.read_csv(run / "history.csv"), pd.read_csv(tmp_path / "killed" / "history.csv")
    assert killed.epoch.tolist() == whole.epoch.tolist()
    np.testing.assert_allclose(killed, whole, rtol=1e-3, atol=1e-4)
    a, b = load_run(run), load_run(tmp_path / "killed")
    for x, y in zip(a.model.get_weights(), b.model.get_weights(), strict=True):
        np.testing.assert_allclose(x, y, atol=2e-3)
    assert b.threshold == pytest.approx(a.threshold, abs=5e-3)


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
    a, b = load_run(run), load_run(tmp_path / "killed")
    np.testing.assert_allclose(pd.read_csv(b.folder / "history.csv"), pd.read_csv(a.folder / "history.csv"), rtol=1e-3)
    for x, y in zip(a.model.get_weights(), b.model.get_weights(), strict=True):
        np.testing.assert_allclose(x, y, atol=2e-3)
    assert sorted(p.name for p in b.folder.iterdir()) == ["history.csv", "model.keras", "run.json"]


def test_killed_while_it_clears_up_nothing_is_trained_again(run, tiny_cohort, tmp_path):
    work = tmp_path / "late.partial"
    shutil.copytree(run, work)
    (work / "epochs").mkdir()
    said: list[str] = []
    train(tiny_cohort, tmp_path / "late", "3d-f2-l2", PROFILE, 0, progress=said.append)
    assert said == []
    assert sorted(p.name for p in (tmp_path / "late").iterdir()) == ["history.csv", "model.keras", "run.json"]
    shutil.copytree(run, work)
    with pytest.raises(DataError, match=r"differs in profile\.epochs"):
        train(tiny_cohort, tmp_path / "late", "3d-f2-l2", PROFILE, 0, epochs=7, progress=quiet)


def test_early_stopping_told_of_the_past_stops_where_it_would_have():
    values = [0.5, 0.6, 0.7, 0.8, 0.8, 0.8, 0.8, 0.9]
    settings = {"monitor": "val_accuracy", "mode": "max", "min_delta": 1e-4, "patience": 3, "start_from_epoch": 2}

    def stops_after(restart: int) -> int:
        past = pd.DataFrame({"epoch": range(restart), "val_accuracy": values[:restart]})
        callback = PaperEarlyStopping(past, **settings)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        if callback.had_stopped(model):
            return restart - 1
        callback.on_train_begin()
        for epoch in range(restart, len(values)):
            callback.on_epoch_end(epoch, {"val_accuracy": values[epoch]})
            if model.stop_training:
                return epoch
        return -1

    assert [stops_after(restart) for restart in range(8)] == [6] * 8


def test_our_recipe_holds_the_validation_scans_out_of_every_choice(tiny_cohort, tmp_path):
    ours = PROFILE.model_copy(update={"recipe": RECIPES["ours"], "epochs": 2, "flip_predictions": True})
    record = load_run(train(tiny_cohort, tmp_path / "r", "2d-f2-l1", ours, 1, progress=quiet)).record
    assert record["threshold_chosen_on"] == "training"
    assert record["weights"] == "last epoch"


def test_the_unpadded_network_trains_and_loads(tiny_cohort, tmp_path):
    profile = PROFILE.model_copy(update={"grid_2d": (24, 24, 8), "epochs": 1})
    loaded = load_run(train(tiny_cohort, tmp_path / "r", "2d-unpadded-f2-l1", profile, 0, progress=quiet))
    assert loaded.model.output_shape == (None, 8, 8, 2)


def test_a_training_too_large_for_the_machine_is_warned_of_before_it_begins(tiny_cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "machine_bytes", lambda: 10**4)
    monkeypatch.setattr(training, "load_samples", lambda *a: 1 / 0)  # no further
    with pytest.warns(RuntimeWarning, match=r"3d-f2-l2 needs at least .* GB"), pytest.raises(ZeroDivisionError):
        train(tiny_cohort, tmp_path / "r", "3d-f2-l2", PROFILE, 0, progress=quiet)


def test_trained_in_half_width_a_run_says_so_and_its_network_is_saved_in_full(tiny_cohort, tmp_path):
    profile = PROFILE.model_copy(update={"precision": "mixed_bfloat16", "epochs": 1})
    run = load_run(train(tiny_cohort, tmp_path / "r", "3d-f2-l2", profile, 0, progress=quiet))
    assert run.record["precision"] == "mixed_bfloat16"
    saved = keras.saving.load_model(run.folder / "model.keras", compile=False)
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}


def test_all_subjects_holds_nobody_out(tiny_cohort):
    training, validation = split(tiny_cohort, PROFILE, None)
    assert len(training) == len(tiny_cohort.subjects)
    assert validation == ()


def test_a_fold_that_is_not_there_is_refused(tiny_cohort):
    with pytest.raises(DataError, match="0 to 1"):
        split(tiny_cohort, PROFILE, 2)
