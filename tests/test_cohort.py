import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import affine_of, tiny_hip, write_nifti
from hypothesis import given
from hypothesis import strategies as st

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
from femur_lib.errors import DataError
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


def the_papers_cohort() -> Cohort:
    """86 patients, 36 of them in one group."""
    return cohort_on_paper({f"p{i:02d}": "fracture" if i < 36 else "control" for i in range(86)})


def change_table(root: Path, change) -> None:
    path = root / "participants.tsv"
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    change(table).to_csv(path, sep="\t", index=False)


# --- writing


def test_a_new_cohort_is_read_back(tmp_path):
    image, mask = tiny_hip(0, axes="PSR")
    with new_cohort(tmp_path / "c", "name", "source") as add:
        add("sub-01L", "p1", "L", "control", image, mask)
    cohort = read_cohort(tmp_path / "c")
    subject = cohort["sub-01L"]
    assert (subject.patient, subject.side, subject.group) == ("p1", "L", "control")
    image_back, mask_back = read_subject(subject)
    np.testing.assert_array_equal(image_back.array, image.array)
    np.testing.assert_array_equal(mask_back.array, mask)
    np.testing.assert_allclose(image_back.affine, image.affine, atol=1e-4)


def test_files_lie_where_bids_wants_them(tiny_cohort):
    root = tiny_cohort.root
    assert (root / "sub-02R" / "anat" / "sub-02R_T1w.nii.gz").is_file()
    assert (root / "derivatives/femur/sub-02R/anat/sub-02R_desc-femur_mask.nii.gz").is_file()


def test_a_description_says_where_the_cohort_comes_from(tmp_path):
    with new_cohort(tmp_path / "c", "Hips", "a hospital", License="CC0") as add:
        add("sub-1", "p", "R", "g", *tiny_hip(0))
    about = json.loads((tmp_path / "c" / "dataset_description.json").read_text())
    assert (about["Name"], about["Source"], about["License"]) == ("Hips", "a hospital", "CC0")
    assert about["BIDSVersion"]


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


def test_a_cohort_without_a_hip_is_none(tmp_path):
    with pytest.raises(DataError, match="no usable scan"), new_cohort(tmp_path / "c", "name", "source"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused_and_kept(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="something there already"), new_cohort(tmp_path / "c", "n", "s"):
        pass
    assert (tmp_path / "c" / "thesis.txt").read_text() == "years of work"


def test_a_file_of_that_name_is_refused(tmp_path):
    (tmp_path / "c").write_text("a file")
    with pytest.raises(DataError, match="something there already"), new_cohort(tmp_path / "c", "n", "s"):
        pass


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "c").mkdir()
    with new_cohort(tmp_path / "c", "name", "source") as add:
        add("sub-1", "p", "R", "g", *tiny_hip(0))
    assert len(read_cohort(tmp_path / "c").subjects) == 1


@pytest.mark.parametrize("name", ["01", "sub-01_L", "sub-", "sub-../x", "sub-1\n"])
def test_a_subject_needs_a_bids_name(tmp_path, name):
    with pytest.raises(ValueError, match="BIDS"), new_cohort(tmp_path / "c", "n", "s") as add:
        add(name, "p", "R", "g", *tiny_hip(0))


# --- reading


def test_subjects_are_in_the_order_of_the_table(cohort_copy):
    change_table(cohort_copy, lambda t: t[::-1])
    assert [s.id for s in read_cohort(cohort_copy).subjects][:2] == ["sub-06R", "sub-05L"]


def test_the_table_of_a_cohort_is_its_participants(tiny_cohort):
    on_disk = pd.read_csv(tiny_cohort.root / "participants.tsv", sep="\t")
    pd.testing.assert_frame_equal(tiny_cohort.table(), on_disk, check_dtype=False)


def test_numbers_and_na_stay_text(cohort_copy):
    change_table(cohort_copy, lambda t: t.assign(patient=[f"00{i}" for i in range(7)], group="n/a", side="n/a"))
    subject = read_cohort(cohort_copy).subjects[1]
    assert (subject.patient, subject.group, subject.side) == ("001", "n/a", "n/a")


def test_more_columns_are_allowed(cohort_copy):
    change_table(cohort_copy, lambda t: t.assign(age="63"))
    assert len(read_cohort(cohort_copy).subjects) == 7


def test_an_unknown_subject_is_named(tiny_cohort):
    with pytest.raises(KeyError, match="no subject sub-99; it has sub-01R"):
        tiny_cohort["sub-99"]


def test_a_folder_without_a_table_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no participants\.tsv"):
        read_cohort(tmp_path)


@pytest.mark.parametrize("content", [b"", "participant_id".encode("utf-16"), b'a\t"b\n'])
def test_a_table_that_cannot_be_read_is_refused(tmp_path, content):
    (tmp_path / "participants.tsv").write_bytes(content)
    with pytest.raises(DataError, match=r"participants\.tsv"):
        read_cohort(tmp_path)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda t: t.drop(columns="patient"), "no column patient"),
        (lambda t: t.drop(columns=["side", "group"]), "no column side, group"),
        (lambda t: t[:0], "no rows"),
        (lambda t: pd.concat([t, t[2:3]]), "sub-02R in more than one row"),
        (lambda t: t.assign(group=["a", "b", *["c"] * 5]), "patient p01 in the groups a, b"),
        (lambda t: t.assign(side=["left", *t.side[1:]]), "side 'left'"),
        (lambda t: t.assign(side=["", *t.side[1:]]), "side ''"),
    ],
    ids=["a column", "two columns", "empty", "twice", "two groups", "side", "no side"],
)
def test_a_table_that_is_wrong_is_refused(cohort_copy, change, found):
    change_table(cohort_copy, change)
    with pytest.raises(DataError, match=f"participants.tsv: found {found}"):
        read_cohort(cohort_copy)


@pytest.mark.parametrize("which", [image_path, mask_path])
def test_a_missing_file_is_named(cohort_copy, which):
    which(cohort_copy, "sub-04R").unlink()
    with pytest.raises(DataError, match=r"sub-04R_.*nii\.gz: found no such file"):
        read_cohort(cohort_copy)


# --- checking


def test_check_cohort_describes_each_hip(tmp_path):
    mask = np.zeros((10, 12, 6), bool)
    mask[2:7, 3:8, 1:5] = True  # 100 voxels of 2 x 1 x 5 mm
    mask[9, 11, 5] = True  # a second piece, at the border
    image = np.random.default_rng(0).random(mask.shape).astype(np.float32)
    with new_cohort(tmp_path / "c", "n", "s") as add:
        add("sub-1", "p", "R", "g", Volume(image, affine_of("PSR", (2, 1, 5))), mask)
    row = check_cohort(read_cohort(tmp_path / "c")).iloc[0]
    assert row["shape"] == "10 x 12 x 6"
    assert row.spacing_mm == "2 x 1 x 5"
    assert row["axes"] == "PSR"
    assert row.mask_cm3 == pytest.approx(1.01)
    assert row.components == 2
    assert row.touches_border


def test_check_cohort_sees_a_mask_that_keeps_off_the_border(tiny_cohort):
    table = check_cohort(tiny_cohort)
    assert not table.touches_border.any()
    assert (table.components == 1).all()
    assert len(table) == 7


@pytest.mark.parametrize("end", [0, -1])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_check_cohort_sees_a_femur_cut_at_any_side(tmp_path, axis, end):
    image, mask = tiny_hip(0)
    middle = [n // 2 for n in mask.shape]
    middle[axis] = end
    mask[tuple(middle)] = True
    with new_cohort(tmp_path / "c", "n", "s") as add:
        add("sub-1", "p", "R", "g", image, mask)
    assert check_cohort(read_cohort(tmp_path / "c")).touches_border.all()


def test_pieces_that_touch_at_a_corner_are_one(tmp_path):
    mask = np.zeros((24, 24, 8), bool)
    mask[5, 5, 5] = mask[6, 6, 6] = True
    with new_cohort(tmp_path / "c", "n", "s") as add:
        add("sub-1", "p", "R", "g", tiny_hip(0)[0], mask)
    assert check_cohort(read_cohort(tmp_path / "c")).components.tolist() == [1]


def test_check_cohort_tells_how_far_it_is(tiny_cohort):
    seen = []
    check_cohort(tiny_cohort, seen.append)
    assert seen == [s.id for s in tiny_cohort.subjects]


def test_check_cohort_finds_a_mask_of_another_shape(cohort_copy):
    write_nifti(mask_path(cohort_copy, "sub-03L"), np.ones((24, 24, 7), np.uint8))
    with pytest.raises(DataError, match=r"sub-03L_desc-femur_mask.*\(24, 24, 7\)"):
        check_cohort(read_cohort(cohort_copy))


def test_check_cohort_finds_a_mask_that_lies_elsewhere(cohort_copy):
    path = mask_path(cohort_copy, "sub-03L")
    _, mask = read_subject(read_cohort(cohort_copy)["sub-03L"])
    moved = mask.affine.copy()
    moved[:3, 3] += mask.affine[:3, 0]  # by one voxel
    write_nifti(path, mask.array.astype(np.uint8), moved)
    with pytest.raises(DataError, match=r"sub-03L_desc-femur_mask.*an affine that differs"):
        check_cohort(read_cohort(cohort_copy))


def test_check_cohort_finds_an_image_with_nan(cohort_copy):
    write_nifti(image_path(cohort_copy, "sub-05L"), np.full((24, 24, 8), np.nan, np.float32))
    with pytest.raises(DataError, match=r"sub-05L_T1w.*NaN"):
        check_cohort(read_cohort(cohort_copy))


# --- folds


def test_every_hip_is_validated_once_and_never_trained_on_meanwhile():
    cohort = the_papers_cohort()
    validated = []
    for fold in folds(cohort):
        assert set(fold.training) | set(fold.validation) == {s.id for s in cohort.subjects}
        assert not set(fold.training) & set(fold.validation)
        validated += fold.validation
    assert sorted(validated) == sorted(s.id for s in cohort.subjects)


def test_the_papers_86_patients_make_folds_of_21_21_22_22():
    assert sorted(len(f.validation) for f in folds(the_papers_cohort())) == [21, 21, 22, 22]


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_balanced_to_within_one_patient(seed):
    cohort = the_papers_cohort()
    fractures = [sum(cohort[name].group == "fracture" for name in f.validation) for f in folds(cohort, seed=seed)]
    assert sum(fractures) == 36
    assert max(fractures) - min(fractures) <= 1


@given(
    hips=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 2)), min_size=5, max_size=40),
    n_folds=st.integers(2, 5),
    seed=st.integers(0, 9),
)
def test_a_patient_is_never_split(hips, n_folds, seed):
    cohort = cohort_on_paper(
        {f"p{i}": group for i, (group, _) in enumerate(hips)}, {f"p{i}": n for i, (_, n) in enumerate(hips)}
    )
    result = folds(cohort, n_folds, seed)
    assert len(result) == n_folds
    for fold in result:
        assert fold.validation
        assert not {cohort[s].patient for s in fold.training} & {cohort[s].patient for s in fold.validation}


def test_the_two_hips_of_the_tiny_cohort_stay_together(tiny_cohort):
    for fold in folds(tiny_cohort, 3):
        assert ("sub-01R" in fold.validation) == ("sub-01L" in fold.validation)


def test_the_same_seed_makes_the_same_folds():
    assert folds(the_papers_cohort(), seed=3) == folds(the_papers_cohort(), seed=3)


def test_another_seed_makes_other_folds():
    assert folds(the_papers_cohort(), seed=3) != folds(the_papers_cohort(), seed=4)


def test_folds_do_not_depend_on_the_order_of_the_table():
    cohort = the_papers_cohort()
    backwards = Cohort(cohort.root, cohort.subjects[::-1])
    assert [set(f.validation) for f in folds(cohort)] == [set(f.validation) for f in folds(backwards)]


def test_a_group_smaller_than_the_folds_is_no_hindrance():
    cohort = cohort_on_paper({f"p{i}": "rare" if i < 2 else "common" for i in range(20)})
    assert [len(f.validation) for f in folds(cohort)] == [5, 5, 5, 5]


def test_fewer_patients_than_folds_are_refused():
    two_hips_each = cohort_on_paper({"a": "x", "b": "x", "c": "x"}, {"a": 2, "b": 2, "c": 2})
    with pytest.raises(ValueError, match="4 folds need at least 4 patients; paper has 3"):
        folds(two_hips_each)
