"""NRRD, MetaImage and MGH lie where nibabel puts the same scan as NIfTI; what is damaged or unsaid is refused."""

import re
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import affine_of, write_nifti, write_nrrd

from femur_lib._runtime.errors import DataError
from femur_lib.volumes import Volume, on_grid_of, read_labels, read_mask, read_volume, scan_name

sitk = pytest.importorskip("SimpleITK")

RANDOM = np.random.default_rng(0).integers(-50, 500, (7, 6, 5)).astype(np.int16)
OBLIQUE = affine_of("LIP", (1.25, 1.5, 3), (18, -11, 7), (40, -20, 600))


def written(path: Path, array: np.ndarray = RANDOM, affine: np.ndarray = OBLIQUE, packed: bool = False) -> Path:
    """The scan as NIfTI by nibabel, and from that in another format: by nibabel if MGH, by SimpleITK otherwise."""
    nifti = write_nifti(path.with_name("as.nii"), array, affine)
    if path.suffix in (".mgz", ".mgh"):
        nib.save(nib.MGHImage(array, nib.load(nifti).affine), path)
    else:
        sitk.WriteImage(sitk.ReadImage(str(nifti)), str(path), packed)
    return path


def segments(*names_values_layers: tuple[str, int, int]) -> list[str]:
    return [
        f"Segment{k}_{field}:={value}"
        for k, segment in enumerate(names_values_layers)
        for field, value in zip(("Name", "LabelValue", "Layer"), segment, strict=True)
    ]


AFFINES = [*(affine_of(axes, (1, 2, 3), origin=(4, 5, 6)) for axes in ("RAS", "LIP", "PSR")), OBLIQUE]
FORMATS = ["x.nrrd", "x.nhdr", "x.mha", "x.mhd", "x.mgz", "x.mgh"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("affine", AFFINES)
def test_a_scan_lies_where_nibabel_puts_it_as_nifti(tmp_path, name, affine):
    volume, expected = read_volume(written(tmp_path / name, affine=affine)), nib.load(tmp_path / "as.nii")
    np.testing.assert_array_equal(volume.array, RANDOM)
    np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-4)


def test_the_other_spaces_of_nrrd_are_turned_and_its_units_are_millimetres(tmp_path):
    path = write_nrrd(tmp_path / "x.nrrd", RANDOM, OBLIQUE, space="right-anterior-superior")
    np.testing.assert_allclose(read_volume(path).affine, OBLIQUE, atol=1e-5)
    metres = np.diag([0.001, 0.001, 0.001, 1]) @ OBLIQUE
    path = write_nrrd(tmp_path / "x.nrrd", RANDOM, metres, ['space units: "m" "m" "m"'])
    np.testing.assert_allclose(read_volume(path).affine, OBLIQUE, atol=1e-5)


def test_a_sheared_stack_keeps_its_shear(tmp_path):
    sheared = OBLIQUE.copy()
    sheared[:3, 2] += 0.4 * OBLIQUE[:3, 1]
    np.testing.assert_allclose(read_volume(write_nrrd(tmp_path / "x.nrrd", RANDOM, sheared)).affine, sheared, atol=1e-5)


def test_content_decides_and_not_the_name(tmp_path):
    for name in ("x.nrrd", "x.mha", "x.mgz"):
        path = written(tmp_path / name).rename(tmp_path / "y.nii.gz")
        np.testing.assert_array_equal(read_volume(path).array, RANDOM)


def test_names_go_without_the_endings():
    names = ["a.nii.gz", "a.NRRD", "a.seg.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.mgz", "a.mgh", "a.nii"]
    assert {scan_name(name) for name in names} == {"a"}


@pytest.mark.parametrize("name", ["x.nrrd", "x.mha", "x.nhdr", "x.mgh"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_cut_off_is_incomplete(tmp_path, name, packed):
    path = written(tmp_path / name, packed=packed)
    data = next(iter(tmp_path.glob("x.raw*")), path)
    data.write_bytes(data.read_bytes()[: -9 if packed and name != "x.mgh" else -300])
    with pytest.raises(DataError, match=rf"{re.escape(name)} is incomplete"):
        read_volume(path)


@pytest.mark.parametrize("name", ["x.nrrd", "x.mha", "x.mgz"])
def test_a_wrong_checksum_is_damage(tmp_path, name):
    path = written(tmp_path / name, packed=True)
    raw = bytearray(path.read_bytes())
    raw[-6 if name != "x.mha" else -2] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(DataError, match=rf"{name} is damaged"):
        read_volume(path)


@pytest.mark.parametrize("name", ["x.nrrd", "x.mha"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_follows_the_voxels_is_named(tmp_path, name, packed):
    path = written(tmp_path / name, packed=packed)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(DataError, match=rf"{name} goes on for 4 bytes"):
        read_volume(path)


def test_voxels_in_another_file_must_be_there(tmp_path):
    path = written(tmp_path / "x.mhd")
    (tmp_path / "x.raw").unlink()
    with pytest.raises(DataError, match=r"x\.mhd has its voxels in x\.raw, which does not lie beside it"):
        read_volume(path)


def test_a_header_that_says_nothing_is_refused_in_one_line(tmp_path):
    (tmp_path / "x.nrrd").write_bytes(b"NRRD0004\n" + bytes(50))
    (tmp_path / "x.mha").write_bytes(b"NDims = 3\nElementDataFile = LOCAL\n")
    (tmp_path / "x.mgh").write_bytes(b"\0\0\0\1\0\0" + bytes(20))
    for name in ("x.nrrd", "x.mha", "x.mgh"):
        with pytest.raises(DataError, match=rf"{name}[^\n]*$"):
            read_volume(tmp_path / name)


def unsaid(path: Path) -> Path:
    """A scan whose header does not say how it lies."""
    if path.suffix == ".nrrd":
        return write_nrrd(path, RANDOM, None, ["spacings: 1.25 1.5 3"])
    written(path)
    if path.suffix == ".mgh":
        raw = bytearray(path.read_bytes())
        raw[28:30] = b"\0\0"  # goodRASFlag
    else:
        raw = re.sub(rb"TransformMatrix[^\n]*\n", b"", path.read_bytes())
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("name", ["x.nrrd", "x.mha", "x.mgh"])
def test_a_file_that_does_not_say_how_it_lies_needs_its_axes(tmp_path, name):
    path = unsaid(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name} has no orientation in its header.*--axes LIP"):
        read_volume(path)
    with pytest.warns(UserWarning, match=r"axes LIP as you say"):
        volume = read_volume(path, "LIP")
    assert volume.axes == ("L", "I", "P")  # an MGH file that does not say its orientation does not say sizes either
    assert volume.spacing_mm == pytest.approx((1, 1, 1) if name == "x.mgh" else (1.25, 1.5, 3))


def test_the_rules_of_the_reader_are_those_for_nifti(tmp_path):
    with pytest.raises(DataError, match="same value"):
        read_volume(written(tmp_path / "x.mha", np.full((3, 4, 5), 7, np.int16)))
    with pytest.raises(DataError, match="NaN"):
        read_volume(written(tmp_path / "x.mgz", np.where(RANDOM > 450, np.nan, RANDOM).astype(np.float32)))
    with pytest.raises(DataError, match="which no MR scan has"):
        read_volume(written(tmp_path / "x.mha", affine=OBLIQUE @ np.diag([900, 900, 900, 1])))


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True), r"shape \(5, 4, 3, 3\)"),
        (sitk.GetImageFromArray(np.zeros((2, 3, 4, 5), np.uint8), isVector=False), r"shape \(5, 4, 3, 2\)"),
        (sitk.GetImageFromArray(np.zeros((3, 4, 5), np.complex64)), "complex"),
    ],
)
def test_what_is_no_single_grey_volume_is_refused(tmp_path, image, says):
    sitk.WriteImage(image, str(tmp_path / "x.nrrd"))
    with pytest.raises(DataError, match=rf"x\.nrrd .*{says}"):
        read_volume(tmp_path / "x.nrrd")


def test_a_missing_library_is_one_sentence(tmp_path, monkeypatch):
    path = written(tmp_path / "x.nrrd")
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(DataError, match=r"x\.nrrd is an NRRD file.*pip install \"femur-lib\[formats\]\""):
        read_volume(path)


# --- segmentations by 3D Slicer

HALF = np.zeros((7, 6, 5), np.uint8)
HALF[2:5, 1:4, 1:3] = 1


def test_a_segment_is_chosen_by_value_or_name_and_the_others_are_not_dropped_silently(tmp_path):
    both = HALF.copy()
    both[5, 5, 4] = 2
    path = write_nrrd(tmp_path / "x.seg.nrrd", both, OBLIQUE, lines=segments(("Femur", 1, 0), ("Pelvis", 2, 0)))
    for label in (1, "Femur"):
        with pytest.raises(DataError, match=r"x\.seg\.nrrd has the segments Pelvis \(2\) besides Femur \(1\)"):
            read_mask(path, label)
        np.testing.assert_array_equal(read_mask(path, label, True).array, HALF == 1)
    assert read_mask(path, "Pelvis", True).array.sum() == 1
    np.testing.assert_array_equal(read_labels(path).array, both)
    for label in (3, "Tibia"):
        with pytest.raises(DataError, match=rf"segments Femur \(1\), Pelvis \(2\); none is called {label}"):
            read_mask(path, label)
    with pytest.raises(DataError, match=r"is a segmentation \(Femur \(1\), Pelvis \(2\)\); an image was expected"):
        read_volume(path)


def test_overlapping_segments_lie_in_layers_and_are_chosen_by_name(tmp_path):
    layers = np.stack([HALF, np.roll(HALF, 1, 0)])
    path = write_nrrd(tmp_path / "x.seg.nrrd", layers, OBLIQUE, lines=segments(("Femur", 1, 0), ("Marrow", 1, 1)))
    with pytest.raises(DataError, match=r"segments Femur \(1\), Marrow \(1\); more than one with the label 1"):
        read_mask(path, ignore_other_labels=True)
    with pytest.raises(DataError, match=r"Femur \(1\), Marrow \(1\)\); one label a voxel"):
        read_labels(path)
    for k, name in enumerate(("Femur", "Marrow")):
        volume = read_mask(path, name, ignore_other_labels=True)
        np.testing.assert_array_equal(volume.array, layers[k] == 1)
        np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-5)


def test_layers_of_older_files_are_one_a_segment_and_values_without_a_name_count(tmp_path):
    lines = ["Segment0_ID:=a", "Segment1_ID:=b", "Segment1_Name:=Femur"]
    path = write_nrrd(tmp_path / "x.seg.nrrd", np.stack([HALF * 0, HALF]), OBLIQUE, lines=lines)
    np.testing.assert_array_equal(read_mask(path, "Femur").array, HALF == 1)
    with pytest.raises(DataError, match=r"no voxel in its segment a"):
        read_mask(path, "a")
    path = write_nrrd(
        tmp_path / "y.seg.nrrd", HALF * np.uint8(3) + (HALF == 0), OBLIQUE, lines=segments(("Femur", 3, 0))
    )
    with pytest.raises(DataError, match=r"the segments value 1 \(1\) besides Femur \(3\)"):
        read_mask(path, "Femur")


def test_a_name_is_of_no_use_where_labels_have_none(tmp_path):
    with pytest.raises(DataError, match="has no names for its labels; Femur was asked for"):
        read_mask(written(tmp_path / "x.mha", HALF), "Femur")


# --- labels of smaller extent


@pytest.mark.parametrize("axes", ["LIP", "RAS", "PSR"])
def test_labels_cut_to_their_extent_are_laid_onto_the_scan_in_any_axis_order(tmp_path, axes):
    whole = nib.Nifti1Image(HALF, OBLIQUE)
    cut = whole.slicer[2:5, 1:4, 1:3]
    turn = nib.orientations.ornt_transform(nib.io_orientation(OBLIQUE), nib.orientations.axcodes2ornt(axes))
    cut = cut.as_reoriented(turn)
    mask = read_mask(
        write_nrrd(tmp_path / "x.seg.nrrd", np.asarray(cut.dataobj), cut.affine, segments(("Femur", 1, 0)))
    )
    scan = Volume(RANDOM, OBLIQUE)
    np.testing.assert_array_equal(on_grid_of("x", mask, "scan", scan).array, HALF == 1)
    near = Volume(mask.array, mask.affine.copy())
    near.affine[:3, 3] += OBLIQUE[:3, 0] * 0.3
    with pytest.raises(DataError, match="x has the shape"):  # beside the scan's voxels
        on_grid_of("x", near, "scan", scan)


def test_a_larger_extent_is_cut_where_it_is_empty_and_refused_where_it_is_not():
    larger = np.pad(HALF, 2)
    affine = OBLIQUE.copy()
    affine[:3, 3] -= 2 * OBLIQUE[:3, :3].sum(1)
    scan = Volume(RANDOM, OBLIQUE)
    np.testing.assert_array_equal(on_grid_of("x", Volume(larger, affine), "scan", scan).array, HALF)
    larger[0, 4, 4] = 1
    with pytest.raises(DataError, match=r"x has the shape \(11, 10, 9\)"):
        on_grid_of("x", Volume(larger, affine), "scan", scan)
    far = Volume(HALF, OBLIQUE @ np.array(nib.affines.from_matvec(np.eye(3), [50, 0, 0])))
    with pytest.raises(DataError, match="x has an affine that differs"):
        on_grid_of("x", far, "scan", scan)
