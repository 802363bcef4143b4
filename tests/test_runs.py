"""Runs are whole or refused, and those of older days are read in today's words."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import tiny_hip, write_nifti

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import write_json
from femur_lib.cohort import image_path, mask_path, read_cohort
from femur_lib.config import Profile, home
from femur_lib.runs import (
    claim,
    compare,
    data_hash,
    in_todays_words,
    is_finished,
    kept_epoch,
    load_run,
    precision_begun_in,
    read_record,
    run_folder,
)

OLD_PROFILE = {
    "profile": "hips", "grid_3d": [24, 24, 8], "epochs": 3, "experiments": ["3d-f8-l4"], "study": [], "gpus": 1,
    "intensities": "z-score",
}  # fmt: skip
OLD = {
    "experiment": "3d-f8-l4", "fold": 1, "profile": OLD_PROFILE, "training": ["sub-1"], "validation": ["sub-2"],
    "source": "femur phantom, workshop, seed 0, usual", "threshold": 0.4, "weights": "best epoch",
    "threshold_chosen_on": "validation", "grid_spacing_mm": [2.0, 2.0, 5.0], "epochs_trained": 3,
    "seconds_training": 1.5, "peak_memory_gib": None, "parameters": 1000, "versions": {"keras": "3.0"},
    "finished": "2025-01-01T00:00:00Z",
}  # fmt: skip
WANTED = {key: value for key, value in OLD.items() if key in ("fold", "training", "validation", "source")}
WANTED |= {"network": "3d-f8-l4", "synthetic": True}
RECORDS = sorted((home() / "results").rglob("run.json"))


def made_up_run(folder: Path, record: dict) -> Path:
    folder.mkdir(exist_ok=True)
    write_json(folder / "run.json", record)
    (folder / "model.keras").touch()
    return folder


# --- records of older runs


def test_an_old_record_is_read_in_todays_words_and_keeps_its_own(tmp_path):
    record = read_record(made_up_run(tmp_path / "old", OLD))
    profile = OLD_PROFILE | {"evaluation_slices": "central"}
    assert record == OLD | {"network": "3d-f8-l4", "kept": "best", "synthetic": True, "profile": profile}
    assert Profile(**record["profile"]) == Profile(
        profile="hips", grid_3d=(24, 24, 8), epochs=3, networks=("3d-f8-l4",), evaluation_slices="central"
    )


@pytest.mark.parametrize(
    ("old", "today"),
    [
        ({"weights": "best epoch"}, {"kept": "best"}),
        ({"weights": "last epoch"}, {"kept": "last"}),
        ({"weights": "average at the last epoch"}, {"kept": "average"}),
        ({"source": "pelvic_project masks"}, {"synthetic": False}),
        ({}, {"synthetic": False}),
    ],
)
def test_each_old_word_has_one_of_today(old, today):
    assert today.items() <= in_todays_words(old).items()


def test_a_record_of_today_is_left_alone():
    today = {"network": "3d-f8-l4", "kept": "last", "synthetic": True, "source": "a hospital", "weights": "best epoch"}
    assert in_todays_words(today) == today


def test_there_are_records_under_results():
    assert len(RECORDS) > 50


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: str(path.parent.relative_to(home() / "results")))
def test_every_published_record_can_be_read(path):
    record = in_todays_words(json.loads(path.read_text()))
    if "profile" not in record:  # of another's network, trained by a benchmark
        assert {"training", "threshold"} <= set(record)
        return
    profile = Profile(**record["profile"])
    assert profile.evaluation_slices == "central"
    assert profile.architecture(record["network"]).features >= 1
    assert record["kept"] in ("best", "last", "average")
    assert record["synthetic"] == ("synthetic" in path.parts or "workshop" in path.parts)


# --- the same settings or others


def test_an_old_run_is_taken_for_one_of_todays_settings_whatever_else_its_profile_lists():
    profile = Profile(
        profile="hips",
        grid_3d=(24, 24, 8),
        epochs=3,
        evaluation_slices="central",
        networks=("2d-f8-l3",),
        study="paper",
    )
    compare(Path("old"), OLD, WANTED | {"profile": profile.model_dump(mode="json")})


@pytest.mark.parametrize(
    ("old", "differs"),
    [
        ({"experiment": "3d-f16-l4"}, "in network"),
        ({"fold": 2}, "in fold"),
        ({"source": "a hospital"}, "in source"),
        ({"profile": OLD_PROFILE | {"epochs": 4, "seed": 1}}, r"in profile\.epochs, profile\.seed"),
        ({"profile": OLD_PROFILE | {"gpus": 2}}, r"in profile\."),  # a retired setting that meant something else
        ({"profile": OLD_PROFILE | {"intensities": "min-max"}}, r"in profile\."),
    ],
)
def test_a_run_of_other_settings_is_refused_and_the_difference_named(old, differs):
    profile = Profile(profile="hips", grid_3d=(24, 24, 8), epochs=3, evaluation_slices="central").model_dump(
        mode="json"
    )
    with pytest.raises(DataError, match=f"old holds a run that differs {differs}"):
        compare(Path("old"), OLD | old, WANTED | {"profile": profile})


def test_a_folder_that_no_training_began_is_refused_and_left_as_it_is(tmp_path):
    work = tmp_path / "run.partial"
    work.mkdir()
    (work / "thesis.txt").touch()
    with pytest.raises(DataError, match=r"run\.partial was not begun by a training"):
        claim(work, WANTED)
    assert [p.name for p in work.iterdir()] == ["thesis.txt"]
    (work / "settings.json").write_text("{half")
    with pytest.raises(DataError, match=r"settings\.json is damaged;"):
        claim(work, WANTED)


def test_an_unfinished_training_is_claimed_for_its_own_settings_only(tmp_path):
    settings = WANTED | {"profile": {"profile": "hips", "evaluation_slices": "central"}}
    work = tmp_path / "run.partial"
    work.mkdir()
    (work / ".77-settings.json").touch()  # killed before it had written its settings
    claim(work, settings)
    assert sorted(p.name for p in work.iterdir()) == [".77-settings.json", "settings.json"]
    (work / "history.csv").touch()
    claim(work, settings)
    assert (work / "history.csv").exists()
    with pytest.raises(DataError, match=r"run\.partial holds a run that differs in fold"):
        claim(work, settings | {"fold": 3})
    write_json(work / "settings.json", settings | {"precision": "mixed_bfloat16"})
    assert precision_begun_in(tmp_path / "run") == "mixed_bfloat16"
    assert precision_begun_in(tmp_path / "another") == ""


def test_the_hash_of_the_data_is_that_of_these_scans_and_masks_and_of_no_others(cohort_copy):
    cohort, names = read_cohort(cohort_copy), ["sub-02R", "sub-03L"]
    hashes = [data_hash(cohort, some) for some in (names, names[:1], names[::-1])]
    for change, other in ((image_path, tiny_hip(9)[0].array), (mask_path, tiny_hip(9)[1].astype(np.uint8))):
        write_nifti(change(cohort_copy, "sub-03L"), other, tiny_hip(9)[0].affine)
        hashes.append(data_hash(cohort, names))
    assert len(set(hashes)) == len(hashes)
    assert data_hash(cohort, names) == hashes[-1]


# --- which epoch


@pytest.mark.parametrize(
    ("record", "epoch"),
    [
        ({"kept": "best", "profile": {"profile": "x"}}, 2),
        ({"kept": "best", "profile": {"profile": "x", "recipe": {"monitor": "loss"}}}, 1),
        ({"weights": "best epoch", "profile": {"profile": "x"}}, 2),
        ({"kept": "last", "profile": {"profile": "x"}}, 3),
        ({"kept": "average", "profile": {"profile": "x", "recipe": {"monitor": "loss"}}}, 3),
    ],
)
def test_the_kept_epoch_is_the_one_that_the_record_names(tmp_path, record, epoch):
    plain = {key: value for key, value in OLD.items() if key != "weights"}
    made_up_run(tmp_path / "run", plain | {"network": "3d-f8-l4"} | record)
    history = pd.DataFrame(
        {"epoch": range(4), "loss": 1.0, "val_accuracy": [0.1, 0.5, 0.9, 0.7], "val_loss": [0.4, 0.1, 0.2, 0.3]}
    )
    history.to_csv(tmp_path / "run" / "history.csv", index=False)
    assert kept_epoch(tmp_path / "run") == epoch


# --- loading


def test_a_run_is_read_back_with_all_that_predicts(trained_runs):
    runs = {kind: load_run(folder) for kind, folder in trained_runs.items()}
    for kind, run in runs.items():
        s = run.segmenter
        assert run.model is s.model
        assert (s.threshold, list(s.grid_spacing_mm)) == (run.record["threshold"], run.record["grid_spacing_mm"])
        assert s.largest_component == kind.startswith("2d")
        assert (s.flip, s.patches) == (False, "nine")
    assert runs["2d-unpadded"].model.input_shape == (None, 24, 24, 3)
    assert load_run(trained_runs["2d-unpadded"], patches="one").model.input_shape > (None, 24, 24, 3)
    assert load_run(trained_runs["3d"], "mixed_bfloat16").model.get_layer("up0").compute_dtype == "bfloat16"


def test_a_run_that_an_older_version_wrote_is_found_and_loaded(trained_runs, tmp_path):
    folder = shutil.copytree(trained_runs["3d"], tmp_path / "old")
    record = json.loads((folder / "run.json").read_text())
    asked = ("network", "fold", "profile", "precision", "training", "validation", "source", "synthetic", "data_sha256")
    wanted = {key: record[key] for key in asked}
    wanted["profile"] = record["profile"] | {"evaluation_slices": "central"}  # which was all there was
    newer = ("networks", "training_seed", "evaluation_slices")
    old_profile = {key: value for key, value in record["profile"].items() if key not in newer}
    old_profile |= {"gpus": 1, "intensities": "z-score", "experiments": ["2d-f2-l2"]}
    old = {key: value for key, value in record.items() if key not in ("network", "kept", "synthetic", "files")}
    old |= {"experiment": record["network"], "weights": "best epoch", "profile": old_profile}
    write_json(folder / "run.json", old)
    assert is_finished(folder, wanted)
    loaded, today = load_run(folder), load_run(trained_runs["3d"])
    assert (loaded.record["network"], loaded.record["kept"]) == (record["network"], "best")
    assert replace(loaded.segmenter, model=None) == replace(today.segmenter, model=None)


@pytest.mark.parametrize("name", ["model.keras", "history.csv"])
def test_a_run_that_was_changed_after_its_training_is_refused(trained_runs, tmp_path, name):
    folder = shutil.copytree(trained_runs["3d"], tmp_path / "run")
    with (folder / name).open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match=rf"{name} was changed after it was written; .* train again"):
        load_run(folder)


def test_a_folder_that_is_not_a_finished_run_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"run holds no run\.json and model\.keras"):
        load_run(tmp_path / "run")
    (tmp_path / "run.partial").mkdir()
    with pytest.raises(DataError, match="a run that has not been finished"):
        load_run(tmp_path / "run")
    made_up_run(tmp_path / "run", {})
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(DataError, match=r"run\.json is damaged"):
        load_run(tmp_path / "run")


def test_a_file_that_is_not_a_network_is_refused(tmp_path):
    made_up_run(tmp_path / "old", OLD)
    with pytest.raises(DataError, match=r"model\.keras cannot be read"):
        load_run(tmp_path / "old")


def test_a_run_is_not_looked_for_beside_the_weights_that_come_with_the_library():
    assert run_folder("../lab") == Path("../lab")
