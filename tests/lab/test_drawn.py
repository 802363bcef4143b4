"""A network trained on hips that are drawn meanwhile, its weights in half precision, trainings that start from it."""

import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest

from femur_lib import runs
from femur_lib._runtime.errors import DataError
from femur_lib.cli import main
from femur_lib.config import Profile, load_profile, resolve
from femur_lib.evaluation import evaluate, predict_files, scans_of_files
from femur_lib.inference import grid_probability
from femur_lib.lab import drawn
from femur_lib.lab.drawn import DrawnHips, pack, train_drawn
from femur_lib.phantom.shares import draw_varied_person, paint_shares
from femur_lib.runs import load_run, read_record
from femur_lib.training import train

NETWORK = "3d-f2-l1-gn"
TINY = {"grid_2d": (32, 24, 8), "grid_3d": (32, 24, 8), "learning_rate": 2e-3, "seed": 1}
PROFILE = Profile(profile="tiny", subjects=8, recipe="drawn", epochs=2, epoch_scans=5, **TINY)
FEW = Profile(profile="few", recipe="ours", epochs=1, epoch_scans=20, **TINY)


def quiet(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on coarsely painted women, and a folder of weights in which it is packed as "drawn-tiny"."""
    here = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawn, "paint_women", lambda seed, numbers, *_: [painted(seed, k) for k in numbers])
        run = train_drawn(here / "run", NETWORK, PROFILE, progress=quiet)
    pack(run, here / "weights" / "drawn-tiny")
    return run, here / "weights"


def painted(seed: int, k: int):
    return paint_shares(draw_varied_person(seed, k), pixels=24, slices=8)


def test_its_record_says_that_it_was_drawn_and_who_chose_the_threshold(trained):
    record = read_record(trained[0])
    assert record["synthetic"]
    assert record["validation"] == ["drawn-007"]
    assert len(record["training"]) == 7
    assert record["threshold_chosen_on"] == "drawn hips held out"
    assert record["grid_spacing_mm"] == pytest.approx([175 / 32, 131 / 24, 146 / 8], abs=1e-3)


def test_started_again_it_is_found_and_with_other_chances_it_is_refused(trained):
    said = []
    train_drawn(trained[0], NETWORK, PROFILE, progress=said.append)
    assert "finished already" in said[-1]
    other = PROFILE.changed(recipe={"base": "drawn", "drawing": ["contrast"]})
    with pytest.raises(DataError, match=r"differs in profile\.recipe"):
        train_drawn(trained[0], NETWORK, other, progress=quiet)


def test_no_scan_is_seen_twice_and_those_held_out_stay_the_same():
    settings, women = resolve(PROFILE, NETWORK), [painted(1, 0), painted(1, 1)]
    batches, held_out = DrawnHips(women, settings, 3), DrawnHips(women, settings, 3, fixed=True)
    first, fixed = batches[0], held_out[0]
    assert first[0].shape == (1, 28, 24, 6, 1)
    assert first[1].shape == (1, 28, 24, 6)
    assert len(batches) == 3
    batches.epoch = held_out.epoch = 1
    assert not np.array_equal(batches[0][0], first[0])
    np.testing.assert_array_equal(held_out[0][0], fixed[0])
    batches.epoch = 0
    np.testing.assert_array_equal(batches[0][0], first[0])  # a training that goes on sees what it would have seen


@pytest.mark.parametrize(
    ("grid", "coarser"), [((128, 96, 28), 1), ((64, 48, 14), 2), ((32, 32, 14), 3), ((9, 9, 48), 1)]
)
def test_for_a_coarse_grid_women_are_painted_coarsely_but_never_more_coarsely_than_a_scan(grid, coarser):
    settings = resolve(PROFILE.model_copy(update={"grid_3d": grid}), NETWORK)
    assert drawn.coarseness(settings) == coarser


def test_women_are_painted_as_coarsely_as_asked_and_kept(tmp_path):
    (woman,) = drawn.paint_women(0, [1], tmp_path, 6)
    assert woman.labels.shape == (8, 24, 24)
    np.testing.assert_array_equal(woman.labels, painted(0, 1).labels)
    (again,) = drawn.paint_women(0, [1], tmp_path, 6)
    assert isinstance(again.shares, np.memmap)


def test_in_half_precision_it_says_the_same(trained, monkeypatch):
    run, weights = trained
    monkeypatch.setattr(runs, "WEIGHTS", weights)
    whole, half = load_run(run, "float32"), load_run("drawn-tiny", "float32")
    assert half.segmenter.threshold == whole.segmenter.threshold
    x = np.random.default_rng(0).normal(size=(1, 32, 24, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(half.model.predict_on_batch(x), whole.model.predict_on_batch(x), atol=5e-3)
    for name, file in read_record("drawn-tiny")["files"].items():
        assert hashlib.sha256((weights / "drawn-tiny" / name).read_bytes()).hexdigest() == file


def test_a_name_stands_for_weights_that_come_with_the_library_wherever_a_run_is_asked_for(
    trained, tiny_cohort, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(runs, "WEIGHTS", trained[1])
    monkeypatch.chdir(tmp_path)
    scan = tiny_cohort.subjects[0].image
    loaded = load_run("drawn-tiny")
    fitting = scans_of_files([scan])
    monkeypatch.setattr("femur_lib.inference.SPACING_TOLERANCE", 100)  # a tiny scan has large pixels
    predict_files(loaded.segmenter, fitting, tmp_path / "out", progress=quiet)
    assert list((tmp_path / "out").glob("*_mask.nii.gz"))
    assert main(["evaluate", "drawn-tiny", str(tiny_cohort.root)]) == 1
    assert "came with the library" in capsys.readouterr().err
    shutil.copytree(trained[0], tmp_path / "drawn-tiny")  # a folder of this name goes before
    assert runs.run_folder("drawn-tiny").resolve() == tmp_path / "drawn-tiny"


def test_a_training_starts_from_a_run_and_its_record_says_so(trained, tiny_cohort, tmp_path):
    start = load_run(trained[0]).model.get_weights()
    few = FEW.model_copy(update={"start_from": str(trained[0]), "learning_rate": 1e-9})
    run = train(tiny_cohort, tmp_path / "r", NETWORK, few, None, progress=quiet)
    for old, new in zip(start, load_run(run).model.get_weights(), strict=True):
        np.testing.assert_allclose(old, new, atol=1e-5)
    record = read_record(run)
    assert record["started_from"] == {"run": "run", "model.keras": read_record(trained[0])["files"]["model.keras"]}


def test_a_fold_is_not_judged_by_patients_whom_its_start_knows(tiny_cohort, tmp_path, monkeypatch):
    first = train(tiny_cohort, tmp_path / "first", NETWORK, FEW, 0, progress=quiet)
    go_on = FEW.changed(start_from=str(first))
    second = train(tiny_cohort, tmp_path / "second", NETWORK, go_on, 0, progress=quiet)
    known = sorted(read_record(first)["training"])
    assert sorted(runs.scans_known_to(read_record(second))) == sorted(2 * known)
    everybody = train(tiny_cohort, tmp_path / "all", NETWORK, go_on, None, progress=quiet)
    for start, fold in ((first, 1), (everybody, 0)):
        with pytest.raises(DataError, match=r"trained on patients whom this fold keeps for validation \(sub-"):
            train(tiny_cohort, tmp_path / "no", NETWORK, FEW.changed(start_from=str(start)), fold, progress=quiet)
    with pytest.raises(DataError, match="has no scan that the run"):
        evaluate(tiny_cohort, load_run(everybody))
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"subjects": 7}, "draws 7 subjects; at least 8"),
        ({"recipe": {"base": "drawn", "loss": "weighted-cross-entropy"}}, "loss weighted-cross-entropy is weighted"),
    ],
)
def test_what_cannot_be_trained_on_drawn_hips_is_refused_before_any_is_painted(tmp_path, settings, says):
    with pytest.raises(DataError, match=says):
        train_drawn(tmp_path / "run", NETWORK, PROFILE.changed(**settings), progress=quiet)
    assert not list(tmp_path.iterdir())


def test_the_threshold_is_chosen_on_predictions_as_they_are_made(trained, monkeypatch):
    """With the flip, if the profile asks for it."""
    seen = []
    monkeypatch.setattr(drawn, "paint_women", lambda seed, numbers, *_: [painted(seed, k) for k in numbers])
    monkeypatch.setattr(drawn, "grid_probability", lambda s, x: seen.append(s.flip) or grid_probability(s, x))
    flipped = PROFILE.changed(flip_predictions=True, epochs=1)
    run = load_run(train_drawn(trained[0].with_name("flipped"), NETWORK, flipped, progress=quiet))
    assert seen
    assert all(seen)
    x = np.random.default_rng(0).normal(size=(32, 24, 8)).astype(np.float32)
    one, other = (grid_probability(replace(run.segmenter, flip=False), y) for y in (x, x[:, ::-1]))
    np.testing.assert_allclose(grid_probability(run.segmenter, x), (one + other[:, ::-1]) / 2, atol=1e-6)


def test_what_cannot_be_started_from_is_refused_before_any_work(trained, tiny_cohort, tmp_path):
    few = FEW.model_copy(update={"start_from": str(trained[0])})
    with pytest.raises(DataError, match="cannot start from it"):
        train(tiny_cohort, tmp_path / "r", "3d-f4-l1-gn", few, None, progress=quiet)
    with pytest.raises(DataError, match=r"holds no run\.json"):
        train(tiny_cohort, tmp_path / "r", NETWORK, FEW.model_copy(update={"start_from": "nowhere"}), progress=quiet)
    assert not list(tmp_path.iterdir())


def test_drawn_recipes_are_for_drawn_hips_and_others_for_cohorts(tiny_cohort, tmp_path, capsys):
    with pytest.raises(DataError, match="drawn was expected"):
        train_drawn(tmp_path / "r", NETWORK, FEW, progress=quiet)
    with pytest.raises(DataError, match="for hips that are drawn"):
        train(tiny_cohort, tmp_path / "r", NETWORK, PROFILE, progress=quiet)
    with pytest.raises(DataError, match="2D network"):
        train_drawn(tmp_path / "r", "2d-f2-l1", PROFILE, progress=quiet)
    assert main(["train", "drawn", str(tmp_path / "r"), "--network", "3d-f8-l3", "--profile", "quick"]) == 1
    assert "profile drawn" in capsys.readouterr().err


def test_of_few_scans_an_epoch_sees_each_more_often(tiny_cohort, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("femur_lib.training.fit", lambda work, settings, material, progress: seen.append(material))
    with pytest.raises(TypeError):  # nothing was fitted
        train(tiny_cohort, tmp_path / "r", NETWORK, FEW, None, progress=quiet)
    scans = len(tiny_cohort.subjects)
    assert len(seen[0].batches) == -(-20 // scans) * scans


def test_the_weights_of_the_library_are_those_of_the_profile_and_small():
    record = read_record("hip-drawn")
    folder = runs.run_folder("hip-drawn")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 4 * 2**20
    assert record["profile"] == load_profile("drawn").model_dump(mode="json")
    runs.refuse_damaged(folder)
