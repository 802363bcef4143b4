"""Cohorts of synthetic hips: exact counts, the same women everywhere, whole or not at all."""

import filecmp
import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from femur_lib.cohort import check_cohort, read_cohort, read_subject
from femur_lib.errors import DataError
from femur_lib.phantom import cohort as phantom
from femur_lib.phantom.cohort import exact_labels_path, make_cohort
from femur_lib.phantom.parameters import DIFFICULTIES, Difficulty
from femur_lib.phantom.subject import draw_person
from femur_lib.scores.overlap import overlap
from femur_lib.volumes import read_labels

USUAL = DIFFICULTIES["usual"]
LANDMARKS = {"head_centre": {1}, "neck_base": {1}, "greater_trochanter": {1, 2}, "lesser_trochanter": {1, 2}}
RECIPES = [{"subjects": 4}, {"seed": 6}, {"difficulty": "hard"}, {"size": "workshop"}]
IMPOSSIBLE = [
    ({"size": "huge"}, "size is one of"),
    ({"difficulty": "cruel"}, "difficulty is one of"),
    ({"subjects": 0}, "at least one"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three hips, quick, of seed 5."""
    return make_cohort(tmp_path_factory.mktemp("made") / "hips", 3, seed=5)


def files(root):
    return sorted(p.relative_to(root) for p in root.rglob("*") if p.is_file())


def same_voxels(a, b):
    assert files(a) == files(b)
    for name in files(a):
        if name.name.endswith(".nii.gz"):
            one, other = nib.load(a / name), nib.load(b / name)
            np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))
            np.testing.assert_array_equal(one.affine, other.affine)
        elif name.name != "dataset_description.json":
            assert (a / name).read_bytes() == (b / name).read_bytes()


# --- who is drawn


@pytest.mark.parametrize("seed", range(4))
def test_each_86_hold_exactly_what_the_papers_held(seed):
    people = [draw_person(seed, k) for k in range(86, 172)]
    assert sum(p.group == "fracture" for p in people) == 36
    assert sum(p.side == "R" for p in people) == 43
    folded = [k for k, p in enumerate(people) if p.protocol.fold_over]
    cysts = [k for k, p in enumerate(people) if p.hip.cyst_radius]
    assert (len(folded), len(cysts)) == (3, 1)
    assert not set(folded) & set(cysts)
    sites = pd.Series([p.fracture_site for p in people]).value_counts().to_dict()
    assert sites == {"n/a": 50, "arm": 15, "leg": 12, "spine": 4, "ribs": 4, "pelvis": 1}


def test_fracture_means_thinner_cortex_and_less_bone_and_nothing_of_size():
    people = [draw_person(seed, k) for seed in range(4) for k in range(86)]
    table = pd.DataFrame([vars(p.hip) | {"group": p.group} for p in people])
    mean = table.groupby("group")[["cortex", "bone_fraction", "head_diameter", "offset"]].mean()
    ratio = mean.loc["fracture"] / mean.loc["control"]
    assert ratio.cortex == pytest.approx(0.90, abs=0.03)
    assert ratio.bone_fraction == pytest.approx(0.86, abs=0.04)
    assert ratio.head_diameter == pytest.approx(1, abs=0.015)
    assert ratio.offset == pytest.approx(1, abs=0.03)


def test_morphometry_is_as_published():
    hips = pd.DataFrame([vars(draw_person(seed, k).hip) for seed in range(6) for k in range(86)])
    published = {
        "head_diameter": (43.2, 2.2),
        "neck_shaft_angle": (125, 5),
        "offset": (41, 4),
        "neck_height": (30.6, 1.7),
    }
    for name, (mean, sd) in published.items():
        assert hips[name].mean() == pytest.approx(mean, abs=0.2 * sd)
        assert hips[name].std() == pytest.approx(sd, rel=0.2)  # the tails are cut
    assert hips.head_diameter.corr(hips.neck_height) == pytest.approx(0.50, abs=0.12)
    assert hips.head_diameter.corr(hips.neck_shaft_angle) == pytest.approx(-0.14, abs=0.12)


@pytest.mark.parametrize(
    ("knob", "changed"),
    [
        ({"snr": 8.0}, {"snr"}),
        ({"coil_bias": 0.0}, {"coil_bias"}),
        ({"rotation_degrees": 8.0}, {"turn"}),
        ({"position_mm": 7.0}, {"place"}),
        ({"rater_border_mm": 0.0}, {"rater_border_mm"}),
        ({"rater_cut_mm": 0.0}, {"rater_cut_mm"}),
        ({"cortex": 0.6}, {"cortex"}),
        ({"red_marrow": 0.6}, {"red_marrow"}),
        ({"marbling": 0.2}, {"marbling"}),
        ({"trabecular_contrast": 0.9}, {"trabecular_contrast"}),
        ({"pelvic_marrow_similarity": 0.0}, {"pelvic_marrow_similarity"}),
    ],
    ids=str,
)
def test_a_knob_of_difficulty_changes_what_it_names_and_nothing_else(knob: dict, changed: set):
    seen = set()
    for k in range(5):
        a, b = draw_person(3, k, USUAL), draw_person(3, k, replace(USUAL, **knob))
        for one, other in ((vars(a), vars(b)), (vars(a.hip), vars(b.hip)), (vars(a.protocol), vars(b.protocol))):
            seen |= {name for name in one if name not in ("hip", "protocol") and one[name] != other[name]}
    assert seen == changed


def test_artefacts_grow_with_their_knob():
    people = [draw_person(0, k, Difficulty(artefacts=10)) for k in range(86)]
    assert sum(p.protocol.fold_over > 0 for p in people) == 30
    assert sum(p.hip.cyst_radius > 0 for p in people) == 10


# --- on disk


def test_a_cohort_is_one_that_the_course_can_read(made):
    table = check_cohort(made)
    assert (table.components == 1).all()
    assert table.mask_cm3.between(55, 115).all()
    assert not table.touches_border.any()
    assert made.source.startswith("femur phantom")
    left_over = [p for p in made.root.parent.iterdir() if p != made.root]
    assert left_over == []


def test_the_truth_says_where_the_landmarks_are(made):
    truth = pd.read_csv(made.root / "derivatives" / "truth" / "truth.tsv", sep="\t").set_index("participant_id")
    assert {s.side for s in made.subjects} == {"L", "R"}
    for subject in made.subjects:
        labels = read_labels(exact_labels_path(made.root, subject.id))
        row = truth.loc[subject.id]
        for name, inside in LANDMARKS.items():
            place = [row[f"{name}_{axis}_mm"] for axis in "ras"]
            at = np.linalg.solve(labels.affine, [*place, 1])[:3].round().astype(int)
            near = labels.array[tuple(slice(max(0, i - 2), i + 3) for i in at)]
            assert inside & set(near.ravel().tolist())
        centre = np.linalg.solve(labels.affine, [*[row[f"head_centre_{a}_mm"] for a in "ras"], 1])[:3]
        femur = np.isin(labels.array[..., round(centre[2])], (1, 2))
        line = femur[round(centre[0]) - 6]  # across the head, a little above its middle: as wide as the head
        lateral = 1 if subject.side == "L" else -1
        medial_edge = np.flatnonzero(line)[0 if lateral == 1 else -1]
        half_width = lateral * (centre[1] - medial_edge) * labels.spacing_mm[1]
        up = 6 * labels.spacing_mm[0]
        assert half_width == pytest.approx(np.sqrt((row.head_diameter / 2) ** 2 - up**2), abs=1.5)
        volume = (labels.array == 1).sum() * np.prod(labels.spacing_mm) / 1000
        assert row.mask_cm3 == pytest.approx(volume, rel=1e-6)


def test_the_experts_mask_is_near_the_exact_one_and_not_it(made):
    for subject in made.subjects:
        exact = read_labels(exact_labels_path(made.root, subject.id)).array == 1
        dice = overlap(exact, read_subject(subject)[1].array)["dice"]
        assert 0.92 < dice < 0.98


def test_a_woman_is_the_same_in_a_longer_cohort_and_made_by_two_processes(made, tmp_path):
    longer = make_cohort(tmp_path / "hips", 4, seed=5, workers=2)
    for subject in made.subjects:
        for path in (subject.image, subject.mask, exact_labels_path(made.root, subject.id)):
            twin = longer.root / path.relative_to(made.root)
            np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), np.asarray(nib.load(twin).dataobj))
    rows = [pd.read_csv(c.root / "derivatives" / "truth" / "truth.tsv", sep="\t") for c in (made, longer)]
    pd.testing.assert_frame_equal(rows[0], rows[1].iloc[:3])


def test_she_is_the_same_at_another_size(made, tmp_path):
    larger = make_cohort(tmp_path / "hips", 1, "workshop", seed=5)
    small = pd.read_csv(made.root / "derivatives" / "truth" / "truth.tsv", sep="\t").iloc[0]
    large = pd.read_csv(larger.root / "derivatives" / "truth" / "truth.tsv", sep="\t").iloc[0]
    measured = [name for name in small.index if name.endswith("_cm3")]
    assert small.drop(measured).equals(large.drop(measured))
    for name in measured:
        assert small[name] == pytest.approx(large[name], rel=0.02)


def test_other_seeds_are_other_women(made, tmp_path):
    other = make_cohort(tmp_path / "hips", 1, seed=6)
    assert not np.array_equal(read_subject(made.subjects[0])[0].array, read_subject(other.subjects[0])[0].array)


# --- stopped, started again, refused


def test_stopped_in_the_middle_it_goes_on_with_what_is_missing(made, tmp_path, monkeypatch):
    write, calls = phantom._write_subject, []

    def stops_at_the_third(root, person, pixels, slices):
        calls.append(person.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write(root, person, pixels, slices)

    monkeypatch.setattr(phantom, "_write_subject", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        make_cohort(tmp_path / "hips", 3, seed=5, workers=1)
    assert not (tmp_path / "hips").exists()
    lines = []
    make_cohort(tmp_path / "hips", 3, seed=5, workers=1, progress=lines.append)
    assert calls == ["sub-001", "sub-002", "sub-003", "sub-003"]
    assert "2 of 3 were made before" in lines
    same_voxels(made.root, tmp_path / "hips")


def test_a_finished_cohort_is_left_as_it_is(made):
    before = {p: (made.root / p).stat().st_mtime_ns for p in files(made.root)}
    again = make_cohort(made.root, 3, seed=5)
    assert again == read_cohort(made.root)
    assert {p: (made.root / p).stat().st_mtime_ns for p in files(made.root)} == before


@pytest.mark.parametrize(
    "recipe", [{"subjects": 4}, {"seed": 6}, {"difficulty": "hard"}, {"size": "workshop"}], ids=str
)
def test_another_recipe_is_refused_and_nothing_changed(made, tmp_path, recipe):
    root = tmp_path / "hips"
    shutil.copytree(made.root, root)
    with pytest.raises(DataError, match="another recipe"):
        make_cohort(root, **({"subjects": 3, "seed": 5} | recipe))
    assert filecmp.dircmp(made.root, root).diff_files == []
    assert files(root) == files(made.root)


def test_an_unfinished_cohort_of_another_recipe_is_refused(tmp_path):
    partial = tmp_path / "hips.partial"
    partial.mkdir()
    (partial / "recipe.json").write_text(json.dumps({"subjects": 7}))
    with pytest.raises(DataError, match="unfinished"):
        make_cohort(tmp_path / "hips", 1)
    assert json.loads((partial / "recipe.json").read_text()) == {"subjects": 7}


def test_a_folder_of_something_else_is_never_written_over(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(DataError, match="already"):
        make_cohort(tmp_path / "mine", 1)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]  # no lock is left behind


@pytest.mark.parametrize(("settings", "message"), IMPOSSIBLE)
def test_impossible_recipes_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        make_cohort(tmp_path / "hips", **({"subjects": 1} | settings))
    assert list(tmp_path.iterdir()) == []
