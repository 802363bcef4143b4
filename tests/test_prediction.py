"""Predicted files lie on the scan's own grid, whatever its axes, and bad input leaves nothing behind."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from conftest import affine_of, world, write_nifti

from femur_lib.architecture import Architecture
from femur_lib.errors import DataError
from femur_lib.prediction import (
    predict_files,
    scans_of_cohort,
    scans_of_files,
    score_files,
    truth_paths,
)
from femur_lib.segmentation import Segmenter
from femur_lib.volumes import Grid


class Bright:
    """A network's stand-in: femur is what is brighter than the scan's mean by two standard deviations."""

    def predict_on_batch(self, batch):
        femur = (batch[..., 0] > 2).astype(np.float32)
        return np.stack([1 - femur, femur], axis=-1)


def segmenter(grid: Grid, spacing_mm, dimensions: int = 3) -> Segmenter:
    """That network with all that belongs to it."""
    return Segmenter(Bright(), Architecture(dimensions, 2, 1), grid, 0.5, dimensions == 2, False, "nine", spacing_mm)


# A block of 16 x 12 x 8 mm in a scan of 48 mm a side, at one place in the patient.
CENTRE, HALF = np.array([6.0, -4.0, 3.0]), np.array([6.0, 4.0, 8.0])


def scan_at(path, axes: str, spacing_mm, tilt=(0, 0, 0)):
    shape = tuple(round(48 / s) for s in spacing_mm)
    affine = affine_of(axes, spacing_mm, tilt)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    where = world(affine, np.stack(np.indices(shape), -1).reshape(-1, 3)).reshape(*shape, 3)
    block = (np.abs(where - CENTRE) < HALF).all(-1)
    return write_nifti(path, (100 + 900 * block).astype(np.int16), affine), block


@pytest.mark.parametrize(
    ("axes", "spacing_mm", "tilt"),
    [
        ("LIP", (2, 2, 4), (0, 0, 0)),  # coronal, as the pelvis set
        ("RAS", (2, 4, 2), (0, 0, 0)),  # axial planes, coronal spacing
        ("ASR", (4, 2, 2), (0, 0, 0)),  # sagittal
        ("RPI", (2, 4, 2), (0, 0, 0)),  # flipped
        ("LIP", (2, 2, 4), (8, -6, 10)),  # oblique
        ("SAL", (2, 4, 2), (-12, 5, 7)),
    ],
)
def test_a_mask_overlays_its_scan_whatever_its_axes(tmp_path, axes, spacing_mm, tilt):
    path, block = scan_at(tmp_path / "hip.nii.gz", axes, spacing_mm, tilt)
    predict_files(segmenter(Grid(24, 24, 12), (2, 2, 4)), scans_of_files([path]), tmp_path / "out")
    scan, mask = nib.load(path), nib.load(tmp_path / "out" / "hip_mask.nii.gz")
    probability = nib.load(tmp_path / "out" / "hip_probability.nii.gz")
    for image in (mask, probability):
        assert image.shape == scan.shape
        np.testing.assert_allclose(image.affine, scan.affine, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(mask.dataobj) == 1, block)
    assert mask.get_data_dtype() == np.uint8
    assert (tmp_path / "out" / "hip_overlay.png").stat().st_size > 1000


def test_a_mask_predicted_at_half_resolution_is_off_by_less_than_a_pixel(tmp_path):
    path, block = scan_at(tmp_path / "hip.nii.gz", "LIP", (1, 1, 4))
    predict_files(segmenter(Grid(24, 24, 12), (2, 2, 4)), scans_of_files([path]), tmp_path / "out")
    mask = np.asarray(nib.load(tmp_path / "out" / "hip_mask.nii.gz").dataobj) == 1
    centres = [np.argwhere(m).mean(0) for m in (mask, block)]
    assert np.abs(centres[0] - centres[1]).max() < 0.5


def test_only_2d_networks_keep_the_largest_component_alone(tmp_path):
    path, _ = scan_at(tmp_path / "hip.nii.gz", "ILP", (2, 2, 4))
    image = nib.load(path)
    data = np.asarray(image.dataobj).copy()
    data[2, 2, 2] = 3000  # a speck
    write_nifti(path, data, image.affine)
    for dimensions, specks in ((3, 1), (2, 0)):
        out = tmp_path / f"{dimensions}d"
        predict_files(segmenter(Grid(24, 24, 12), (2, 2, 4), dimensions), scans_of_files([path]), out)
        mask = np.asarray(nib.load(out / "hip_mask.nii.gz").dataobj)
        assert mask[2, 2, 2] == specks


def test_a_bad_scan_among_good_ones_leaves_nothing(tmp_path):
    good, _ = scan_at(tmp_path / "good.nii.gz", "LIP", (2, 2, 4))
    bad = write_nifti(tmp_path / "zbad.nii.gz", np.full((24, 24, 12), np.nan, np.float32), nib.load(good).affine)
    with pytest.raises(DataError, match="zbad"):
        predict_files(segmenter(Grid(24, 24, 12), (2, 2, 4)), scans_of_files([good, bad]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_scan_of_quite_another_field_of_view_is_refused(tmp_path):
    path, _ = scan_at(tmp_path / "hip.nii.gz", "LIP", (2, 2, 4))
    with pytest.raises(DataError, match=r"pixels of 2 x 2 x 4 mm"):
        predict_files(segmenter(Grid(24, 24, 12), (0.9, 0.9, 4)), scans_of_files([path]), tmp_path / "out")


def test_nothing_is_overwritten_unless_asked(tmp_path):
    path, _ = scan_at(tmp_path / "hip.nii.gz", "LIP", (2, 2, 4))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "hip_mask.nii.gz").write_text("drawn by hand for two hours")
    bright = segmenter(Grid(24, 24, 12), (2, 2, 4))
    with pytest.raises(DataError, match="--overwrite"):
        predict_files(bright, scans_of_files([path]), tmp_path / "out")
    assert (tmp_path / "out" / "hip_mask.nii.gz").read_text().startswith("drawn")
    predict_files(bright, scans_of_files([path]), tmp_path / "out", overwrite=True)
    assert nib.load(tmp_path / "out" / "hip_mask.nii.gz").shape == (24, 24, 12)


def test_two_files_of_one_name_are_refused(tmp_path):
    with pytest.raises(DataError, match="twice"):
        scans_of_files([tmp_path / "a" / "hip.nii.gz", tmp_path / "b" / "hip.nii"])


def test_perfect_predictions_score_perfectly_and_an_empty_one_has_no_surface(tiny_cohort, tmp_path):
    truth = truth_paths(tiny_cohort.root)
    names = list(truth)[:2]
    good = nib.load(truth[names[0]])
    write_nifti(tmp_path / f"{names[0]}_mask.nii.gz", np.asarray(good.dataobj), good.affine)
    write_nifti(tmp_path / f"{names[1]}_mask.nii.gz", np.zeros(good.shape, np.uint8), nib.load(truth[names[1]]).affine)
    table = score_files(truth, tmp_path).set_index("participant_id")
    perfect = {
        "dice": 1,
        "precision": 1,
        "recall": 1,
        "specificity": 1,
        "asd_mm": 0,
        "msd_mm": 0,
        "hd95_mm": 0,
        "nsd": 1,
    }
    assert table.loc[names[0]].to_dict() == perfect
    assert table.loc[names[1], "dice"] == 0
    assert table.loc[names[1], ["precision", "asd_mm", "msd_mm"]].isna().all()


def test_a_prediction_without_a_truth_is_named(tiny_cohort, tmp_path):
    write_nifti(tmp_path / "stranger_mask.nii.gz", np.zeros((2, 2, 2), np.uint8))
    with pytest.raises(DataError, match="no true mask named stranger"):
        score_files(truth_paths(tiny_cohort.root), tmp_path)


def test_a_prediction_on_another_grid_is_refused(tiny_cohort, tmp_path):
    name = tiny_cohort.subjects[0].id
    write_nifti(tmp_path / f"{name}_mask.nii.gz", np.zeros((2, 2, 2), np.uint8))
    with pytest.raises(DataError, match="shape"):
        score_files(truth_paths(tiny_cohort.root), tmp_path)


def test_truth_may_be_a_plain_folder(tmp_path):
    for name in ("a_mask.nii.gz", "b.nii", "b_probability.nii.gz"):
        write_nifti(tmp_path / name, np.zeros((2, 2, 2), np.uint8))
    assert set(truth_paths(tmp_path)) == {"a", "b"}


def test_scans_that_were_trained_on_are_left_out(tiny_cohort):
    first = tiny_cohort.subjects[0].id
    assert first not in [s.name for s in scans_of_cohort(tiny_cohort, leave_out=[first])]
    assert isinstance(tiny_cohort.table(), pd.DataFrame)
