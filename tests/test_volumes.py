import gzip

import nibabel as nib
import numpy as np
import pytest
from conftest import AXIS_ORDERS, affine_of, centre_of, world, write_nifti

from femur_lib import volumes
from femur_lib.errors import DataError
from femur_lib.volumes import (
    Grid,
    Volume,
    central_slices,
    check_same_grid,
    from_grid,
    from_stack,
    mask_to_grid,
    min_max,
    read_labels,
    read_mask,
    read_volume,
    resample_in_plane,
    to_grid,
    to_stack,
    write_volume,
    z_score,
)

OBLIQUE = (14, -11, 9)


def numbered(axes: str, tilt=(0, 0, 0), shape=(3, 4, 5)) -> Volume:
    """Every voxel has a number of its own."""
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return Volume(array, affine_of(axes, (0.7, 1.1, 2.5), tilt, (12.0, -34.0, 56.0)))


def position_of_each_number(volume: Volume) -> np.ndarray:
    order = np.argsort(volume.array.ravel())
    index = np.stack(np.unravel_index(order, volume.array.shape), axis=-1)
    return world(volume.affine, index)


# --- a volume


def test_spacing_is_that_of_the_array_axes():
    assert numbered("PSR", OBLIQUE).spacing_mm == pytest.approx((0.7, 1.1, 2.5))


def test_axes_are_named_by_where_they_point():
    assert numbered("PSR").axes == ("P", "S", "R")


# --- stacks


def test_axis_orders_are_48():
    assert len(set(AXIS_ORDERS)) == 48


@pytest.mark.parametrize("tilt", [(0, 0, 0), OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("axes", AXIS_ORDERS)
def test_stack_and_back_is_exact_for_all_48_axis_orders(axes, tilt):
    volume = numbered(axes, tilt)
    back = from_stack(to_stack(volume).array, volume)
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_array_equal(back.affine, volume.affine)


@pytest.mark.parametrize("tilt", [(0, 0, 0), OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("axes", AXIS_ORDERS)
def test_every_voxel_of_a_stack_stays_where_it_was_in_the_patient(axes, tilt):
    volume = numbered(axes, tilt)
    np.testing.assert_allclose(position_of_each_number(to_stack(volume)), position_of_each_number(volume), atol=1e-9)


@pytest.mark.parametrize("axes", AXIS_ORDERS)
def test_rows_go_down_columns_to_the_left_slices_to_the_back(axes):
    assert to_stack(numbered(axes, OBLIQUE)).axes == ("I", "L", "P")


def test_a_stack_that_is_one_already_is_left_alone():
    volume = numbered("ILP")
    np.testing.assert_array_equal(to_stack(volume).array, volume.array)


def test_a_stack_of_another_shape_does_not_go_back():
    volume = numbered("RAS")
    with pytest.raises(ValueError, match="does not belong"):
        from_stack(np.zeros((9, 9, 9)), volume)


# --- central slices


@pytest.mark.parametrize(
    ("available", "wanted", "expected"),
    [
        (60, 48, slice(6, 54)),
        (48, 48, slice(0, 48)),
        (20, 48, slice(0, 20)),
        (7, 4, slice(1, 5)),
        (8, 3, slice(2, 5)),
    ],
)
def test_central_slices(available, wanted, expected):
    assert central_slices(available, wanted) == expected


# --- resampling


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("columns", [12, 15, 24, 36, 48])
def test_resampling_keeps_the_extent_so_a_ramp_over_it_stays_a_ramp(columns, order):
    def ramp(n):  # 0 at the image's left edge, 1 at its right edge, as seen by the centre of each pixel
        return np.broadcast_to(((np.arange(n) + 0.5) / n)[None, :, None], (20, n, 2)).astype(np.float32)

    new = resample_in_plane(ramp(24), 20, columns, order)
    inside = slice(columns // 4, -(columns // 4))  # away from the edges, where a spline has to guess
    np.testing.assert_allclose(new[:, inside], ramp(columns)[:, inside], atol=2e-3 if order == 3 else 1e-6)


def test_rows_are_resampled_as_columns_are():
    stack = np.random.default_rng(0).random((12, 18, 2)).astype(np.float32)
    turned = resample_in_plane(stack.transpose(1, 0, 2), 9, 24).transpose(1, 0, 2)
    np.testing.assert_allclose(resample_in_plane(stack, 24, 9), turned, atol=1e-5)


def test_half_the_size_is_the_mean_of_four_pixels():
    stack = np.random.default_rng(0).random((8, 12, 3)).astype(np.float32)
    mean_of_four = stack.reshape(4, 2, 6, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resample_in_plane(stack, 4, 6, order=1), mean_of_four, atol=1e-6)


def test_twice_the_size_by_nearest_neighbour_repeats_each_pixel():
    stack = np.random.default_rng(0).random((3, 4, 2)).astype(np.float32)
    np.testing.assert_array_equal(resample_in_plane(stack, 6, 8, order=0), stack.repeat(2, 0).repeat(2, 1))


def test_slices_are_resampled_each_for_itself():
    stack = np.zeros((8, 8, 3), np.float32)
    stack[..., 1] = 5
    np.testing.assert_allclose(resample_in_plane(stack, 12, 6)[0, 0], [0, 5, 0], atol=1e-5)


# --- z-score and the network's grid


def test_z_score_has_mean_0_and_standard_deviation_1():
    scored = z_score(np.random.default_rng(0).normal(300, 70, (9, 8, 7)))
    assert scored.dtype == np.float32
    assert (scored.mean(), scored.std()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-5))


def test_min_max_by_hand():
    np.testing.assert_allclose(min_max(np.array([1, 2, 5])), [0, 0.25, 1])


def test_the_grid_says_which_grey_scale_a_network_sees():
    stack = np.random.default_rng(0).normal(300, 70, (9, 8, 7))
    seen = {how: to_grid(stack, Grid(9, 8, 7, how)) for how in ("z-score", "min-max")}
    np.testing.assert_allclose(seen["z-score"], z_score(stack), atol=1e-5)
    assert (seen["min-max"].min(), seen["min-max"].max()) == (0, 1)


def test_z_score_by_hand():
    np.testing.assert_allclose(z_score(np.array([1, 3])), [-1, 1])


def test_to_grid_takes_central_slices_then_scores_what_is_left():
    stack = np.random.default_rng(0).random((4, 5, 7)).astype(np.float32)
    stack[..., [0, 6]] = 1000  # slices that the grid leaves out must not count in the z-score
    np.testing.assert_allclose(to_grid(stack, Grid(4, 5, 5)), z_score(stack[..., 1:6]), atol=1e-5)


def test_to_grid_and_mask_to_grid_give_one_shape():
    stack = np.random.default_rng(0).random((20, 30, 9)).astype(np.float32)
    grid = Grid(12, 16, 6)
    assert to_grid(stack, grid).shape == mask_to_grid(stack > 0.5, grid).shape == (12, 16, 6)


def test_to_grid_never_invents_slices():
    assert to_grid(np.random.default_rng(0).random((8, 8, 3)), Grid(8, 8, 6)).shape == (8, 8, 3)


def test_mask_to_grid_is_0_and_1_in_uint8():
    mask = mask_to_grid(np.random.default_rng(0).random((20, 20, 2)) > 0.5, Grid(13, 17, 2))
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}


def test_mask_to_grid_halves_a_mask_of_whole_blocks_exactly():
    small = np.random.default_rng(0).random((6, 7, 3)) > 0.5
    blocks = small.repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(mask_to_grid(blocks, Grid(6, 7, 3)), small)


def test_mask_to_grid_takes_the_same_slices_as_to_grid():
    stack = np.zeros((4, 4, 7), bool)
    stack[..., 2] = True
    np.testing.assert_array_equal(mask_to_grid(stack, Grid(4, 4, 4))[0, 0], [0, 1, 0, 0])


def test_mask_to_grid_keeps_place_and_size():
    rows, columns = np.indices((60, 60))
    disc = ((rows - 22) ** 2 + (columns - 35) ** 2 < 15**2)[..., None]
    small = mask_to_grid(disc, Grid(37, 50, 1))  # factors at which no voxel is cut exactly in half
    assert small.mean() == pytest.approx(disc.mean(), rel=0.03)
    row, column, _ = np.argwhere(small).mean(0)
    assert ((row + 0.5) / 37, (column + 0.5) / 50) == pytest.approx((22.5 / 60, 35.5 / 60), abs=0.003)


@pytest.mark.parametrize("size", [(37, 50), (45, 50), (48, 55)])
def test_mask_to_grid_follows_a_curve_better_than_nearest_neighbour(size):
    def ellipse(rows, columns):
        y, x = (np.arange(rows)[:, None] + 0.5) / rows, (np.arange(columns) + 0.5) / columns
        return ((((y - 0.37) / 0.25) ** 2 + ((x - 0.59) / 0.22) ** 2) < 1)[..., None]

    fine, wanted = ellipse(60, 60), ellipse(*size)
    nearest = resample_in_plane(fine.astype(np.float32), *size, order=0) > 0.5
    assert (mask_to_grid(fine, Grid(*size, 1)) != wanted).sum() < (nearest != wanted).sum()


def test_from_grid_gives_slices_that_were_not_seen_probability_0():
    p = from_grid(np.ones((4, 4, 3), np.float32), (8, 8, 7))
    np.testing.assert_array_equal(p[0, 0], [0, 0, 1, 1, 1, 0, 0])


def test_from_grid_puts_slices_back_where_to_grid_took_them_from():
    stack = np.random.default_rng(0).random((4, 4, 8)).astype(np.float32)
    seen = stack[..., central_slices(8, 5)]
    back = from_grid(seen, stack.shape)
    np.testing.assert_array_equal(back[..., 1:6], stack[..., 1:6])


def test_from_grid_stays_a_probability():
    p = from_grid((np.random.default_rng(0).random((6, 5, 2)) > 0.5).astype(np.float32), (17, 13, 2))
    assert p.dtype == np.float32
    assert p.min() >= 0
    assert p.max() <= 1


def test_a_mask_goes_to_the_grid_and_back():
    rows, columns = np.indices((48, 48))
    disc = ((rows - 20) ** 2 + (columns - 26) ** 2 < 12**2)[..., None].repeat(5, 2)
    back = from_grid(mask_to_grid(disc, Grid(31, 35, 5)).astype(np.float32), disc.shape) > 0.5
    assert 2 * (back & disc).sum() / (back.sum() + disc.sum()) > 0.97
    np.testing.assert_allclose(centre_of(Volume(back, np.eye(4))), centre_of(Volume(disc, np.eye(4))), atol=0.2)


# --- reading


@pytest.fixture
def image(tmp_path):
    return write_nifti(tmp_path / "image.nii.gz", np.random.default_rng(0).random((6, 5, 4)).astype(np.float32))


def image_with(tmp_path, value):
    array = np.random.default_rng(0).random((6, 5, 4)).astype(np.float32)
    array[1, 2, 3] = value
    return write_nifti(tmp_path / "image.nii.gz", array)


def labels_with(tmp_path, *values):
    array = np.zeros((6, 5, 4), np.float32)
    array[0, : len(values), 0] = values
    return write_nifti(tmp_path / "labels.nii.gz", array)


def test_a_scan_is_read_on_its_own_axes(tmp_path):
    array = np.random.default_rng(0).integers(0, 900, (3, 4, 5)).astype(np.int16)
    affine = affine_of("PSR", (1, 2, 3), OBLIQUE, (5.0, 6.0, 7.0))
    volume = read_volume(write_nifti(tmp_path / "scan.nii.gz", array, affine))
    assert volume.array.dtype == np.float32
    assert volume.axes == ("P", "S", "R")
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-5)


def test_a_fourth_axis_of_one_is_dropped(tmp_path):
    array = np.random.default_rng(0).random((3, 4, 5, 1)).astype(np.float32)
    np.testing.assert_array_equal(read_volume(write_nifti(tmp_path / "x.nii", array)).array, array[..., 0])


def test_scaled_integers_are_read_as_what_they_mean(tmp_path):
    image = nib.Nifti1Image(np.array([[[1, 2, 3]]], np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "scaled.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "scaled.nii").array, [[[10.5, 11, 11.5]]])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.nii\.gz: found no such file"):
        read_volume(tmp_path / "gone.nii.gz")


@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_file_is_refused(image, fraction):
    whole = image.read_bytes()
    image.write_bytes(whole[: int(len(whole) * fraction)])
    with pytest.raises(DataError, match="Copy it again"):
        read_volume(image)


def test_voxels_cut_off_after_a_whole_header_are_refused(tmp_path):
    array = np.random.default_rng(0).random((40, 40, 40)).astype(np.float32)
    path = write_nifti(tmp_path / "big.nii.gz", array)
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(DataError, match="damaged voxel data"):
        read_volume(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "text.nii.gz").write_text("not a scan")
    with pytest.raises(DataError, match="cannot be read"):
        read_volume(tmp_path / "text.nii.gz")


@pytest.mark.parametrize(
    ("offset", "value"),
    [(70, np.int16(9999)), (256, np.float32(0.99)), (42, np.int16(-3))],
    ids=["data type", "quaternion", "dimension"],
)
def test_a_damaged_header_is_refused(tmp_path, offset, value):
    image = nib.Nifti1Image(np.random.default_rng(0).random((6, 5, 4)).astype(np.float32), np.eye(4))
    image.set_sform(None, code=0)  # leaves the quaternion (offsets 256, 260, 264) to say where the voxels lie
    image.set_qform(np.eye(4), code=1)
    path = tmp_path / "scan.nii"
    nib.save(image, path)
    damaged = bytearray(path.read_bytes())
    for start in (256, 260, 264) if offset == 256 else (offset,):
        damaged[start : start + value.nbytes] = value.tobytes()
    path.write_bytes(damaged)
    with pytest.raises(DataError):
        read_volume(path)


def test_a_colour_image_is_refused(tmp_path):
    array = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(DataError):
        read_volume(write_nifti(tmp_path / "colour.nii.gz", array))


@pytest.mark.parametrize("shape", [(4, 4, 4, 2), (4, 4)])
def test_what_is_not_one_volume_is_refused(tmp_path, shape):
    path = write_nifti(tmp_path / "series.nii.gz", np.random.default_rng(0).random(shape).astype(np.float32))
    with pytest.raises(DataError, match="three axes, one volume"):
        read_volume(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused_and_counted(tmp_path, value):
    with pytest.raises(DataError, match="1 voxels that are NaN or infinite"):
        read_volume(image_with(tmp_path, value))


def test_a_constant_image_is_refused(tmp_path):
    with pytest.raises(DataError, match="the same value, 7,"):
        read_volume(write_nifti(tmp_path / "flat.nii.gz", np.full((4, 4, 4), 7, np.int16)))


@pytest.mark.parametrize("affine", [np.diag([1.0, 1, 0, 1]), np.diag([1.0, np.nan, 1, 1])], ids=["singular", "NaN"])
def test_an_affine_that_is_not_invertible_is_refused(tmp_path, affine):
    image = nib.Nifti1Image(np.random.default_rng(0).random((4, 4, 4)).astype(np.float32), np.eye(4))
    image.header["sform_code"] = 1
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        image.header[name] = affine[row]
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), tmp_path / "x.nii")
    with pytest.raises(DataError, match="not invertible"):
        read_volume(tmp_path / "x.nii")


# --- labels and masks


def test_labels_are_small_whole_numbers(tmp_path):
    labels = read_labels(labels_with(tmp_path, 1, 2, 255)).array
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 1, 2, 255}


@pytest.mark.parametrize("value", [-1, 300])
def test_labels_beyond_a_byte_are_kept(tmp_path, value):
    assert read_labels(labels_with(tmp_path, value)).array[0, 0, 0] == value


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
@pytest.mark.parametrize("ignore_other_labels", [False, True])
def test_labels_that_are_not_whole_numbers_are_refused(tmp_path, value, ignore_other_labels):
    with pytest.raises(DataError, match="not whole numbers"):
        read_mask(labels_with(tmp_path, 1, value), ignore_other_labels=ignore_other_labels)


def test_a_mask_is_true_where_the_label_is(tmp_path):
    mask = read_mask(labels_with(tmp_path, 1, 0, 1)).array
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask[0, :, 0], [True, False, True, False, False])
    assert mask.sum() == 2


def test_another_label_can_be_the_femur(tmp_path):
    assert read_mask(labels_with(tmp_path, 4, 4), label=4).array.sum() == 2


def test_an_empty_mask_is_refused(tmp_path):
    with pytest.raises(DataError, match="an empty mask"):
        read_mask(labels_with(tmp_path, 0))


def test_a_mask_without_the_label_says_what_it_has(tmp_path):
    with pytest.raises(DataError, match=r"the values \[0, 255\].*the value 1"):
        read_mask(labels_with(tmp_path, 255))


def test_other_labels_are_refused_by_default(tmp_path):
    with pytest.raises(DataError, match=r"the values \[2, 5\] besides 0 and 1.*--ignore-other-labels"):
        read_mask(labels_with(tmp_path, 1, 2, 5))


def test_other_labels_are_background_where_asked(tmp_path):
    mask = read_mask(labels_with(tmp_path, 1, 2, 5), ignore_other_labels=True).array
    np.testing.assert_array_equal(mask[0, :3, 0], [True, False, False])


# --- two volumes on one grid


def test_equal_grids_pass():
    check_same_grid("a", numbered("RAS"), "b", numbered("RAS"))


def test_other_shapes_do_not_pass():
    with pytest.raises(DataError, match=r"shape \(3, 4, 5\).*\(3, 4, 6\)"):
        check_same_grid("a", numbered("RAS"), "b", numbered("RAS", shape=(3, 4, 6)))


def test_other_affines_do_not_pass():
    moved = Volume(numbered("RAS").array, numbered("RAS").affine + np.diag([0, 0, 0.1, 0]))
    with pytest.raises(DataError, match=r"a: found an affine that differs by up to 0\.1 mm"):
        check_same_grid("a", moved, "b", numbered("RAS"))


# --- writing


@pytest.mark.parametrize("axes", ["RAS", "PSR", "ILP"])
def test_what_is_written_is_read_back(tmp_path, axes):
    volume = numbered(axes, OBLIQUE)
    back = read_volume(write_volume(tmp_path / "x.nii.gz", volume.array, volume.affine))
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-4)


def test_spacing_and_unit_are_written_for_other_programs(tmp_path):
    volume = numbered("PSR", OBLIQUE)
    header = nib.load(write_volume(tmp_path / "x.nii.gz", volume.array, volume.affine)).header
    assert header.get_xyzt_units()[0] == "mm"
    assert header.get_zooms() == pytest.approx((0.7, 1.1, 2.5))
    np.testing.assert_allclose(header.get_qform(), volume.affine, atol=1e-3)
    np.testing.assert_allclose(header.get_sform(), volume.affine, atol=1e-4)


def test_a_mask_is_written_as_bytes(tmp_path):
    path = write_volume(tmp_path / "m.nii.gz", np.eye(3)[None].astype(bool), np.eye(4))
    assert nib.load(path).get_data_dtype() == np.uint8


def test_writing_makes_the_folder_and_leaves_one_file_in_it(tmp_path):
    path = write_volume(tmp_path / "new" / "deep" / "x.nii.gz", np.zeros((2, 2, 2), np.float32), np.eye(4))
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
    source = nib.Nifti1Image(np.random.default_rng(0).random((4, 4, 4)).astype(np.float32), np.eye(4))
    source.header["descrip"] = b"DOE^JANE 1950-01-01"
    source.header["db_name"] = b"DOE^JANE"
    source.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JANE"))
    nib.save(source, tmp_path / "DOE^JANE.nii.gz")
    volume = read_volume(tmp_path / "DOE^JANE.nii.gz")
    path = write_volume(tmp_path / "x.nii.gz", volume.array, volume.affine)
    assert b"DOE" in gzip.decompress((tmp_path / "DOE^JANE.nii.gz").read_bytes())
    assert b"DOE" not in gzip.decompress(path.read_bytes()) + path.read_bytes()
