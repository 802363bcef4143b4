"""A whole pelvis without labels: where the hips are, which side is which, and what is written for them."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from conftest import AXIS_ORDERS, affine_of, world, write_nifti
from scipy import ndimage

from femur_lib._runtime.errors import DataError
from femur_lib.architecture import Architecture
from femur_lib.evaluation import predict_files, scans_of_files
from femur_lib.inference import Segmenter
from femur_lib.lab.pelvis import LOOKS, box_around, check_fits_pelvis, predict_pelves, segment_pelvis
from femur_lib.preprocessing import Grid
from femur_lib.volumes import Volume

SPACING = 6.0, 5.0, 10.0  # mm of rows, columns and slices of a stack
MARROW = 900.0


class Bright:
    """Stands in for a network: femur is what is much brighter than the scan's mean."""

    def predict_on_batch(self, batch):
        femur = (batch[..., 0] > 1.5).astype(np.float32)
        return np.stack([1 - femur, femur], axis=-1)


# Trained on hips of 174 x 130 mm.
BRIGHT = Segmenter(Bright(), Architecture(3, 2, 1), Grid(29, 26, 6), grid_spacing_mm=SPACING)


def pelvis(axes: str = "ILP", off_mm: float = 0.0, tilt=(0.0, 0.0, 0.0), right: bool = True) -> tuple[Volume, Volume]:
    """A body 350 mm wide in noise, and its labels: the patient's right femur (1) is longer than the left one (2).

    Femora are upright posts about 100 mm beside the body's middle, which lies ``off_mm`` to the left of the scan's.
    They begin 200 and 220 mm below the scan's top, and end with the scan, at 350 mm.
    """
    stack_affine = affine_of("ILP", SPACING, tilt)
    shape = 58, 76, 6
    down, left, _ = np.indices(shape) * np.reshape(SPACING, (3, 1, 1, 1))
    left = left - 190 - off_mm
    labels = np.zeros(shape, np.uint8)
    labels[(abs(left + 100) < 20) & (down > 200)] = right
    labels[(abs(left - 100) < 20) & (down > 220)] = 2
    body = 200.0 * (abs(left) < 170) + 150 * ((abs(left) < 20) | (abs(left) > 150) & (abs(left) < 170))  # spine, fat
    image = body + np.random.default_rng(0).normal(0, 5, shape) + (MARROW - body) * (labels > 0)
    scan, truth = Volume(image.astype(np.float32), stack_affine), Volume(labels, stack_affine)
    return turned(scan, axes), turned(truth, axes)


def turned(volume: Volume, axes: str) -> Volume:
    """The same in the patient, with array axes that point to the given letters; by nibabel alone."""
    image = nib.Nifti1Image(volume.array, volume.affine)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(volume.affine), nib.orientations.axcodes2ornt(tuple(axes))
    )
    image = image.as_reoriented(turn)
    return Volume(np.asarray(image.dataobj), image.affine)


def written(out, name: str) -> np.ndarray:
    return np.asarray(nib.load(out / name).dataobj)


# --- both hips of a scan


@pytest.mark.parametrize("axes", ["ILP", "LIP", "RAS", "PRS", "SAR"])
def test_labels_are_the_patients_sides_on_the_scans_own_grid_whatever_its_axes(tmp_path, axes):
    scan, truth = pelvis(axes, tilt=(4, -3, 5))
    path = write_nifti(tmp_path / "p.nii.gz", scan.array, scan.affine)
    (file,) = predict_pelves(BRIGHT, scans_of_files([path]), tmp_path / "out")
    assert file == tmp_path / "out" / "p_labels.nii.gz"
    np.testing.assert_array_equal(written(tmp_path / "out", file.name), truth.array)
    right = world(scan.affine, np.argwhere(written(tmp_path / "out", file.name) == 1))[:, 0].mean()
    left = world(scan.affine, np.argwhere(written(tmp_path / "out", file.name) == 2))[:, 0].mean()
    assert right > left  # x grows to the patient's right
    for label, side in ((1, "right"), (2, "left")):
        np.testing.assert_array_equal(written(tmp_path / "out", f"p_{side}_mask.nii.gz"), truth.array == label)
        assert written(tmp_path / "out", f"p_{side}_probability.nii.gz")[truth.array == label].min() > 0.5
    for each in (tmp_path / "out").glob("*.nii.gz"):
        np.testing.assert_allclose(nib.load(each).affine, scan.affine, atol=1e-4)
    assert (tmp_path / "out" / "p_overlay.png").stat().st_size > 1000
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_every_axis_order_gives_the_same_sides():
    for axes in AXIS_ORDERS:
        scan, truth = pelvis(axes)
        (_, right), (_, left) = segment_pelvis(threshold_at_half_marrow, scan, (174.0, 130.0), 0.5)
        np.testing.assert_array_equal(right.array + 2 * left.array, truth.array)


def threshold_at_half_marrow(hip: Volume) -> Volume:
    return Volume((hip.array > MARROW / 2).astype(np.float32), hip.affine)


@pytest.mark.parametrize("off_mm", [-45.0, 0.0, 45.0])
def test_a_body_off_the_scans_middle_is_divided_at_its_own(off_mm):
    scan, truth = pelvis(off_mm=off_mm)
    (_, right), (_, left) = segment_pelvis(threshold_at_half_marrow, scan, (174.0, 130.0), 0.5)
    np.testing.assert_array_equal(right.array + 2 * left.array, truth.array)


def test_the_box_follows_the_femur_until_it_lies_as_in_training():
    for below in (0, 20):  # rows of thigh, so that the first look sees only shafts
        scan, truth = pelvis()
        scan, truth = (np.pad(v.array, ((0, below), (0, 0), (0, 0)), mode="edge") for v in (scan, truth))
        seen = []

        def look(hip: Volume, seen=seen) -> Volume:
            seen.append(hip)
            return threshold_at_half_marrow(hip)

        found = segment_pelvis(look, Volume(scan, affine_of("ILP", SPACING)), (174.0, 130.0), 0.5)
        for label, (_, mask) in enumerate(found, 1):
            rows = np.flatnonzero((truth == label).any((1, 2)))
            np.testing.assert_array_equal(mask.array[: rows[0] + 23], (truth == label)[: rows[0] + 23])
        assert len(seen) <= 2 * LOOKS


def test_a_side_without_a_femur_is_empty_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr("femur_lib.lab.pelvis.predict_average", lambda segmenter, hip: threshold_at_half_marrow(hip))
    scan, truth = pelvis(right=False)
    path = write_nifti(tmp_path / "p.nii.gz", scan.array, scan.affine)
    with pytest.warns(UserWarning, match=r"p\.nii\.gz: no femur was found on the right side"):
        predict_pelves(BRIGHT, scans_of_files([path]), tmp_path / "out")
    np.testing.assert_array_equal(written(tmp_path / "out", "p_labels.nii.gz"), truth.array)
    assert not written(tmp_path / "out", "p_right_mask.nii.gz").any()


@pytest.mark.parametrize("surer", ["right", "left"])
def test_a_voxel_that_both_sides_claim_goes_to_the_higher_probability(surer):
    scan, _ = pelvis()
    middle = world(scan.affine, np.array([[0, 38, 0]]))[0, 0]

    def greedy(hip: Volume) -> Volume:  # everything is femur
        side = "right" if world(hip.affine, np.array([[0, hip.array.shape[1] / 2, 0]]))[0, 0] > middle else "left"
        return Volume(np.full(hip.array.shape, 0.9 if side == surer else 0.6, np.float32), hip.affine)

    (p, right), (q, left) = segment_pelvis(greedy, scan, (174.0, 300.0), 0.5)
    both = (p.array > 0.5) & (q.array > 0.5)
    assert both.any()
    assert right.array[both].all() == (surer == "right")
    np.testing.assert_array_equal(left.array[both], ~right.array[both])
    np.testing.assert_array_equal(left.array | right.array, (p.array > 0.5) | (q.array > 0.5))


# --- the box


@pytest.mark.parametrize(
    ("rows", "columns", "box"),
    [
        (slice(30, 90), slice(40, 60), (slice(27, 57), slice(40, 60))),
        (slice(2, 90), slice(0, 4), (slice(0, 30), slice(0, 20))),
        (slice(95, 100), slice(90, 100), (slice(70, 100), slice(80, 100))),
    ],
    ids=["free", "at the upper right corner", "at the lower left corner"],
)
def test_a_box_has_the_femur_in_its_middle_columns_and_stays_inside_the_scan(rows, columns, box):
    femur = np.zeros((100, 100, 2), bool)
    femur[rows, columns] = True
    assert box_around(femur, (30, 20)) == box


# --- what is refused, and in which words


def test_a_single_hip_is_not_taken_for_a_pelvis():
    hip = Volume(np.zeros((29, 30, 6), np.float32), affine_of("ILP", SPACING))
    with pytest.raises(
        DataError, match=r"hip\.nii is 150 mm wide; a scan of both hips was expected.* leave out --pelv"
    ):
        check_fits_pelvis(BRIGHT, "hip.nii", hip)


def test_a_pelvis_is_refused_without_the_option_and_the_advice_names_it(tmp_path):
    scan, _ = pelvis()
    path = write_nifti(tmp_path / "p.nii.gz", scan.array, scan.affine)
    with pytest.raises(DataError, match=r"wider than one hip.* pass --pelvis") as refused:
        predict_files(BRIGHT, scans_of_files([path]), tmp_path / "out")
    assert "--resample" not in str(refused.value)


@pytest.mark.parametrize("thinner", [5, 0.5])
def test_slices_of_another_thickness_are_refused_as_such_and_taken_with_resample(tmp_path, thinner):
    scan, truth = pelvis()
    slices = round(6 * thinner)
    other = Volume(
        ndimage.zoom(scan.array, (1, 1, thinner), order=0, grid_mode=True, mode="nearest"),
        scan.affine @ np.diag([1, 1, 1 / thinner, 1]),
    )
    path = write_nifti(tmp_path / "p.nii.gz", other.array, other.affine)
    with pytest.raises(DataError, match=r"coronal slices are .* mm thick instead of about 10.* --resample") as refused:
        predict_pelves(BRIGHT, scans_of_files([path]), tmp_path / "out")
    assert "crop" not in str(refused.value).lower()
    predict_pelves(replace(BRIGHT, resample=True), scans_of_files([path]), tmp_path / "out")
    labels = written(tmp_path / "out", "p_labels.nii.gz")
    assert labels.shape == (58, 76, slices)
    np.testing.assert_array_equal(labels, np.repeat(truth.array[..., :1], slices, axis=2))
