"""A search leaves the scored fold alone, and goes on where it was stopped."""

import json
import sys

import pytest

from femur_lib._runtime.errors import DataError, TrainingFailed
from femur_lib.config import Profile
from femur_lib.lab import search as searching
from femur_lib.lab.search import search
from femur_lib.training import split

pytest.importorskip("optuna")
PROFILE = Profile(**{
    "profile": "tiny", "grid_3d": (16, 16, 8), "epochs": 2, "first_epochs": 2, "folds": 2, "seed": 1,
})  # fmt: skip


def quiet(line: str) -> None:
    """Say nothing."""


def asked(cohort, folder, **more):
    settings = {"trials": 3, "features": (2, 3), "rates": (1e-3, 1e-2), "progress": quiet} | more
    return search(cohort, folder, "3d-f2-l1", PROFILE, 0, **settings)


@pytest.fixture(scope="module")
def found(tiny_cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "s"
    return folder, asked(tiny_cohort, folder)


def test_the_best_trial_comes_first_and_each_is_a_run(found):
    folder, table = found
    assert len(table) == 3
    assert table.dice.is_monotonic_decreasing
    for row in table.itertuples():
        record = json.loads((folder / row.run / "run.json").read_text())
        assert record["network"] == f"3d-f{row.features}-l1"
        assert record["profile"]["learning_rate"] == pytest.approx(row.learning_rate, rel=0.01)


def test_no_scan_of_the_scored_fold_takes_part(found, tiny_cohort):
    folder, table = found
    _, scored = split(tiny_cohort, PROFILE, 0)
    patients = {tiny_cohort[name].patient for name in scored}
    for run in table.run:
        record = json.loads((folder / run / "run.json").read_text())
        took_part = {tiny_cohort[n].patient for n in record["training"] + record["validation"]}
        assert took_part
        assert not took_part & patients


def test_a_finished_search_is_found_and_a_longer_one_goes_on(found, tiny_cohort, monkeypatch):
    folder, table = found
    calls = []

    def counted(*arguments, **more):
        calls.append(arguments[1])
        raise TrainingFailed("no")

    monkeypatch.setattr(searching, "train", counted)
    assert asked(tiny_cohort, folder).equals(table)
    assert not calls
    longer = asked(tiny_cohort, folder, trials=4)
    assert len(calls) == 1
    assert longer.run.tolist() == [*table.run, "failed"]


def test_a_trial_cut_short_is_taken_up_again_with_the_same_numbers(tiny_cohort, tmp_path, monkeypatch):
    begun = []

    def killed(cohort, run, *rest, **more):
        begun.append(run.name)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(searching, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            asked(tiny_cohort, tmp_path / "s", trials=1)
    assert asked(tiny_cohort, tmp_path / "s", trials=1).run.tolist() == begun


def test_a_search_of_other_settings_is_refused(found, tiny_cohort):
    with pytest.raises(DataError, match="a search with other settings"):
        asked(tiny_cohort, found[0], features=(2, 4))


def test_nothing_to_try_is_refused(tiny_cohort, tmp_path):
    with pytest.raises(DataError, match="0 trials"):
        asked(tiny_cohort, tmp_path, trials=0)


def test_what_is_not_installed_is_named(tiny_cohort, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(DataError, match="optuna, which is not installed"):
        asked(tiny_cohort, tmp_path)
