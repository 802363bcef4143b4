"""Scans keep their place in the patient whatever their axes, and a file that cannot be used is refused by name."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from conftest import AXIS_ORDERS, RAS_2_MM, affine_of, world, write_nifti

from femur_lib._runtime.errors import DataError
from femur_lib.volumes import (
    Volume,
    by_name,
    central_slices,
    check_same_grid,
    femur_outside,
    from_stack,
    on_grid_of,
    read_labels,
    read_mask,
    read_volume,
    scan_files,
    to_stack,
    volume_cm3,
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
    image = nib.Nifti1Image(np.array([[[1, 2, 3]]], np.int16), RAS_2_MM)
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "scaled.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "scaled.nii").array, [[[10.5, 11, 11.5]]])


@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, fraction):
    path = write_nifti(tmp_path / "image.nii.gz", RANDOM)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * fraction)])
    with pytest.raises(DataError, match=r"image\.nii\.gz .* Copy the file again"):
        read_volume(path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("text.nii.gz", "is not a NIfTI file"),
        ("scan.mgz", "is not a NIfTI file, or one of another format that is read"),
        ("scan.par", "is a Philips PAR/REC file"),
        ("scan+orig.HEAD", "is an AFNI file"),
        ("scan.BRIK.gz", "is an AFNI file"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, name, says):
    (tmp_path / name).write_text("not a scan")
    with pytest.raises(DataError, match=says):
        read_volume(tmp_path / name)


def test_a_quaternion_that_is_none_is_refused(tmp_path):
    image = nib.Nifti1Image(RANDOM, np.eye(4))
    image.set_sform(None, code=0)  # leaves it to the quaternion (offsets 256, 260, 264) where the voxels lie
    image.set_qform(RAS_2_MM, code=1)
    path = tmp_path / "scan.nii"
    nib.save(image, path)
    damaged = bytearray(path.read_bytes())
    damaged[256:268] = np.full(3, 0.99, np.float32).tobytes()
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"scan\.nii has a header that cannot be read"):
        read_volume(path)


# --- where the voxels lie

LIP = affine_of("LIP", (1.25, 1.25, 3), origin=(155, 60, 40))


def with_forms(path, sform=LIP, qform=LIP, codes=(1, 1), units="mm", array=RANDOM):
    """A file whose header says its sform and its qform, with the codes given, in a unit."""
    image = nib.Nifti1Image(array, LIP)
    image.header.set_xyzt_units(units)
    image.set_sform(sform, codes[0])
    image.set_qform(qform, codes[1])
    nib.save(image, path)
    return path


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("meter", 0.001), ("micron", 1000), ("unknown", 1)])
def test_a_header_in_any_unit_is_read_and_written_in_mm(tmp_path, unit, factor):
    scale = np.diag([factor, factor, factor, 1])
    volume = read_volume(with_forms(tmp_path / "x.nii.gz", scale @ LIP, scale @ LIP, units=unit))
    np.testing.assert_allclose(volume.affine, LIP, rtol=1e-5)
    written = nib.load(write_volume(tmp_path / "y.nii.gz", volume.array, volume.affine, volume.forms))
    np.testing.assert_allclose(written.affine, LIP, rtol=1e-5)
    np.testing.assert_allclose(written.get_qform(), LIP, rtol=1e-4, atol=1e-3)
    assert written.header.get_xyzt_units()[0] == "mm"


def turned(degrees):
    return affine_of("LIP", (1.25, 1.25, 3), (0, 0, degrees), (155, 60, 40))


@pytest.mark.parametrize("codes", [(4, 1), (1, 2)])
def test_forms_that_differ_are_named_and_both_are_carried_with_their_codes(tmp_path, codes):
    path = with_forms(tmp_path / "x.nii.gz", qform=turned(25), codes=codes)
    with pytest.warns(UserWarning, match=r"x\.nii\.gz has a qform and an sform that differ"):
        volume = read_volume(path)
    np.testing.assert_allclose(volume.affine, LIP, atol=1e-5)
    scan, mask = nib.load(path), nib.load(write_volume(tmp_path / "m.nii.gz", RANDOM > 0.5, LIP, volume.forms))
    for form in ("sform", "qform"):
        (ours, our_code), (theirs, code) = (getattr(i.header, f"get_{form}")(coded=True) for i in (mask, scan))
        assert our_code == code
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("codes", [(1, 0), (0, 1)])
def test_one_form_alone_is_taken_without_a_word_and_carried(tmp_path, codes, recwarn):
    volume = read_volume(with_forms(tmp_path / "x.nii.gz", codes=codes))
    header = nib.load(write_volume(tmp_path / "m.nii.gz", RANDOM, volume.affine, volume.forms)).header
    assert (header["sform_code"], header["qform_code"]) == codes
    np.testing.assert_allclose(header.get_best_affine(), LIP, atol=1e-3)
    assert not recwarn.list


def test_a_qform_that_is_not_a_number_beside_a_good_sform_is_named_and_not_carried(tmp_path):
    path = with_forms(tmp_path / "x.nii")
    raw = bytearray(path.read_bytes())
    raw[80:84] = np.float32(np.nan).tobytes()  # pixdim[1]
    path.write_bytes(raw)
    with pytest.warns(UserWarning, match=r"x\.nii has a qform that cannot be inverted; the sform is taken"):
        volume = read_volume(path)
    header = nib.load(write_volume(tmp_path / "m.nii", RANDOM, volume.affine, volume.forms)).header
    assert (header["sform_code"], header["qform_code"]) == (1, 0)


def test_forms_within_a_tenth_of_a_voxel_are_one(tmp_path, recwarn):
    read_volume(with_forms(tmp_path / "x.nii.gz", qform=turned(0.3)))
    assert not recwarn.list


@pytest.mark.parametrize(
    ("sform", "codes", "says"), [(LIP, (0, 0), "sform and qform both have the code 0"), (np.eye(4), (2, 0), "identity")]
)
@pytest.mark.parametrize("read", [read_volume, read_mask])
def test_without_an_orientation_the_axes_must_be_said(tmp_path, read, sform, codes, says):
    path = with_forms(tmp_path / "x.nii.gz", sform, sform, codes, array=(RANDOM > 0.5).astype(np.uint8))
    with pytest.raises(DataError, match=rf"x\.nii\.gz has .*{says}.* --axes"):
        read(path)
    with pytest.warns(UserWarning, match="axes PSR as you say"):
        volume = read(path, axes="PSR")
    assert volume.axes == ("P", "S", "R")
    size = 1.25 * 1.25 * 3 if codes == (0, 0) else 1  # what pixdim says is all that is known
    assert abs(np.linalg.det(volume.affine)) == pytest.approx(size)
    np.testing.assert_allclose(world(volume.affine, (np.array([[6, 5, 4]]) - 1) / 2), 0, atol=1e-6)


def test_axes_that_are_known_are_not_overruled(tmp_path):
    assert read_volume(with_forms(tmp_path / "x.nii"), axes="RAS").axes == ("L", "I", "P")


@pytest.mark.parametrize("axes", ["LIS", "LI", "LIPS", "lip", "LRP"])
def test_axes_are_one_of_each_pair_of_letters(tmp_path, axes):
    with pytest.raises(DataError, match="three axes"):
        read_volume(with_forms(tmp_path / "x.nii", codes=(0, 0)), axes=axes)


SHEARED = LIP @ np.array([[1, 0, 0, 0], [0, 1, 0.65, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def test_a_shear_changes_no_volume_and_is_written_in_an_sform_alone(tmp_path):
    volume = read_volume(with_forms(tmp_path / "x.nii.gz", SHEARED, codes=(1, 0)))
    assert volume_cm3(volume) == pytest.approx(RANDOM.size * 1.25 * 1.25 * 3 / 1000)
    np.testing.assert_allclose(volume.steps_mm, SHEARED[:3, :3], atol=1e-6)
    header = nib.load(write_volume(tmp_path / "y.nii.gz", RANDOM, volume.affine)).header
    assert header["qform_code"] == 0
    np.testing.assert_allclose(header.get_sform(), SHEARED, atol=1e-4)


# --- what a file truly is


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "X.NII.GZ"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_file_is_read_by_what_it_holds_not_by_its_name(tmp_path, name, packed):
    raw = nib.Nifti1Image(RANDOM, LIP).to_bytes()
    (tmp_path / name).write_bytes(gzip.compress(raw) if packed else raw)
    np.testing.assert_array_equal(read_volume(tmp_path / name).array, RANDOM)


@pytest.mark.parametrize(
    ("begins", "says"),
    [
        (bytes(128) + b"DICM", "holds no MR volume"),
        (b"\x89PNG\r\n", "is a picture"),
        (b"PK\3\4", "is an archive"),
        (b"", "is empty"),
        ((348).to_bytes(4, "little") + bytes(400), "is an Analyze header"),
    ],
)
def test_a_file_of_another_format_is_called_by_its_name_whatever_its_ending(tmp_path, begins, says):
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(begins + bytes(500) * bool(begins))
    with pytest.raises(DataError, match=rf"scan\.nii\.gz {says}"):
        read_volume(path)


@pytest.mark.parametrize("packed", [True, False])
def test_what_follows_the_end_is_named_unless_it_is_padding(tmp_path, packed):
    raw, path = nib.Nifti1Image(RANDOM, LIP).to_bytes(), tmp_path / "x.nii"
    path.write_bytes((gzip.compress(raw) if packed else raw) + bytes(512))
    np.testing.assert_array_equal(read_volume(path).array, RANDOM)
    path.write_bytes((gzip.compress(raw) if packed else raw) + b"more")
    with pytest.raises(DataError, match=r"x\.nii goes on for 4 bytes"):
        read_volume(path)


@pytest.mark.parametrize("value", [-32768, -2000, 30000])
def test_padding_far_from_all_other_values_is_named(tmp_path, value):
    array = (RANDOM * 900).astype(np.int16)
    array[0] = value
    with pytest.warns(UserWarning, match=f"x.nii has 20 voxels of {value}"):
        read_volume(write_nifti(tmp_path / "x.nii", array))


def test_files_are_listed_by_name_without_hidden_ones_and_no_name_twice(tmp_path):
    for name in ("b.nii", "A.NII.GZ", "._b.nii", "notes.txt", "c.nii.gz"):
        (tmp_path / name).touch()
    assert list(by_name(scan_files(tmp_path))) == ["A", "b", "c"]
    (tmp_path / "b.nii.gz").touch()
    with pytest.raises(DataError, match=r"b\.nii\.gz and .*b\.nii share a name"):
        by_name(scan_files(tmp_path))


@pytest.mark.parametrize(("slices", "outside"), [(8, 0), (6, 12), (4, 24)])
def test_femur_outside_the_central_slices_is_counted(slices, outside):
    assert femur_outside(np.ones((2, 3, 8), bool), slices) == outside
    assert central_slices(8, slices) == slice((8 - slices) // 2, (8 + slices) // 2)


# --- labels and masks


def test_labels_are_small_whole_numbers_where_they_fit(tmp_path):
    labels = read_labels(with_labels(tmp_path, 1, 2, 255)).array
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 1, 2, 255}


@pytest.mark.parametrize("value", [-1, 300])
def test_labels_beyond_a_byte_are_kept(tmp_path, value):
    assert read_labels(with_labels(tmp_path, value)).array[0, 0, 0] == value


def test_labels_that_an_interpolation_left_almost_whole_are_taken_for_whole(tmp_path):
    assert read_labels(with_labels(tmp_path, 0.9999, 2.0009)).array[0, :2, 0].tolist() == [1, 2]


@pytest.mark.parametrize("value", [0.5, 0.998, np.nan, np.inf])
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
    with pytest.raises(DataError, match=r"a has an affine that differs from that of b.* 0\.4 mm"):
        check_same_grid("a", moved, "b", volume)


@pytest.mark.parametrize("origin", [(0, 0, 0), (-240.0391, 12.5, -1174.1)], ids=["near", "far from the origin"])
@pytest.mark.parametrize(("shift_mm", "same"), [(0.02, True), (0.04, False), (0.9, False)])
def test_grids_are_the_same_to_a_twentieth_of_a_voxel_wherever_the_origin_is(origin, shift_mm, same):
    volume = Volume(RANDOM, affine_of("LIP", (0.7, 1.1, 2.5), OBLIQUE, origin))
    moved = Volume(RANDOM, volume.affine.copy())
    moved.affine[:3, 3] += volume.affine[:3, 0] / 0.7 * shift_mm  # along the axis whose voxels are 0.7 mm
    if same:
        check_same_grid("a", moved, "b", volume)
        return
    with pytest.raises(DataError, match=f"up to {shift_mm} mm"):
        check_same_grid("a", moved, "b", volume)


@pytest.mark.parametrize("axes", AXIS_ORDERS[::5])
def test_a_mask_of_the_same_world_in_another_axis_order_is_turned(axes):
    image = numbered("LIP", OBLIQUE)
    other = nib.Nifti1Image(image.array, image.affine).as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(axes)))
    )
    turned = on_grid_of("a", Volume(np.asarray(other.dataobj), other.affine), "b", image)
    np.testing.assert_array_equal(turned.array, image.array)
    np.testing.assert_array_equal(turned.affine, image.affine)


def test_a_mirrored_mask_in_the_same_place_is_not_turned_into_a_fitting_one():
    image = numbered("LIP")
    mirrored = Volume(image.array, np.diag([-1.0, 1, 1, 1]) @ image.affine)
    with pytest.raises(DataError, match="a has an affine that differs"):
        on_grid_of("a", mirrored, "b", image)


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

    monkeypatch.setattr(nib, "save", disk_full)
    with pytest.raises(OSError, match="no space left"):
        write_volume(path, np.ones((2, 2, 2), np.float32), np.eye(4))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
