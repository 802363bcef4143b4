"""A cohort appears whole or not at all, is checked before any work, and its folds never part a patient's hips."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import affine_of, tiny_hip, write_nifti
from hypothesis import given
from hypothesis import strategies as st

from femur_lib._runtime.errors import DataError
from femur_lib.cohort import (
    Cohort,
    Subject,
    check_cohort,
    folds,
    image_path,
    mask_path,
    new_cohort,
    read_cohort,
    read_subject,
)
from femur_lib.volumes import Volume


def cohort_on_paper(groups: dict[str, str], hips_each: dict[str, int] | None = None) -> Cohort:
    """A cohort of patients with groups, without files."""
    return Cohort(
        Path("paper"),
        tuple(
            Subject(f"sub-{patient}{side}", patient, side, group, Path(), Path())
            for patient, group in groups.items()
            for side in "RL"[: (hips_each or {}).get(patient, 1)]
        ),
    )


THE_PAPERS = cohort_on_paper({f"p{i:02d}": "fracture" if i < 36 else "control" for i in range(86)})


def written(root: Path, image: Volume, mask: np.ndarray, **description) -> Cohort:
    """A cohort of one hip."""
    with new_cohort(root, "Hips", "a hospital", **description) as add:
        add("sub-01L", "p1", "L", "control", image, mask)
    return read_cohort(root)


def change_table(root: Path, change) -> None:
    path = root / "participants.tsv"
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    change(table).to_csv(path, sep="\t", index=False)


# --- writing


def test_a_new_cohort_is_read_back(tmp_path):
    image, mask = tiny_hip(0, axes="PSR")
    (tmp_path / "c").mkdir()  # an empty folder is taken
    cohort = written(tmp_path / "c", image, mask, License="CC0")
    subject = cohort["sub-01L"]
    assert (subject.patient, subject.side, subject.group) == ("p1", "L", "control")
    image_back, mask_back = read_subject(subject)
    np.testing.assert_array_equal(image_back.array, image.array)
    np.testing.assert_array_equal(mask_back.array, mask)
    np.testing.assert_allclose(image_back.affine, image.affine, atol=1e-4)
    about = cohort.description
    assert (about["Name"], about["Source"], about["License"], cohort.source) == (
        "Hips",
        "a hospital",
        "CC0",
        "a hospital",
    )
    assert about["BIDSVersion"]
    assert (tmp_path / "c/sub-01L/anat/sub-01L_T1w.nii.gz").is_file()
    assert (tmp_path / "c/derivatives/femur/sub-01L/anat/sub-01L_desc-femur_mask.nii.gz").is_file()


@pytest.mark.parametrize(
    ("description", "synthetic"),
    [
        ({"Source": "femur phantom, quick, seed 0", "Synthetic": True}, True),
        ({"Source": "femur phantom, quick, seed 0"}, True),  # older cohorts say so in their source alone
        ({"Source": "a photographer of femur phantoms", "Synthetic": False}, False),
        ({"Source": "pelvic_project masks"}, False),
        ({}, False),
    ],
)
def test_a_cohort_says_whether_its_hips_are_synthetic(tmp_path, description, synthetic):
    (tmp_path / "dataset_description.json").write_text(json.dumps(description))
    assert Cohort(tmp_path, ()).synthetic is synthetic
    assert Cohort(tmp_path / "without a description", ()).synthetic is False


def test_nothing_is_seen_at_the_place_before_the_end(tmp_path):
    with new_cohort(tmp_path / "c", "name", "source") as add:
        add("sub-1", "p", "R", "g", *tiny_hip(0))
        assert not (tmp_path / "c").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_in_the_middle_leaves_nothing(tmp_path, error):
    def import_that_fails():
        with new_cohort(tmp_path / "c", "name", "source") as add:
            add("sub-1", "p", "R", "g", *tiny_hip(0))
            raise error

    with pytest.raises(error):
        import_that_fails()
    assert list(tmp_path.iterdir()) == []


def test_a_cohort_without_a_hip_is_refused(tmp_path):
    with pytest.raises(DataError, match="a folder holds no scan"), new_cohort(tmp_path / "c", "name", "a folder"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["c", "c/thesis.txt"], ids=["a file", "a folder with something in it"])
def test_whatever_lies_there_already_is_kept(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("years of work")
    with pytest.raises(DataError, match="c exists and is not empty"), new_cohort(tmp_path / "c", "n", "s"):
        pass
    assert (tmp_path / name).read_text() == "years of work"


@pytest.mark.parametrize("name", ["01", "sub-01_L", "sub-", "sub-../x", "sub-1\n"])
def test_a_subject_needs_a_bids_name(tmp_path, name):
    with pytest.raises(ValueError, match="BIDS"), new_cohort(tmp_path / "c", "n", "s") as add:
        add(name, "p", "R", "g", *tiny_hip(0))


# --- reading


def test_the_table_of_a_cohort_is_its_participants_in_their_order(cohort_copy):
    change_table(cohort_copy, lambda t: t[::-1].assign(age="63"))  # more columns are allowed
    cohort = read_cohort(cohort_copy)
    assert [s.id for s in cohort.subjects][:2] == ["sub-06R", "sub-05L"]
    on_disk = pd.read_csv(cohort_copy / "participants.tsv", sep="\t").drop(columns="age")
    pd.testing.assert_frame_equal(cohort.table(), on_disk, check_dtype=False)


def test_numbers_and_na_stay_text(cohort_copy):
    change_table(cohort_copy, lambda t: t.assign(patient=[f"00{i}" for i in range(7)], group="n/a", side="n/a"))
    subject = read_cohort(cohort_copy).subjects[1]
    assert (subject.patient, subject.group, subject.side) == ("001", "n/a", "n/a")


def test_an_unknown_subject_is_named(tiny_cohort):
    with pytest.raises(KeyError, match="no subject sub-99; it has sub-01R"):
        tiny_cohort["sub-99"]


def test_a_folder_without_a_table_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds no participants\.tsv"):
        read_cohort(tmp_path)


@pytest.mark.parametrize("content", [b"", "participant_id".encode("utf-16"), b'a\t"b\n'])
def test_a_table_that_cannot_be_read_is_refused(tmp_path, content):
    (tmp_path / "participants.tsv").write_bytes(content)
    with pytest.raises(DataError, match=r"participants\.tsv"):
        read_cohort(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.drop(columns="patient"), "has no column patient;"),
        (lambda t: t.drop(columns=["side", "group"]), "has no column side, group;"),
        (lambda t: t.assign(side=["", *t.side[1:]]), "has the side ''"),
    ],
    ids=["a column", "two columns", "no side"],
)
def test_a_table_that_is_wrong_is_refused(cohort_copy, change, says):
    change_table(cohort_copy, change)
    with pytest.raises(DataError, match=rf"participants\.tsv {says}"):
        read_cohort(cohort_copy)


@pytest.mark.parametrize("which", [image_path, mask_path])
def test_a_missing_file_is_named(cohort_copy, which):
    which(cohort_copy, "sub-04R").unlink()
    with pytest.raises(DataError, match=r"sub-04R_.*nii\.gz does not exist"):
        read_cohort(cohort_copy)


# --- checking


def test_each_hip_is_described(tmp_path):
    mask = np.zeros((10, 12, 6), bool)
    mask[2:7, 3:8, 1:5] = True  # 100 voxels of 2 x 1 x 5 mm
    mask[9, 11, 5] = True  # a second piece, at the border
    image = np.random.default_rng(0).random(mask.shape).astype(np.float32)
    row = check_cohort(written(tmp_path / "c", Volume(image, affine_of("PSR", (2, 1, 5))), mask)).iloc[0]
    assert (row["shape"], row.spacing_mm, row["axes"]) == ("10 x 12 x 6", "2 x 1 x 5", "PSR")
    assert row.volume_cm3 == pytest.approx(1.01)
    assert row.components == 2
    assert row.touches_border


def test_a_good_cohort_is_checked_hip_by_hip(tiny_cohort):
    seen = []
    table = check_cohort(tiny_cohort, seen.append)
    assert seen == [s.id for s in tiny_cohort.subjects]
    assert len(table) == 7
    assert (table.components == 1).all()
    assert not table.touches_border.any()


def test_two_right_hips_of_a_patient_are_doubted(cohort_copy):
    change_table(cohort_copy, lambda t: t.assign(side="R"))
    with pytest.warns(UserWarning, match=r"patient p01 more than one hip of side R \(sub-01R, sub-01L\)\. Unless"):
        check_cohort(read_cohort(cohort_copy))


@pytest.mark.parametrize("end", [0, -1])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_femur_that_is_cut_at_any_side_is_noticed(tmp_path, axis, end):
    image, mask = tiny_hip(0)
    middle = [n // 2 for n in mask.shape]
    middle[axis] = end
    mask[tuple(middle)] = True
    assert check_cohort(written(tmp_path / "c", image, mask)).touches_border.all()


def test_pieces_that_touch_at_a_corner_are_one(tmp_path):
    mask = np.zeros((24, 24, 8), bool)
    mask[5, 5, 5] = mask[6, 6, 6] = True
    assert check_cohort(written(tmp_path / "c", tiny_hip(0)[0], mask)).components.tolist() == [1]


def test_a_mask_that_is_a_voxel_off_its_scan_is_found(cohort_copy):
    cohort = read_cohort(cohort_copy)
    _, mask = read_subject(cohort["sub-03L"])
    mask.affine[:3, 3] += mask.affine[:3, 0]
    write_nifti(cohort["sub-03L"].mask, mask.array.astype(np.uint8), mask.affine)
    with pytest.raises(DataError, match=r"sub-03L_.*femur_mask.* an affine that differs"):
        check_cohort(cohort)


# --- folds


@given(
    hips=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 2)), min_size=5, max_size=40),
    n_folds=st.integers(2, 5),
    seed=st.integers(0, 9),
)
def test_every_hip_is_validated_once_and_never_beside_a_training_hip_of_its_patient(hips, n_folds, seed):
    cohort = cohort_on_paper(
        {f"p{i}": group for i, (group, _) in enumerate(hips)}, {f"p{i}": n for i, (_, n) in enumerate(hips)}
    )
    everybody, result = sorted(s.id for s in cohort.subjects), folds(cohort, n_folds, seed)
    assert len(result) == n_folds
    assert sorted(name for fold in result for name in fold.validation) == everybody
    for fold in result:
        assert fold.validation
        assert sorted(fold.training + fold.validation) == everybody
        assert not {cohort[s].patient for s in fold.training} & {cohort[s].patient for s in fold.validation}


@pytest.mark.parametrize("seed", range(5))
def test_the_papers_86_patients_make_four_folds_with_balanced_groups(seed):
    result = folds(THE_PAPERS, seed=seed)
    assert sorted(len(f.validation) for f in result) == [21, 21, 22, 22]
    fractures = [sum(THE_PAPERS[name].group == "fracture" for name in f.validation) for f in result]
    assert sorted(fractures) == [9, 9, 9, 9]


def test_folds_depend_on_the_seed_and_not_on_the_order_of_the_table():
    assert folds(THE_PAPERS, seed=3) == folds(THE_PAPERS, seed=3) != folds(THE_PAPERS, seed=4)
    backwards = Cohort(THE_PAPERS.root, THE_PAPERS.subjects[::-1])
    assert [set(f.validation) for f in folds(THE_PAPERS)] == [set(f.validation) for f in folds(backwards)]


def test_a_group_smaller_than_the_number_of_folds_is_pooled_with_others():
    cohort = cohort_on_paper({f"p{i}": "rare" if i < 2 else "common" for i in range(20)})
    assert [len(f.validation) for f in folds(cohort)] == [5, 5, 5, 5]


def test_fewer_patients_than_folds_are_refused():
    two_hips_each = cohort_on_paper({"a": "x", "b": "x", "c": "x"}, {"a": 2, "b": 2, "c": 2})
    with pytest.raises(ValueError, match="4 folds need at least 4 patients; paper has 3"):
        folds(two_hips_each)


def test_a_folder_of_the_name_that_a_cohort_is_made_under_stays(tmp_path):
    theirs = tmp_path / f"hips.partial-{os.getpid()}"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("do not lose me")
    with new_cohort(tmp_path / "hips", "tiny", "tests") as add:
        add("sub-1", "p1", "R", "x", *tiny_hip(1))
    assert (theirs / "thesis.txt").read_text() == "do not lose me"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hips", theirs.name]
