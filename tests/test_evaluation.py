"""An evaluated run holds scores, components and curves; what its choices owe to the scored scans is asked of others."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from femur_lib.cohort import Cohort
from femur_lib.errors import DataError
from femur_lib.evaluation import (
    FILES,
    SEAL,
    choices,
    dice_at,
    evaluate,
    optimism,
    read_curves,
    read_evaluation,
    write_curves,
)
from femur_lib.files import checksums
from femur_lib.records import kept_epoch, write_json
from femur_lib.runs import load_run
from femur_lib.scores.curves import THRESHOLDS, ProbabilityHistogram
from femur_lib.scores.overlap import overlap


def histogram_of(truth, p) -> ProbabilityHistogram:
    histogram = ProbabilityHistogram()
    histogram.add(np.asarray(truth, bool), np.asarray(p, np.float32))
    return histogram


@pytest.fixture(scope="module")
def evaluated(trained_runs, tiny_cohort, tmp_path_factory):
    """The tiny 2D run, evaluated in a folder of its own."""
    folder = shutil.copytree(trained_runs["2d"], tmp_path_factory.mktemp("evaluated") / "run")
    return folder, evaluate(tiny_cohort, load_run(folder))


def test_the_scans_that_were_not_trained_on_are_scored_and_no_other(evaluated):
    folder, found = evaluated
    record = json.loads((folder / "run.json").read_text())
    assert set(found.scores.participant_id) == set(found.curves) == set(record["validation"])


def test_scores_are_those_of_masks_as_the_run_makes_them(evaluated):
    """A 2D network keeps the largest component."""
    _, found = evaluated
    kept = found.components[found.components.largest_component].drop(columns="largest_component")
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), found.scores, check_exact=False)


def test_without_the_component_s_choice_the_curves_know_the_dice(evaluated):
    folder, found = evaluated
    threshold = load_run(folder).threshold
    plain = found.components[~found.components.largest_component].set_index("participant_id").dice
    for name, histogram in found.curves.items():
        assert dice_at(histogram, threshold) == pytest.approx(plain[name], abs=1e-9)


def test_an_evaluated_run_is_not_evaluated_again(evaluated, tiny_cohort, monkeypatch):
    folder, found = evaluated
    monkeypatch.setattr("femur_lib.evaluation.predict_files", lambda *a, **k: 1 / 0)
    again = evaluate(tiny_cohort, load_run(folder))
    pd.testing.assert_frame_equal(again.scores, found.scores)


def test_a_run_of_everybody_has_nothing_to_be_scored_on(evaluated, tiny_cohort, tmp_path):
    run = load_run(evaluated[0])
    seen = Cohort(tiny_cohort.root, tuple(tiny_cohort[n] for n in run.record["training"]))
    with pytest.raises(DataError, match="no scan that the run was not trained on"):
        evaluate(seen, type(run)(tmp_path, run.record, run.model, run.segmenter))


def test_a_run_that_was_not_evaluated_says_so(trained_runs):
    with pytest.raises(DataError, match=r"no evaluation\.json.*femur evaluate"):
        read_evaluation(trained_runs["3d"])


def test_curves_come_back_from_their_file(tmp_path):
    rng = np.random.default_rng(0)
    curves = {f"sub-{i}": histogram_of(rng.random(50) < 0.3, rng.random(50)) for i in range(3)}
    write_curves(tmp_path / "curves.npz", curves)
    again = read_curves(tmp_path / "curves.npz")
    assert list(again) == list(curves)
    for name in curves:
        np.testing.assert_array_equal(again[name].femur, curves[name].femur)
        np.testing.assert_array_equal(again[name].background, curves[name].background)


@pytest.mark.parametrize("threshold", [float(t) for t in THRESHOLDS[[1, 5000, 20000, -1]]])
def test_dice_at_a_threshold_is_that_of_the_mask(threshold):
    rng = np.random.default_rng(1)
    truth, p = rng.random(500) < 0.4, rng.random(500).astype(np.float32)
    p[:50] = np.float32(threshold)  # not higher, so not femur
    assert dice_at(histogram_of(truth, p), threshold) == pytest.approx(overlap(truth, p > threshold)["dice"])


def made_up_run(folder: Path, fold: int, val_dice: list[float], curves: dict, experiment="3d-f2-l2") -> Path:
    """A folder that looks like an evaluated run whose best epoch is that of the highest ``val_dice``."""
    folder.mkdir()
    profile = {"profile": "tiny", "recipe": {"monitor": "dice"}}
    record = {"experiment": experiment, "fold": fold, "profile": profile, "weights": "best epoch"}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "model.keras").touch()
    pd.DataFrame({"val_dice": val_dice}).to_csv(folder / "history.csv", index=False)
    for name in ("scores.csv", "components.csv"):
        pd.DataFrame({"participant_id": list(curves)}).to_csv(folder / name, index=False)
    write_curves(folder / "curves.npz", curves)
    write_json(folder / SEAL, {"seconds": 1.0, "files": checksums(folder, FILES)})
    return folder


@pytest.fixture
def three_folds(tmp_path) -> list[Path]:
    """Best epochs 2, 3 and 1 (from 0); the first fold's scan wants a higher threshold than the others'."""
    low = ([1, 1, 1, 0, 0], [0.4, 0.5, 0.6, 0.1, 0.2])  # perfect between 0.2 and 0.4
    high = ([1, 1, 1, 0, 0], [0.8, 0.9, 0.95, 0.3, 0.5])  # perfect between 0.5 and 0.8
    dice = ([0.1, 0.5, 0.9, 0.7], [0.1, 0.2, 0.3, 0.8], [0.2, 0.6, 0.5])
    return [
        made_up_run(tmp_path / f"r{k}", k, dice[k], {f"s{k}": histogram_of(*(high if k == 0 else low))})
        for k in range(3)
    ]


def test_each_fold_s_choices_beside_those_of_the_others(three_folds):
    found = choices(three_folds)
    assert found.epoch.tolist() == [3, 4, 2]
    assert found.epoch_by_others.tolist() == [
        3,
        2,
        3,
    ]  # medians 2, 1.5 and 2.5 (from 0), the last of three epochs at most
    assert found.dice_at_epoch.tolist() == [0.9, 0.8, 0.6]
    assert found.dice_at_epoch_by_others.tolist() == [0.9, 0.2, 0.5]
    assert found.threshold[0] > 0.49
    assert found.threshold_by_others[0] < 0.41
    assert found.dice_at_threshold.tolist() == [1, 1, 1]
    assert found.dice_at_threshold_by_others[0] == pytest.approx(2 * 3 / (3 + 5))  # 0.3 and 0.5 are marked, too
    assert optimism(found)["epoch"] == pytest.approx((0 + 0.6 + 0.1) / 3)


def test_youden_s_index_takes_false_positives_of_plentiful_background(tmp_path):
    truth = [1, 1] + [0] * 400
    p = [0.9, 0.6] + [0.7] * 3 + [0.1] * 397
    runs = [made_up_run(tmp_path / f"r{k}", k, [0.5], {f"s{k}": histogram_of(truth, p)}) for k in range(2)]
    found = choices(runs)
    assert (found.threshold > 0.69).all()  # precision 1, recall 1/2
    assert (found.youden < 0.61).all()  # recall 1, false positive rate 3/400
    assert found.dice_at_threshold.tolist() == pytest.approx([2 / 3, 2 / 3])
    assert found.dice_at_youden.tolist() == pytest.approx([4 / 7, 4 / 7])


def test_the_kept_epoch_is_the_best_of_what_was_watched(three_folds):
    assert [kept_epoch(folder) for folder in three_folds] == [2, 3, 1]


@pytest.mark.parametrize(
    ("weights", "monitor", "epoch"),
    [
        ("best epoch", "accuracy", 2),
        ("best epoch", "loss", 1),
        ("last epoch", "accuracy", 3),
        ("average at the last epoch", "loss", 3),
    ],
)
def test_the_kept_epoch_is_the_one_that_run_json_names(tmp_path, weights, monitor, epoch):
    record = {"profile": {"profile": "tiny", "recipe": {"monitor": monitor}}, "weights": weights}
    (tmp_path / "run.json").write_text(json.dumps(record))
    (tmp_path / "model.keras").touch()
    history = pd.DataFrame({"val_accuracy": [0.1, 0.5, 0.9, 0.7], "val_loss": [0.4, 0.1, 0.2, 0.3]})
    history.to_csv(tmp_path / "history.csv", index=False)
    assert kept_epoch(tmp_path) == epoch


def test_choices_need_one_network_and_each_fold_once(three_folds, tmp_path):
    other = made_up_run(tmp_path / "other", 1, [0.1], {"x": histogram_of([1, 0], [0.9, 0.1])}, "3d-f4-l2")
    for runs in (three_folds[:1], [three_folds[0]] * 2, [three_folds[0], other]):
        with pytest.raises(DataError, match="one network, and each fold once"):
            choices(runs)


@pytest.mark.parametrize("name", [*FILES, SEAL])
@pytest.mark.parametrize("how", ["removed", "cut short"])
def test_what_was_damaged_is_made_again(evaluated, tiny_cohort, tmp_path, name, how):
    original, found = evaluated
    folder = shutil.copytree(original, tmp_path / "run")
    if how == "removed":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes((folder / name).read_bytes()[:-20])
    with pytest.raises(DataError, match=rf"{name}.*femur evaluate"):
        read_evaluation(folder)
    again = evaluate(tiny_cohort, load_run(folder))
    pd.testing.assert_frame_equal(again.components, found.components)
    read_evaluation(folder)


def test_a_network_changed_after_its_training_is_not_used(evaluated, tmp_path):
    folder = shutil.copytree(evaluated[0], tmp_path / "run")
    with (folder / "model.keras").open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match=r"model\.keras that was changed.*train again"):
        load_run(folder)
