"""Cohorts of synthetic hips: the same women on every machine, side and size; on disk whole or not at all."""

import filecmp
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from femur_lib._runtime.errors import DataError
from femur_lib.cohort import check_cohort, image_path, read_cohort, read_subject
from femur_lib.metrics.overlap import overlap
from femur_lib.phantom import cohort
from femur_lib.phantom.cohort import exact_labels_path, make_cohort, stacks
from femur_lib.phantom.field import Field
from femur_lib.phantom.scanner import scan
from femur_lib.phantom.subject import draw_person
from femur_lib.volumes import read_labels

LANDMARKS = {"head_centre": {1}, "neck_base": {1}, "greater_trochanter": {1, 2}, "lesser_trochanter": {1, 2}}
SCAN = """
import sys
import numpy as np
from femur_lib.phantom.scanner import scan
from femur_lib.phantom.subject import draw_person
made = scan(draw_person(4, 1), 96, 12)
np.savez(sys.argv[1], image=made.image, labels=made.labels, rater=made.rater)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three hips, quick, of seed 5."""
    return make_cohort(tmp_path_factory.mktemp("made") / "hips", 3, seed=5)


def files(root):
    return sorted(p.relative_to(root) for p in root.rglob("*") if p.is_file())


def truth_of(made) -> pd.DataFrame:
    return pd.read_csv(made.root / "derivatives" / "truth" / "truth.tsv", sep="\t")


def assert_same_voxels(one, other):
    a, b = nib.load(one), nib.load(other)
    np.testing.assert_array_equal(np.asarray(a.dataobj), np.asarray(b.dataobj))
    np.testing.assert_array_equal(a.affine, b.affine)


# --- the same everywhere


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="emulates an older x86 processor")
def test_an_older_processor_makes_the_same_truth_and_grey_levels_within_one(tmp_path):
    """OpenBLAS and NumPy are told to do without the wide instructions, so that they add in another order."""
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    older = {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": " ".join(found)}
    file = tmp_path / "older.npz"
    subprocess.run([sys.executable, "-c", SCAN, str(file)], env=os.environ | older, check=True)
    here, other = scan(draw_person(4, 1), 96, 12), np.load(file)
    np.testing.assert_array_equal(here.labels, other["labels"])
    np.testing.assert_array_equal(here.rater, other["rater"])
    difference = np.abs(here.image.astype(int) - other["image"])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


def test_scanning_does_not_depend_on_the_side():
    """Left is therefore the exact mirror of right, with its noise: only the way to disk turns a right hip round."""
    right, left = (scan(replace(draw_person(11, 2), side=side), 96, 12) for side in "RL")
    for one, other in zip(vars(right).values(), vars(left).values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_left_is_the_mirror_of_right():
    person = draw_person(4, 1)
    both = (stacks(replace(person, side=side), scan(person, 96, 6)) for side in "RL")
    (right, right_mask, right_labels), (left, left_mask, left_labels) = both
    np.testing.assert_array_equal(right.array, left.array[:, ::-1])
    np.testing.assert_array_equal(right_mask, left_mask[:, ::-1])
    np.testing.assert_array_equal(right_labels, left_labels[:, ::-1])
    # Below the head, the shaft of a right hip lies towards the patient's right: at lower columns.
    rows = np.flatnonzero(right_mask.any((1, 2)))
    head, shaft = (np.nonzero(right_mask[r])[0].mean() for r in (rows[5], rows[-5]))
    assert shaft < head


def test_she_has_the_same_mask_at_every_size():
    """Each pixel of the smaller scan is compared with the pixel of the larger one whose centre is nearest."""
    small, large = (scan(draw_person(11, 2), pixels, 12) for pixels in (96, 128))
    _, z, x = Field(96, 12).axes_mm(96)
    rows, columns = (np.argmin(np.abs(Field(128, 12).axes_mm(128)[i][:, None] - a), 0) for i, a in ((1, z), (2, x)))
    for one, other in ((small.labels == 1, large.labels == 1), (small.rater, large.rater)):
        assert overlap(one, other[:, rows][:, :, columns])["dice"] > 0.98


def test_she_is_the_same_at_another_size(made, tmp_path):
    small, large = (truth_of(c).iloc[0] for c in (made, make_cohort(tmp_path / "hips", 1, "workshop", seed=5)))
    measured = [name for name in small.index if name.endswith("_cm3")]
    assert small.drop(measured).equals(large.drop(measured))
    for name in measured:
        assert small[name] == pytest.approx(large[name], rel=0.02)


def test_a_woman_is_the_same_in_a_longer_cohort_and_made_by_two_processes(made, tmp_path):
    longer = make_cohort(tmp_path / "hips", 4, seed=5, workers=2)
    for subject in made.subjects:
        for path in (subject.image, subject.mask, exact_labels_path(made.root, subject.id)):
            assert_same_voxels(path, longer.root / path.relative_to(made.root))
    pd.testing.assert_frame_equal(truth_of(made), truth_of(longer).iloc[:3])


def test_other_seeds_are_other_women(made, tmp_path):
    other = make_cohort(tmp_path / "hips", 1, seed=6)
    assert not np.array_equal(read_subject(made.subjects[0])[0].array, read_subject(other.subjects[0])[0].array)


# --- on disk


def test_a_cohort_is_one_that_the_course_can_read(made):
    table = check_cohort(made)
    assert (table.components == 1).all()
    assert table.volume_cm3.between(55, 115).all()
    assert not table.touches_border.any()
    assert made.description["Synthetic"] is True
    assert [p.name for p in made.root.parent.iterdir()] == ["hips"]


def test_the_truth_says_where_the_landmarks_are(made):
    truth = truth_of(made).set_index("participant_id")
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


def test_the_experts_mask_is_near_the_exact_one_but_differs(made):
    for subject in made.subjects:
        exact = read_labels(exact_labels_path(made.root, subject.id)).array == 1
        dice = overlap(exact, read_subject(subject)[1].array)["dice"]
        assert 0.92 < dice < 0.98


def test_masks_of_the_whole_femur_have_its_cortex_and_reach_the_edge_and_nothing_else_changes(made, tmp_path):
    whole = make_cohort(tmp_path / "hips", 1, seed=5, whole_femur=True)
    (image, mask), (usual_image, usual) = read_subject(whole.subjects[0]), read_subject(made.subjects[0])
    np.testing.assert_array_equal(image.array, usual_image.array)
    labels = read_labels(exact_labels_path(whole.root, whole.subjects[0].id)).array
    np.testing.assert_array_equal(labels, read_labels(exact_labels_path(made.root, made.subjects[0].id)).array)
    dice = overlap(np.isin(labels, (1, 2)), mask.array)["dice"]
    assert 0.95 < dice < 0.999  # an expert's border, not the exact one
    assert mask.array[-1].any()  # the lowest row
    assert not usual.array[-1].any()
    assert whole.source.endswith("whole femur")
    assert whole.description["Recipe"]["whole_femur"] is True
    assert "whole_femur" not in made.description["Recipe"]


# --- stopped, started again, refused


def test_stopped_in_the_middle_it_goes_on_with_what_is_missing(made, tmp_path, monkeypatch):
    """One subject is complete, one has files but no row (it was being written), one has not been begun."""
    write, calls = cohort._write_subject, []

    def stops_at_the_third(root, person, pixels, slices):
        calls.append(person.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write(root, person, pixels, slices)

    monkeypatch.setattr(cohort, "_write_subject", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        make_cohort(tmp_path / "hips", 3, seed=5, workers=1)
    assert not (tmp_path / "hips").exists()
    partial = tmp_path / "hips.partial"
    written = image_path(partial, "sub-001").stat().st_mtime_ns
    image_path(partial, "sub-002").unlink()
    (partial / "sub-002.json").unlink()
    lines = []
    make_cohort(tmp_path / "hips", 3, seed=5, workers=1, progress=lines.append)
    assert calls == ["sub-001", "sub-002", "sub-003", "sub-002", "sub-003"]
    assert "1 of 3 were made before" in lines
    assert [p.name for p in tmp_path.iterdir()] == ["hips"]
    assert image_path(tmp_path / "hips", "sub-001").stat().st_mtime_ns == written
    assert files(made.root) == files(tmp_path / "hips")
    for name in files(made.root):
        one, other = made.root / name, tmp_path / "hips" / name
        if name.name.endswith(".nii.gz"):
            assert_same_voxels(one, other)
        else:
            assert one.read_bytes() == other.read_bytes()


def test_a_finished_cohort_is_left_as_it_is_even_one_that_does_not_say_that_it_is_synthetic(made, tmp_path):
    root = tmp_path / "hips"
    shutil.copytree(made.root, root)
    about = root / "dataset_description.json"
    older = json.loads(about.read_text())
    del older["Synthetic"]
    about.write_text(json.dumps(older))
    before = {p: (root / p).stat().st_mtime_ns for p in files(root)}
    again = make_cohort(root, 3, seed=5)
    assert again == read_cohort(root)
    assert again.synthetic
    assert {p: (root / p).stat().st_mtime_ns for p in files(root)} == before


@pytest.mark.parametrize(
    "recipe",
    [{"subjects": 4}, {"seed": 6}, {"difficulty": "hard"}, {"size": "workshop"}, {"whole_femur": True}],
    ids=str,
)
def test_another_recipe_is_refused_and_nothing_changed(made, tmp_path, recipe):
    root = tmp_path / "hips"
    shutil.copytree(made.root, root)
    with pytest.raises(DataError, match=r"hips holds synthetic hips of another recipe"):
        make_cohort(root, **({"subjects": 3, "seed": 5} | recipe))
    assert filecmp.dircmp(made.root, root).diff_files == []
    assert files(root) == files(made.root)


def test_an_unfinished_cohort_of_another_recipe_is_refused(tmp_path):
    partial = tmp_path / "hips.partial"
    partial.mkdir()
    (partial / "recipe.json").write_text(json.dumps({"subjects": 7}))
    with pytest.raises(DataError, match=r"hips.partial is an unfinished cohort"):
        make_cohort(tmp_path / "hips", 1)
    assert json.loads((partial / "recipe.json").read_text()) == {"subjects": 7}


def test_a_folder_of_something_else_is_never_written_over(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(DataError, match="mine holds something else already"):
        make_cohort(tmp_path / "mine", 1)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]  # no lock is left behind


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": "huge"}, "size is one of"),
        ({"difficulty": "cruel"}, "difficulty is one of"),
        ({"subjects": 0}, "at least one"),
    ],
)
def test_impossible_recipes_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        make_cohort(tmp_path / "hips", **({"subjects": 1} | settings))
    assert list(tmp_path.iterdir()) == []
