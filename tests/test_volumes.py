"""Scans keep their place in the patient whatever their axes, and a file that cannot be used is refused by name."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from conftest import AXIS_ORDERS, affine_of, world, write_nifti

from femur_lib import volumes
from femur_lib._runtime.errors import DataError
from femur_lib.volumes import (
    Volume,
    check_same_grid,
    from_stack,
    read_labels,
    read_mask,
    read_volume,
    to_stack,
    write_volume,
)

OBLIQUE = (14, -11, 9)
RANDOM = np.random.default_rng(0).random((6, 5, 4)).astype(np.float32)


def numbered(axes: str, tilt=(0, 0, 0), shape=(3, 4, 5)) -> Volume:
    """A volume in which every voxel has a number of its own."""
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return Volume(array, affine_of(axes, (0.7, 1.1, 2.5), tilt, (12.0, -34.0, 56.0)))


def position_of_each_number(volume: Volume) -> np.ndarray:
    order = np.argsort(volume.array.ravel())
    return world(volume.affine, np.stack(np.unravel_index(order, volume.array.shape), axis=-1))


# --- axes


def test_spacing_and_axes_are_those_of_the_array():
    assert numbered("PSR", OBLIQUE).spacing_mm == pytest.approx((0.7, 1.1, 2.5))
    assert numbered("PSR", OBLIQUE).axes == ("P", "S", "R")


def test_there_are_48_axis_orders():
    assert len(set(AXIS_ORDERS)) == 48


@pytest.mark.parametrize("tilt", [(0, 0, 0), OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("axes", AXIS_ORDERS)
def test_a_stack_of_any_scan_has_fixed_axes_moves_no_voxel_and_goes_back_exactly(axes, tilt):
    volume = numbered(axes, tilt)
    stack = to_stack(volume)
    assert stack.axes == ("I", "L", "P")  # rows go down, columns to the left, slices to the back
    np.testing.assert_allclose(position_of_each_number(stack), position_of_each_number(volume), atol=1e-9)
    back = from_stack(stack.array, volume)
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_array_equal(back.affine, volume.affine)


def test_a_stack_of_another_shape_does_not_go_back():
    with pytest.raises(ValueError, match="does not belong"):
        from_stack(np.zeros((9, 9, 9)), numbered("RAS"))


# --- reading


def with_labels(tmp_path, *values):
    array = np.zeros((6, 5, 4), np.float32)
    array[0, : len(values), 0] = values
    return write_nifti(tmp_path / "labels.nii.gz", array)


def test_a_scan_is_read_on_its_own_axes(tmp_path):
    array = np.random.default_rng(0).integers(0, 900, (3, 4, 5)).astype(np.int16)
    affine = affine_of("PSR", (1, 2, 3), OBLIQUE, (5.0, 6.0, 7.0))
    volume = read_volume(write_nifti(tmp_path / "scan.nii.gz", array, affine))
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-5)


def test_a_fourth_axis_of_one_is_dropped(tmp_path):
    np.testing.assert_array_equal(read_volume(write_nifti(tmp_path / "x.nii", RANDOM[..., None])).array, RANDOM)


def test_scaled_integers_are_read_as_what_they_mean(tmp_path):
    image = nib.Nifti1Image(np.array([[[1, 2, 3]]], np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "scaled.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "scaled.nii").array, [[[10.5, 11, 11.5]]])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.nii\.gz does not exist"):
        read_volume(tmp_path / "gone.nii.gz")


@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, fraction):
    path = write_nifti(tmp_path / "image.nii.gz", RANDOM)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * fraction)])
    with pytest.raises(DataError, match=r"image\.nii\.gz .* Copy the file again"):
        read_volume(path)


def test_voxels_cut_off_after_a_whole_header_are_refused(tmp_path):
    path = write_nifti(tmp_path / "big.nii.gz", np.random.default_rng(0).random((40, 40, 40)).astype(np.float32))
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(DataError, match=r"big\.nii\.gz has damaged voxel data"):
        read_volume(path)


@pytest.mark.parametrize(
    ("name", "says"), [("text.nii.gz", "cannot be read as a NIfTI file"), ("text.mgz", "text.mgz cannot be read")]
)
def test_a_file_of_another_kind_is_refused(tmp_path, name, says):
    (tmp_path / name).write_text("not a scan")
    with pytest.raises(DataError, match=says):
        read_volume(tmp_path / name)


@pytest.mark.parametrize(
    ("offset", "value"),
    [(70, np.int16(9999)), (256, np.float32(0.99)), (42, np.int16(-3))],
    ids=["data type", "quaternion", "dimension"],
)
def test_a_damaged_header_is_refused(tmp_path, offset, value):
    image = nib.Nifti1Image(RANDOM, np.eye(4))
    image.set_sform(None, code=0)  # leaves it to the quaternion (offsets 256, 260, 264) where the voxels lie
    image.set_qform(np.eye(4), code=1)
    path = tmp_path / "scan.nii"
    nib.save(image, path)
    damaged = bytearray(path.read_bytes())
    for start in (256, 260, 264) if offset == 256 else (offset,):
        damaged[start : start + value.nbytes] = value.tobytes()
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"scan\.nii"):
        read_volume(path)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "has damaged voxel data"),
        (np.ones((4, 4, 4, 2), np.float32), r"\(4, 4, 4, 2\); one volume with three axes was expected"),
        (np.ones((4, 4), np.float32), "one volume with three axes was expected"),
        (np.where(RANDOM[1, 2, 3] == RANDOM, np.nan, RANDOM), "has 1 voxels that are NaN or infinite"),
        (np.where(RANDOM[1, 2, 3] == RANDOM, -np.inf, RANDOM), "has 1 voxels that are NaN or infinite"),
        (np.full((4, 4, 4), 7, np.int16), "the same value, 7, in every voxel"),
    ],
    ids=["colours", "a series", "a picture", "NaN", "infinity", "constant"],
)
def test_an_array_that_is_not_an_image_of_one_volume_is_refused(tmp_path, array, says):
    with pytest.raises(DataError, match=rf"scan\.nii\.gz .*{says}"):
        read_volume(write_nifti(tmp_path / "scan.nii.gz", array))


@pytest.mark.parametrize("affine", [np.diag([1.0, 1, 0, 1]), np.diag([1.0, np.nan, 1, 1])], ids=["singular", "NaN"])
def test_an_affine_that_cannot_be_inverted_is_refused(tmp_path, affine):
    image = nib.Nifti1Image(RANDOM, np.eye(4))
    image.header["sform_code"] = 1
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        image.header[name] = affine[row]
    nib.save(nib.Nifti1Image(RANDOM, None, image.header), tmp_path / "x.nii")
    with pytest.raises(DataError, match="cannot be inverted"):
        read_volume(tmp_path / "x.nii")


# --- labels and masks


def test_labels_are_small_whole_numbers_where_they_fit(tmp_path):
    labels = read_labels(with_labels(tmp_path, 1, 2, 255)).array
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 1, 2, 255}


@pytest.mark.parametrize("value", [-1, 300])
def test_labels_beyond_a_byte_are_kept(tmp_path, value):
    assert read_labels(with_labels(tmp_path, value)).array[0, 0, 0] == value


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
@pytest.mark.parametrize("ignore_other_labels", [False, True])
def test_labels_that_are_not_whole_numbers_are_refused(tmp_path, value, ignore_other_labels):
    with pytest.raises(DataError, match="not whole numbers"):
        read_mask(with_labels(tmp_path, 1, value), ignore_other_labels=ignore_other_labels)


@pytest.mark.parametrize(
    ("values", "options"),
    [((1, 0, 1), {}), ((4, 0, 4), {"label": 4}), ((1, 2, 1, 5), {"ignore_other_labels": True})],
    ids=["label 1", "another label", "others ignored"],
)
def test_a_mask_is_true_where_the_label_is(tmp_path, values, options):
    mask = read_mask(with_labels(tmp_path, *values), **options).array
    assert mask.dtype == bool
    assert np.argwhere(mask).tolist() == [[0, 0, 0], [0, 2, 0]]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((0,), "no voxel that is marked"),
        ((255,), r"the values \[0, 255\]; voxels with the value 1"),
        ((1, 2, 5), r"the values \[2, 5\] besides 0 and 1.*--ignore-other-labels"),
    ],
)
def test_a_mask_without_the_label_or_with_others_says_what_it_has(tmp_path, values, says):
    with pytest.raises(DataError, match=says):
        read_mask(with_labels(tmp_path, *values))


# --- two volumes on one grid


def test_only_volumes_of_equal_shape_and_affine_are_on_one_grid():
    volume = numbered("RAS")
    check_same_grid("a", volume, "b", numbered("RAS"))
    with pytest.raises(DataError, match=r"a has the shape \(3, 4, 5\); that of b, \(3, 4, 6\)"):
        check_same_grid("a", volume, "b", numbered("RAS", shape=(3, 4, 6)))
    moved = Volume(volume.array, volume.affine + np.diag([0, 0, 0.1, 0]))
    with pytest.raises(DataError, match=r"a has an affine that differs by up to 0\.1 mm from that of b"):
        check_same_grid("a", moved, "b", volume)


# --- writing


@pytest.mark.parametrize("axes", ["RAS", "PSR", "ILP"])
def test_what_is_written_is_read_back_here_and_by_other_programs(tmp_path, axes):
    volume = numbered(axes, OBLIQUE)
    path = write_volume(tmp_path / "x.nii.gz", volume.array, volume.affine)
    back, header = read_volume(path), nib.load(path).header
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-4)
    assert header.get_xyzt_units()[0] == "mm"
    assert header.get_zooms() == pytest.approx((0.7, 1.1, 2.5))
    np.testing.assert_allclose(header.get_qform(), volume.affine, atol=1e-3)


def test_a_mask_is_written_as_bytes_in_a_folder_that_is_made_for_it(tmp_path):
    path = write_volume(tmp_path / "new" / "deep" / "m.nii.gz", np.eye(3)[None].astype(bool), np.eye(4))
    assert nib.load(path).get_data_dtype() == np.uint8
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = write_volume(tmp_path / "x.nii.gz", np.zeros((2, 2, 2), np.float32), np.eye(4))
    before = path.read_bytes()

    def disk_full(image, file):
        file.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(volumes.nib, "save", disk_full)
    with pytest.raises(OSError, match="no space left"):
        write_volume(path, np.ones((2, 2, 2), np.float32), np.eye(4))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_no_text_of_the_source_is_carried_along(tmp_path):
    source = nib.Nifti1Image(RANDOM, np.eye(4))
    source.header["descrip"] = b"DOE^JANE 1950-01-01"
    source.header["db_name"] = b"DOE^JANE"
    source.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JANE"))
    nib.save(source, tmp_path / "DOE^JANE.nii.gz")
    volume = read_volume(tmp_path / "DOE^JANE.nii.gz")
    path = write_volume(tmp_path / "x.nii.gz", volume.array, volume.affine)
    assert b"DOE" in gzip.decompress((tmp_path / "DOE^JANE.nii.gz").read_bytes())
    assert b"DOE" not in gzip.decompress(path.read_bytes()) + path.read_bytes()
