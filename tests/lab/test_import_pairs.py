"""Any folder of images and masks becomes a cohort, or one clear line says why not."""

import nibabel as nib
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


def test_participants_must_name_every_image(folders):
    table = folders / "who.tsv"
    table.write_text("participant_id\tpatient\tside\tgroup\nhip1\tp1\tL\tx\n")
    with pytest.raises(DataError, match=r"who\.tsv has no row for hip2"):
        imported(folders, participants=table)


def test_rows_and_files_that_are_not_used_are_listed(folders):
    table, said = folders / "who.tsv", []
    rows = ["hip1_image\tp1\tL\tx", "hip2\tp1 \tR\tx", "hip9\tp9\tR\tx"]  # by file or by name; spaces do not count
    table.write_text("participant_id\tpatient\tside\tgroup\n" + "\n".join(rows) + "\n", "utf-16")
    write_nifti(folders / "masks" / "hip9_mask.nii.gz", np.ones((2, 2, 2), np.uint8))
    for name in ("hip3.par", "IM_0001", "._hip1_image.nii.gz"):
        (folders / "images" / name).write_bytes(b"NRRD0004")
    out = imported(folders, participants=table, progress=said.append)
    assert out.patient.tolist() == ["p1", "p1"]
    assert any("hip9" in line and "who.tsv" in line for line in said)
    (unused,) = [line for line in said if line.startswith("not used")]
    assert all(name in unused for name in ("hip9_mask.nii.gz", "hip3.par", "IM_0001"))
    assert "._hip1" not in unused


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("hip1\tp1\tL\tx\nhip1\tp7\tR\ty\nhip2\tp1\tR\tx", "names hip1 in more than one row"),
        ("hip1\t\tL\tx\nhip2\t \tR\tx", "no patient in line 2, 3"),
        ("hip1\tp1\tleft\tx\nhip2\tp1\tr\tx", "the side 'left', 'r'"),
        ("hip1\tp1\tL\tx\nhip2\tp1\tR\ty", "patient p1 in the groups x, y"),
        ("hip1\tp1\tL\tx\nhip2\tp1\tR\tx\tmore", "5 fields in line 3"),
        ("hip1\tp1\tL", "3 fields in line 2"),
        ("hip1\tp1\tL\tx\0\nhip2\tp1\tR\tx", "binary"),
        ("hip1\tp1\tL\tgesünder\nhip2\tp1\tR\tgesünder", "not text in UTF-8"),
    ],
)
def test_a_table_is_settled_at_import_by_the_rules_of_a_cohort(folders, rows, says):
    table = folders / "who.tsv"
    table.write_text("participant_id\tpatient\tside\tgroup\n" + rows + "\n", "latin-1")
    with pytest.raises(DataError, match=rf"who\.tsv .*{says}"):
        imported(folders, participants=table)
    assert not (folders / "out").exists()


def test_a_column_that_stands_twice_is_refused(folders):
    (folders / "who.tsv").write_text("participant_id\tpatient\tside\tgroup\tpatient\nhip1\tp1\tL\tx\tp2\n")
    with pytest.raises(DataError, match=r"who\.tsv has the column patient more than once"):
        imported(folders, participants=folders / "who.tsv")


def test_an_empty_table_is_called_empty(folders):
    (folders / "who.tsv").touch()
    with pytest.raises(DataError, match=r"who\.tsv is empty"):
        imported(folders, participants=folders / "who.tsv")


def test_names_are_made_of_latin_letters_whatever_way_they_are_written(folders):
    composed, decomposed = "H\u00fcfte7", "Hu\u0308fte7"
    (folders / "images" / "hip1_image.nii.gz").rename(folders / "images" / f"{composed}.nii.gz")
    (folders / "masks" / "hip1_mask.nii.gz").rename(folders / "masks" / f"{decomposed}_mask.nii.gz")
    assert "sub-Hufte7" in imported(folders).participant_id.tolist()


def test_a_name_without_a_latin_letter_is_refused_by_name(folders):
    (folders / "images" / "hip1_image.nii.gz").rename(folders / "images" / "患者.nii.gz")
    (folders / "masks" / "hip1_mask.nii.gz").rename(folders / "masks" / "患者_mask.nii.gz")
    with pytest.raises(DataError, match=r"患者.* has no Latin letter"):
        imported(folders)


def test_a_folder_of_another_format_is_named(folders):
    for file in (folders / "images").iterdir():
        file.unlink()
    (folders / "images" / "hip1.mnc").write_bytes(b"CDF\1")
    with pytest.raises(DataError, match=r"hip1\.mnc is a MINC or HDF5 file"):
        imported(folders)


def test_a_mask_that_is_no_femurs_is_named(folders):
    mask = np.full((6, 5, 4), 3, np.uint8)
    mask[2:4, 2:4, 1:3] = 0
    write_nifti(folders / "masks" / "hip1_mask.nii.gz", mask)
    with pytest.warns(UserWarning, match=r"hip1_mask.*may be inverted"):
        imported(folders)


def test_a_mask_without_background_is_refused(folders):
    write_nifti(folders / "masks" / "hip1_mask.nii.gz", np.full((6, 5, 4), 3, np.uint8))
    with pytest.raises(DataError, match=r"hip1_mask.* has the value 3 in every voxel"):
        imported(folders)


def test_a_mask_in_another_axis_order_is_turned_and_the_scans_forms_are_kept(folders):
    scan, mask = folders / "images" / "hip1_image.nii.gz", folders / "masks" / "hip1_mask.nii.gz"
    image, drawn = nib.load(scan), nib.load(mask)
    femur = np.asarray(drawn.dataobj) == 3
    image.set_qform(image.affine @ np.diag([1, 1, 1.5, 1]), 2)
    nib.save(image, scan)
    turn = nib.orientations.axcodes2ornt(("P", "S", "R"))
    nib.save(drawn.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(drawn.affine), turn)), mask)
    with pytest.warns(UserWarning, match="qform and an sform that differ"):
        imported(folders)
    for kept in read_cohort(folders / "out")["sub-hip1"].image, read_cohort(folders / "out")["sub-hip1"].mask:
        header = nib.load(kept).header
        assert (header["sform_code"], header["qform_code"]) == (2, 2)
        np.testing.assert_allclose(header.get_qform(), image.get_qform(), atol=1e-5)
    kept = np.asarray(nib.load(read_cohort(folders / "out")["sub-hip1"].mask).dataobj)
    np.testing.assert_array_equal(kept, femur)


def test_axes_can_be_said_where_the_files_do_not_say_them(folders):
    for file in [*(folders / "images").iterdir(), *(folders / "masks").iterdir()]:
        image = nib.load(file)
        image.set_sform(None, 0)
        nib.save(image, file)
    with pytest.raises(DataError, match="sform and qform both have the code 0"):
        imported(folders)
    with pytest.warns(UserWarning, match="axes LIP as you say"):
        imported(folders, axes="LIP")
    assert read_subject(read_cohort(folders / "out")["sub-hip1"])[0].axes == ("L", "I", "P")
