"""Any folder of images and masks becomes a cohort, or one clear line says why not."""

import numpy as np
import pytest
from conftest import write_nifti

from femur_lib.cohort import read_cohort, read_subject
from femur_lib.errors import DataError
from femur_lib.sources.pairs import import_pairs, match


@pytest.fixture
def folders(tmp_path):
    """Two scans a folder, masks with label 3 named ``_mask``."""
    rng = np.random.default_rng(0)
    for k in (1, 2):
        write_nifti(tmp_path / "images" / f"hip{k}_image.nii.gz", rng.normal(size=(6, 5, 4)).astype(np.float32))
        mask = np.zeros((6, 5, 4), np.uint8)
        mask[2:4, 2:4, k] = 3
        write_nifti(tmp_path / "masks" / f"hip{k}_mask.nii.gz", mask)
    return tmp_path


def test_pairs_become_a_cohort(folders):
    table = import_pairs(folders / "images", folders / "masks", folders / "out", label=3)
    assert table.participant_id.tolist() == ["sub-hip1", "sub-hip2"]
    _, mask = read_subject(read_cohort(folders / "out")["sub-hip2"])
    assert mask.array.sum() == 4
    assert mask.array[..., 2].sum() == 4


def test_a_mask_belongs_to_the_longest_name_it_begins_with(tmp_path):
    for name in ("a", "a_b", "a10"):
        write_nifti(tmp_path / "images" / f"{name}.nii.gz", np.zeros((2, 2, 2), np.float32))
        write_nifti(tmp_path / "masks" / f"{name}_label.nii.gz", np.zeros((2, 2, 2), np.uint8))
    found = {name: mask.name for name, _, mask in match(tmp_path / "images", tmp_path / "masks")}
    assert found == {"a": "a_label.nii.gz", "a_b": "a_b_label.nii.gz", "a10": "a10_label.nii.gz"}


def test_nnunet_s_channel_ending_does_not_count(tmp_path):
    write_nifti(tmp_path / "images" / "hip_001_0000.nii.gz", np.zeros((2, 2, 2), np.float32))
    write_nifti(tmp_path / "masks" / "hip_001.nii.gz", np.zeros((2, 2, 2), np.uint8))
    assert [name for name, _, _ in match(tmp_path / "images", tmp_path / "masks")] == ["hip_001"]


def test_one_folder_may_hold_both(tmp_path):
    for name in ("case01.nii.gz", "case01_mask.nii.gz"):
        write_nifti(tmp_path / name, np.zeros((2, 2, 2), np.float32))
    assert [(name, m.name) for name, _, m in match(tmp_path, tmp_path)] == [("case01", "case01_mask.nii.gz")]


def test_an_image_without_a_mask_is_named(folders):
    (folders / "masks" / "hip2_mask.nii.gz").unlink()
    with pytest.raises(DataError, match=r"hip2_image\.nii\.gz: found no mask"):
        import_pairs(folders / "images", folders / "masks", folders / "out", label=3)
    assert not (folders / "out").exists()


def test_other_labels_are_refused_unless_ignored(folders):
    mask = np.zeros((6, 5, 4), np.uint8)
    mask[0, 0, 0], mask[1, 1, 1] = 3, 7
    write_nifti(folders / "masks" / "hip1_mask.nii.gz", mask)
    with pytest.raises(DataError, match=r"\[7\] besides 0 and 3"):
        import_pairs(folders / "images", folders / "masks", folders / "out", label=3)
    assert not (folders / "out").exists()
    import_pairs(folders / "images", folders / "masks", folders / "out", label=3, ignore_other_labels=True)


def test_participants_say_who_is_whose(folders):
    table = folders / "who.tsv"
    table.write_text("participant_id\tpatient\tside\tgroup\nhip1\tp1\tL\tx\nhip2\tp1\tR\tx\n")
    out = import_pairs(folders / "images", folders / "masks", folders / "out", label=3, participants=table)
    assert out.patient.tolist() == ["p1", "p1"]
    assert out.side.tolist() == ["L", "R"]


def test_participants_must_name_every_image(folders):
    table = folders / "who.tsv"
    table.write_text("participant_id\tpatient\tside\tgroup\nhip1\tp1\tL\tx\n")
    with pytest.raises(DataError, match="no row for hip2"):
        import_pairs(folders / "images", folders / "masks", folders / "out", label=3, participants=table)
