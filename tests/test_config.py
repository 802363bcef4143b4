"""Profiles and recipes are read with clear errors, survive being written down, and are resolved once for a network."""

import os
import subprocess
import sys

import pytest
import yaml
from pydantic import ValidationError

from femur_lib import config
from femur_lib._runtime import machine
from femur_lib._runtime.errors import DataError
from femur_lib.architecture import PAPER_NETWORKS, Architecture, cost
from femur_lib.config import (
    RECIPES,
    Profile,
    home,
    load_profile,
    own_folder,
    prepare_backend,
    profiles_folder,
    resolve,
    run_name,
)
from femur_lib.preprocessing import Grid

PROFILES = sorted(profiles_folder().glob("*.yaml"))


def written(tmp_path, **settings):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"profile": "mine", **settings}))
    return path


# --- profiles


def test_a_profile_without_settings_is_the_papers(tmp_path):
    profile = load_profile(written(tmp_path))
    assert (profile.grid(2), profile.grid(3)) == (Grid(512, 512, 48), Grid(256, 256, 48))
    assert (profile.subjects, profile.folds, profile.recipe.name) == (86, 4, "paper")
    assert (profile.epochs, profile.first_epochs, profile.patience, profile.min_delta) == (200, 30, 10, 1e-4)
    assert (profile.batch_size(2), profile.batch_size(3), profile.learning_rate) == (1, 1, 5e-5)


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_profile_of_the_repository_loads_by_its_name_and_its_networks_can_be_built(path):
    profile = load_profile(path.stem)
    assert profile.profile == path.stem
    assert profile == load_profile(path)
    published = path.stem not in ("drawn", "few")
    assert profile.evaluation_slices == ("central" if published else "all")  # central, as in the paper and our tables
    for name in (*profile.networks, *profile.study):
        assert profile.work(name) > 0


def test_a_study_may_name_the_papers_networks_and_others():
    assert Profile(profile="x", study="paper").study == PAPER_NETWORKS
    assert Profile(profile="x", study=["3d-f8-l3", "paper"]).study == ("3d-f8-l3", *PAPER_NETWORKS)
    assert Profile(profile="x").study == ()


def test_a_profile_of_older_days_is_still_read(tmp_path):
    older = load_profile(
        written(tmp_path, experiments=["3d-f8-l3"], learning_rate="1e-3", gpus=1, intensities="z-score")
    )
    assert older == Profile(profile="mine", networks=("3d-f8-l3",), learning_rate=1e-3)


@pytest.mark.parametrize(("key", "value"), [("gpus", 2), ("intensities", "min-max")])
def test_a_retired_setting_that_meant_something_else_is_refused(tmp_path, key, value):
    with pytest.raises(DataError, match=rf"mine\.yaml is not a profile: {key}"):
        load_profile(written(tmp_path, **{key: value}))


def test_an_unknown_profile_is_refused_and_the_known_ones_are_named():
    with pytest.raises(DataError, match=f"There is no profile fastest; .*{PROFILES[0].stem}"):
        load_profile("fastest")


def test_a_profile_is_not_looked_for_outside_its_folder():
    with pytest.raises(DataError, match=r"There is no profile \.\./profiles/quick"):
        load_profile("../profiles/quick")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"There is no profile .*mine\.yaml"):
        load_profile(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("key", "value"),
    [("epoch", 3), ("epochs", 0), ("epochs", "many"), ("epochs", 2.5), ("subjects", 3), ("features_divisor", 0),
     ("folds", 1), ("learning_rate", 0), ("learning_rate", -1e-3), ("batch_size_3d", 0), ("patience", 0),
     ("min_delta", -1), ("recipe", "theirs"), ("grid_3d", [64, 64]), ("grid_3d", [64, 64, 0]),
     ("grid_2d", [-64, 64, 8]), ("flip_predictions", "perhaps"), ("precision", "float64")],
)  # fmt: skip
def test_a_setting_that_is_unknown_or_out_of_range_is_refused_by_file_and_key(tmp_path, key, value):
    with pytest.raises(DataError, match=rf"mine\.yaml is not a profile: {key}"):
        load_profile(written(tmp_path, **{key: value}))


@pytest.mark.parametrize("text", ["", "- a list", "just words", "profile: [", "1: 2"])
def test_a_file_that_is_not_a_profile_is_refused(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(DataError, match=r"mine\.yaml is not a profile"):
        load_profile(tmp_path / "mine.yaml")


def test_a_profile_cannot_be_changed_by_mistake():
    with pytest.raises(ValidationError, match="frozen"):
        Profile(profile="mine").epochs = 3


def test_what_a_network_costs_is_counted_at_the_profiles_own_size():
    profile = Profile(profile="x", grid_2d=(60, 53, 5), grid_3d=(30, 32, 7), batch_size_2d=3)
    padded = cost(Architecture(3, 4, 2), (32, 32, 8))  # the next multiples of four
    assert (profile.cost("3d-f4-l2"), profile.work("3d-f4-l2")) == (padded, padded.multiplications)
    unpadded = cost(Architecture(2, 4, 2, padded=False), (60, 53))
    assert profile.work("2d-unpadded-f4-l2") == 5 * unpadded.multiplications  # slice by slice
    assert profile.training_bytes("2d-unpadded-f4-l2", 2) == unpadded.training_bytes(3, 2)


# --- recipes


def recipe_of(given):
    return Profile(profile="x", recipe=given).recipe


def test_the_papers_recipe_is_what_the_paper_says():
    paper = recipe_of("paper")
    assert paper == RECIPES["paper"] == load_profile("paper").recipe
    assert (paper.loss, paper.augmentation, paper.schedule) == ("weighted-cross-entropy", ("flip",), "constant")
    assert (paper.keep, paper.watched) == ("best", ("val_accuracy", "max"))


def test_ingredients_are_exchanged_one_by_one_and_the_name_says_so():
    changed = recipe_of({"base": "ours", "loss": "cross-entropy", "augmentation": []})
    assert changed == RECIPES["ours"].model_copy(update={"loss": "cross-entropy", "augmentation": ()})
    assert changed.name == "ours, loss cross-entropy, augmentation none"
    assert recipe_of({"base": "ours"}).name == "ours"
    assert recipe_of({"monitor": "loss"}).name == "paper, monitor loss"  # the paper's where no base is named
    assert recipe_of({"monitor": "loss"}).watched == ("val_loss", "min")


def test_a_changed_profile_is_checked_and_keeps_the_rest():
    workshop = load_profile("workshop")
    other = workshop.changed(recipe="ours", epochs=3)
    assert other.recipe == RECIPES["ours"]
    assert other == workshop.model_copy(update={"recipe": RECIPES["ours"], "epochs": 3})
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        workshop.changed(epochs=0)


@pytest.mark.parametrize("given", ["paper", "ours", {"base": "ours", "keep": "average"}])
def test_a_profile_comes_back_from_a_record(given):
    profile = Profile(profile="x", recipe=given, networks=("3d-f8-l3",), training_seed=2)
    assert Profile(**profile.model_dump(mode="json")) == profile


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("theirs", "one of paper, ours, drawn, got 'theirs'"),
        ({"base": "theirs"}, "got 'theirs'"),
        ({"base": "ours", "loss": "tversky"}, "dice-cross-entropy"),
        ({"lost": "cross-entropy"}, "lost"),
        ({"augmentation": ["turn"]}, "rotate"),
        (3, "dictionary"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        recipe_of(given)


# --- resolved for one network


def test_settings_are_what_the_profile_means_for_that_network():
    profile = Profile(
        profile="x", grid_2d=(64, 48, 8), grid_3d=(32, 24, 8), batch_size_2d=8, batch_size_3d=2, passes_3d=4,
        features_divisor=4, centre_counts_as_level=True, precision="float32", recipe="ours",
    )  # fmt: skip
    flat, solid = resolve(profile, "2d-f16-l3"), resolve(profile, "3d-f16-l3-gn-s5")
    assert (flat.network, flat.architecture) == ("2d-f16-l3", Architecture(2, 4, 2))
    assert (flat.grid, flat.batch_size, flat.passes(5)) == (Grid(64, 48, 8), 8, 1)  # 2D networks have slices enough
    assert solid.architecture == Architecture(3, 4, 2, normalisation="group")
    assert (solid.grid, solid.batch_size, solid.passes(5)) == (Grid(32, 24, 8), 2, 4)
    few = profile.model_copy(update={"epoch_scans": 24})
    assert [resolve(few, solid.network).passes(scans) for scans in (5, 6, 7)] == [5, 4, 4]  # whichever asks for more
    assert (solid.profile, solid.recipe, solid.precision) == (profile, RECIPES["ours"], "float32")
    assert (flat.input_size(), resolve(profile, "2d-unpadded-f16-l2").input_size()) == (None, (64, 48))
    assert resolve(profile, "2d-unpadded-f16-l2").input_size("one") == (
        80,
        64,
    )  # as much more as it loses at the border


@pytest.mark.parametrize(
    ("network", "settings", "seed"),
    [
        ("3d-f2-l1", {}, 0),
        ("3d-f2-l1", {"seed": 3}, 3),
        ("3d-f2-l1", {"seed": 3, "training_seed": 0}, 0),
        ("3d-f2-l1-s7", {"seed": 3, "training_seed": 5}, 7),
        ("3d-f2-l1-s0", {"seed": 3}, 0),
    ],
)
def test_the_networks_seed_comes_before_the_trainings_and_that_before_the_profiles(network, settings, seed):
    assert resolve(Profile(profile="x", **settings), network).seed == seed


def test_a_precision_that_is_asked_for_comes_before_the_profiles(monkeypatch):
    monkeypatch.setattr(machine, "gpu_capabilities", lambda: [(9, 0)])
    large, small = "3d-f32-l4", "3d-f8-l4"
    by_profile = {given: Profile(profile="x", precision=given) for given in ("auto", "float32")}
    assert resolve(by_profile["auto"], large).precision == "mixed_bfloat16"
    assert resolve(by_profile["auto"], small).precision == "float32"  # nothing to gain
    assert resolve(by_profile["auto"], large, "float32").precision == "float32"
    assert resolve(by_profile["float32"], large).precision == "float32"
    assert resolve(by_profile["float32"], small, "mixed_float16").precision == "mixed_float16"
    assert resolve(by_profile["float32"], large, "auto").precision == "mixed_bfloat16"


def test_a_name_that_is_not_a_networks_is_refused():
    with pytest.raises(DataError, match="resnet is not the name of a network"):
        resolve(Profile(profile="x"), "resnet")


def test_a_run_is_named_after_its_network_and_its_fold():
    assert run_name("3d-f8-l3-s1", 2) == "3d-f8-l3-s1-fold2"


def test_the_backend_is_prepared_for_the_network_at_its_own_size(monkeypatch):
    asked = []
    monkeypatch.setattr(config, "avoid_onednn_where_it_hangs", lambda *given: asked.append(given))
    profile = Profile(profile="x", grid_2d=(512, 500, 48), grid_3d=(64, 60, 48), features_divisor=2)
    for network in ("2d-f64-l4", "3d-f16-l3"):
        prepare_backend(profile, network)
    assert asked == [(2, 32, 512, 500), (3, 8, 64, 60)]


# --- where what a user makes goes


def test_runs_go_where_the_user_says_else_into_the_checkout_else_into_the_home(monkeypatch, tmp_path):
    monkeypatch.delenv("FEMUR_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", lambda: tmp_path)
    assert own_folder("runs/quick") == home() / "runs" / "quick"
    monkeypatch.setattr("os.access", lambda path, how: False)  # a course that is shared
    assert own_folder("runs/quick") == tmp_path / "hip-course" / "runs" / "quick"
    monkeypatch.setenv("FEMUR_HOME", str(tmp_path / "mine"))
    assert own_folder("exercises") == tmp_path / "mine" / "exercises"


def test_a_profile_is_read_as_utf_8_in_any_locale(tmp_path):
    profile = tmp_path / "mine.yaml"
    profile.write_text("profile: Größe  # für später – ähnlich\n", "utf-8")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code = f"from femur_lib.config import load_profile; print(ascii(load_profile({str(profile)!r}).profile))"
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert said.stdout == "'Gr\\xf6\\xdfe'\n", said.stderr
