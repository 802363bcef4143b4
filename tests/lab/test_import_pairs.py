"""Any folder of images and masks becomes a cohort, or one clear line says why not."""

import numpy as np
import pytest
from conftest import write_nifti

from femur_lib._runtime.errors import DataError
from femur_lib.cohort import read_cohort, read_subject
from femur_lib.lab.import_pairs import import_pairs, match


def folder_of(folder, *names):
    for name in names:
        write_nifti(folder / f"{name}.nii.gz", np.zeros((2, 2, 2), np.float32))
    return folder


@pytest.fixture
def folders(tmp_path):
    """Two scans and their masks, which have the label 3 and names that end in ``_mask``."""
    rng = np.random.default_rng(0)
    for k in (1, 2):
        write_nifti(tmp_path / "images" / f"hip{k}_image.nii.gz", rng.normal(size=(6, 5, 4)).astype(np.float32))
        mask = np.zeros((6, 5, 4), np.uint8)
        mask[2:4, 2:4, k] = 3
        write_nifti(tmp_path / "masks" / f"hip{k}_mask.nii.gz", mask)
    return tmp_path


def imported(folders, **more):
    return import_pairs(folders / "images", folders / "masks", folders / "out", label=3, **more)


def test_pairs_become_a_cohort(folders):
    assert imported(folders).participant_id.tolist() == ["sub-hip1", "sub-hip2"]
    _, mask = read_subject(read_cohort(folders / "out")["sub-hip2"])
    assert mask.array.sum() == 4
    assert mask.array[..., 2].sum() == 4


@pytest.mark.parametrize(
    ("images", "masks", "names"),
    [
        (["a", "a_b", "a10"], ["a_label", "a_b_label", "a10_label"], ["a", "a10", "a_b"]),
        (["hip_001_0000"], ["hip_001"], ["hip_001"]),  # nnU-Net's ending of a channel
    ],
)
def test_a_mask_belongs_to_the_longest_name_it_begins_with(tmp_path, images, masks, names):
    found = match(folder_of(tmp_path / "images", *images), folder_of(tmp_path / "masks", *masks))
    assert [name for name, _, _ in found] == names
    assert all(mask.name.removesuffix(".nii.gz").removesuffix("_label") == name for name, _, mask in found)


@pytest.mark.parametrize("names", [("case01", "case01_mask"), ("case01_image", "case01")])
def test_one_folder_may_hold_both(tmp_path, names):
    image, mask = names
    folder = folder_of(tmp_path, *names)
    assert match(folder, folder) == [("case01", folder / f"{image}.nii.gz", folder / f"{mask}.nii.gz")]


def test_two_images_of_one_name_are_refused(tmp_path):
    images, masks = folder_of(tmp_path / "images", "a_T1w", "a_image"), folder_of(tmp_path / "masks", "a")
    with pytest.raises(DataError, match=r"a_T1w\.nii\.gz has the name of another image"):
        match(images, masks)


def test_an_image_without_a_mask_is_named(folders):
    (folders / "masks" / "hip2_mask.nii.gz").unlink()
    with pytest.raises(DataError, match=r"hip2_image\.nii\.gz has no mask"):
        imported(folders)
    assert not (folders / "out").exists()


def test_other_labels_are_refused_unless_ignored(folders):
    mask = np.zeros((6, 5, 4), np.uint8)
    mask[0, 0, 0], mask[1, 1, 1] = 3, 7
    write_nifti(folders / "masks" / "hip1_mask.nii.gz", mask)
    with pytest.raises(DataError, match=r"\[7\] besides 0 and 3"):
        imported(folders)
    assert not (folders / "out").exists()
    imported(folders, ignore_other_labels=True)


def test_participants_say_who_is_whose(folders):
    table = folders / "who.tsv"
    table.write_text("participant_id\tpatient\tside\tgroup\nhip1\tp1\tL\tx\nhip2\tp1\tR\tx\n")
    out = imported(folders, participants=table)
    assert out.patient.tolist() == ["p1", "p1"]
    assert out.side.tolist() == ["L", "R"]


def test_participants_must_name_every_image(folders):
    table = folders / "who.tsv"
    table.write_text("participant_id\tpatient\tside\tgroup\nhip1\tp1\tL\tx\n")
    with pytest.raises(DataError, match=r"who\.tsv has no row for hip2"):
        imported(folders, participants=table)
