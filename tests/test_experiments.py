import pytest
import yaml

from femur_lib.architecture import Architecture
from femur_lib.errors import DataError
from femur_lib.experiments import Profile, load_profile, parse_experiment, profiles_folder, seed_of, without_seed
from femur_lib.paper import NETWORKS
from femur_lib.volumes import Grid

PROFILES = sorted(profiles_folder().glob("*.yaml"))


# --- names


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("2d-f64-l4", Architecture(2, 64, 4)),
        ("2d-unpadded-f64-l3", Architecture(2, 64, 3, padded=False)),
        ("3d-f32-l4-d1.2.4.8", Architecture(3, 32, 4, dilation_rates=(1, 2, 4, 8))),
        ("2d-f64-l4-d1.8", Architecture(2, 64, 4, dilation_rates=(1, 8))),
        ("3d-f16-l4-a2", Architecture(3, 16, 4, in_plane_levels=2)),
        ("3d-f16-l3-bn", Architecture(3, 16, 3, normalisation="batch")),
        ("3d-f16-l4-a2-gn", Architecture(3, 16, 4, in_plane_levels=2, normalisation="group")),
        ("3d-f16-l4-gn-s3", Architecture(3, 16, 4, normalisation="group")),
    ],
)
def test_a_name_says_what_the_network_is(name, architecture):
    assert parse_experiment(name) == architecture


@pytest.mark.parametrize(
    "name",
    ["", "unet", "4d-f16-l4", "3d-f16", "3d-l4-f16", "3d-f16-l4-", "3d-f16-l4-d", "3d-f16-l4-d1.",
     "3d-f16-l4-xn", "3D-f16-l4", " 3d-f16-l4", "3d-f16-l4\n", "3d-f-16-l4", "3d-f1.5-l4",
     "3d-f16-l4-s", "3d-f16-l4-s1-gn"],
)  # fmt: skip
def test_a_name_that_follows_no_rule_is_refused(name):
    with pytest.raises(DataError, match="no experiment's name"):
        parse_experiment(name)


@pytest.mark.parametrize(
    "name",
    [
        "3d-unpadded-f16-l4",
        "2d-unpadded-f64-l4-d1.2",
        "3d-f0-l4",
        "3d-f16-l0",
        "3d-f16-l4-d0",
        "3d-f16-l4-d2.2",
    ],
)
def test_a_network_that_cannot_be_built_is_refused(name):
    with pytest.raises(DataError, match=f"{name}: .*a network that can be built"):
        parse_experiment(name)


def test_a_name_may_ask_for_another_seed_of_the_same_network():
    assert seed_of("3d-f16-l4") is None
    assert seed_of("3d-f16-l4-a2-s12") == 12
    assert without_seed("3d-f16-l4-a2-s12") == "3d-f16-l4-a2" == without_seed("3d-f16-l4-a2")


def test_a_study_may_name_the_paper_s_networks_and_others():
    assert Profile(profile="x", study="paper").study == NETWORKS
    assert Profile(profile="x", study=["3d-f8-l3", "paper"]).study == ("3d-f8-l3", *NETWORKS)
    assert Profile(profile="x").study == ()


def test_a_profile_makes_every_network_smaller_by_one_factor():
    assert parse_experiment("3d-f32-l4-d1.2", features_divisor=4) == Architecture(3, 8, 4, dilation_rates=(1, 2))


def test_where_the_centre_counts_as_a_level_there_is_a_pooling_less():
    other = Profile(profile="x", centre_counts_as_level=True)
    assert other.architecture("3d-f32-l4").levels == 3
    assert Profile(profile="x").architecture("3d-f32-l4").levels == 4
    with pytest.raises(DataError, match="levels are at least 1"):
        other.architecture("3d-f32-l1")


def test_a_profile_names_the_grey_scale_of_its_grids():
    assert Profile(profile="x").grid(3).intensities == "z-score"
    assert Profile(profile="x", intensities="min-max").grid(2).intensities == "min-max"


def test_one_map_is_the_least():
    assert parse_experiment("2d-f2-l2", features_divisor=8).features == 1


# --- profiles


def written(tmp_path, **settings):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"profile": "mine", **settings}))
    return path


def test_a_profile_without_settings_is_the_papers(tmp_path):
    profile = load_profile(written(tmp_path))
    assert (profile.grid(2), profile.grid(3)) == (Grid(512, 512, 48), Grid(256, 256, 48))
    assert (profile.subjects, profile.folds, profile.recipe.name) == (86, 4, "paper")
    assert (profile.batch_size(2), profile.batch_size(3)) == (1, 1)


def test_settings_are_read(tmp_path):
    profile = load_profile(
        written(tmp_path, grid_2d=[64, 48, 12], batch_size_2d=8, batch_size_3d=2, learning_rate="1e-3", epochs=3)
    )
    assert profile.grid(2) == Grid(64, 48, 12)
    assert (profile.batch_size(2), profile.batch_size(3)) == (8, 2)
    assert (profile.learning_rate, profile.epochs) == (1e-3, 3)


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_profile_of_the_repository_loads_by_its_name(path):
    profile = load_profile(path.stem)
    assert profile.profile == path.stem
    assert profile == load_profile(path)


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_network_of_a_profile_can_be_named(path):
    profile = load_profile(path)
    for name in profile.experiments:
        parse_experiment(name, profile.features_divisor)


def test_an_unknown_profile_is_refused_and_the_known_ones_are_named():
    with pytest.raises(DataError, match=f"fastest: found no such profile; expected .*{PROFILES[0].stem}"):
        load_profile("fastest")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"mine\.yaml: found no such profile"):
        load_profile(tmp_path / "mine.yaml")


def test_an_unknown_setting_is_refused_by_file_and_key(tmp_path):
    with pytest.raises(DataError, match=r"mine\.yaml: found epoch: "):
        load_profile(written(tmp_path, epoch=3))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0),
        ("epochs", "many"),
        ("epochs", 2.5),
        ("subjects", 3),
        ("features_divisor", 0),
        ("folds", 1),
        ("learning_rate", 0),
        ("learning_rate", -1e-3),
        ("batch_size_3d", 0),
        ("patience", 0),
        ("min_delta", -1),
        ("recipe", "theirs"),
        ("grid_3d", [64, 64]),
        ("grid_3d", [64, 64, 0]),
        ("grid_2d", [-64, 64, 8]),
        ("flip_predictions", "perhaps"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_file_and_key(tmp_path, key, value):
    with pytest.raises(DataError, match=rf"mine\.yaml: found {key}"):
        load_profile(written(tmp_path, **{key: value}))


@pytest.mark.parametrize("text", ["", "- a list", "just words", "profile: [", "1: 2"])
def test_a_file_that_is_no_profile_is_refused(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(DataError, match=r"mine\.yaml"):
        load_profile(tmp_path / "mine.yaml")


def test_a_profile_cannot_be_changed_by_mistake():
    with pytest.raises(ValueError, match="frozen"):
        Profile(profile="mine").epochs = 3
