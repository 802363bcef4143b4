"""Predicted files lie on their scans, an evaluated run holds its scores, and its choices are compared with others'."""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from conftest import Bright, affine_of, world, write_nifti

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import checksums, write_json
from femur_lib.architecture import Architecture
from femur_lib.cohort import Cohort, read_cohort, read_subject
from femur_lib.evaluation import (
    FILES,
    Scan,
    choices,
    evaluate,
    optimism,
    predict_files,
    read_evaluation,
    read_prediction,
    scans_of_cohort,
    scans_of_files,
    score,
    score_files,
    several_as_one,
    truth_paths,
)
from femur_lib.inference import Segmenter, segment
from femur_lib.lab.quality_control import quality
from femur_lib.metrics.curves import ProbabilityHistogram, write_histograms
from femur_lib.metrics.overlap import overlap
from femur_lib.preprocessing import Grid
from femur_lib.runs import SEAL, Run, load_run
from femur_lib.volumes import Volume, to_stack, write_volume

BRIGHT = Segmenter(Bright(), Architecture(3, 2, 1), Grid(24, 24, 12), grid_spacing_mm=(2, 2, 4))

# --- files


def scan_at(path, axes: str, spacing_mm, tilt=(0, 0, 0)) -> tuple[Path, np.ndarray]:
    """A scan of 48 mm a side with a bright block of 12 x 8 x 16 mm, at one place in the patient whatever its axes."""
    shape = tuple(round(48 / s) for s in spacing_mm)
    affine = affine_of(axes, spacing_mm, tilt)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    where = world(affine, np.stack(np.indices(shape), -1).reshape(-1, 3)).reshape(*shape, 3)
    block = (np.abs(where - [6.0, -4.0, 3.0]) < [6.0, 4.0, 8.0]).all(-1)
    return write_nifti(path, (100 + 900 * block).astype(np.int16), affine), block


@pytest.mark.parametrize(
    ("axes", "spacing_mm", "tilt"),
    [("LIP", (2, 2, 4), (0, 0, 0)), ("RAS", (2, 4, 2), (0, 0, 0)), ("SAL", (2, 4, 2), (-12, 5, 7))],
    ids=["coronal, as in the pelvis set", "axial", "sagittal and oblique"],
)
def test_the_files_of_a_scan_overlay_it_whatever_its_axes(tmp_path, axes, spacing_mm, tilt):
    path, block = scan_at(tmp_path / "hip.nii.gz", axes, spacing_mm, tilt)
    (written,) = predict_files(BRIGHT, scans_of_files([path]), tmp_path / "out")
    scan, mask, probability = map(nib.load, (path, written, tmp_path / "out" / "hip_probability.nii.gz"))
    for image in (mask, probability):
        assert image.shape == scan.shape
        np.testing.assert_allclose(image.affine, scan.affine, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(mask.dataobj) == 1, block)
    assert (mask.get_data_dtype(), written.name) == (np.uint8, "hip_mask.nii.gz")
    assert (tmp_path / "out" / "hip_overlay.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("array", "spacing_mm", "says"),
    [
        (np.full((24, 24, 12), np.nan, np.float32), (2, 2, 4), "zbad.* NaN"),
        (
            np.arange(24 * 24 * 12, dtype=np.float32).reshape(24, 24, 12),
            (0.9, 0.9, 4),
            "zbad.* pixels of 0.9 x 0.9 x 4 mm",
        ),
    ],
    ids=["damaged", "another field of view"],
)
def test_a_bad_scan_among_good_ones_leaves_nothing(tmp_path, array, spacing_mm, says):
    good, _ = scan_at(tmp_path / "good.nii.gz", "LIP", (2, 2, 4))
    bad = write_nifti(tmp_path / "zbad.nii.gz", array, affine_of("LIP", spacing_mm))
    with pytest.raises(DataError, match=says):
        predict_files(BRIGHT, scans_of_files([good, bad]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_unless_asked(tmp_path):
    path, _ = scan_at(tmp_path / "hip.nii.gz", "LIP", (2, 2, 4))
    (tmp_path / "out").mkdir()
    drawn = tmp_path / "out" / "hip_mask.nii.gz"
    drawn.write_text("drawn by hand for two hours")
    with pytest.raises(DataError, match="--overwrite"):
        predict_files(BRIGHT, scans_of_files([path]), tmp_path / "out")
    assert drawn.read_text() == "drawn by hand for two hours"
    predict_files(BRIGHT, scans_of_files([path]), tmp_path / "out", overwrite=True)
    assert nib.load(drawn).shape == (24, 24, 12)


@pytest.fixture
def two_hips(tmp_path) -> list[Scan]:
    """Two scans of 12 slices with their true masks, which fill slices 6 and 7."""
    found = []
    for name in ("one", "two"):
        image, block = scan_at(tmp_path / f"{name}.nii.gz", "LIP", (2, 2, 4))
        mask = write_nifti(tmp_path / f"{name}_true.nii.gz", block.astype(np.uint8), nib.load(image).affine)
        found.append(Scan(name, image, mask))
    return found


def warned(slices: int, scans: list[Scan], out: Path, every_slice: bool = False) -> list[str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        predict_files(replace(BRIGHT, grid=Grid(24, 24, slices), every_slice=every_slice), scans, out)
    return [str(w.message) for w in said]


def test_a_true_femur_that_goes_on_beyond_the_slices_segmented_is_named_once_for_all_scans(two_hips, tmp_path):
    (said,) = warned(2, two_hips, tmp_path / "out")  # slices 5 and 6
    assert said.endswith("in 2 of 2 scans the true femur goes on in the others: one, two.")
    assert warned(4, two_hips, tmp_path / "enough") == []
    assert warned(2, two_hips, tmp_path / "every", every_slice=True) == []


@pytest.mark.parametrize("kind", ["3d", "2d", "2d-unpadded"])
@pytest.mark.parametrize("front", [False, True])
def test_thirty_slices_of_air_at_one_end_leave_the_dice_as_it_was(trained_runs, tiny_cohort, kind, front):
    run = load_run(trained_runs[kind])
    image, mask = read_subject(tiny_cohort[run.record["validation"][0]])
    hip, truth = to_stack(image), to_stack(mask).array
    air = np.abs(np.random.default_rng(0).normal(0, 5, (*hip.array.shape[:2], 30)))
    longer = Volume(np.concatenate([air, hip.array] if front else [hip.array, air], axis=2), hip.affine)
    found = segment(run.segmenter, longer)[1].array
    found = found[..., 30:] if front else found[..., :-30]
    before = overlap(truth, segment(run.segmenter, hip)[1].array)["dice"]
    assert before > 0.8
    assert overlap(truth, found)["dice"] > before - 0.02


@pytest.mark.parametrize("slices", ["all", "central"])
def test_evaluation_predicts_the_slices_that_the_profile_says(cohort_copy, tmp_path, slices):
    cohort = read_cohort(cohort_copy)
    made = replace(BRIGHT, grid=Grid(24, 24, 4), grid_spacing_mm=(2, 2, 5))
    record = {"training": [s.id for s in cohort.subjects[2:]], "profile": {"evaluation_slices": slices}}
    (tmp_path / "run").mkdir()
    evaluate(cohort, Run(tmp_path / "run", record, made))
    mask = to_stack(read_prediction(tmp_path / "run/predictions" / f"{cohort.subjects[0].id}_mask.nii.gz")).array
    assert mask[..., 2:6].any()
    assert mask[..., [0, 1, 6, 7]].any() == (slices == "all")


# --- several runs as one


class Says:
    """Stands in for a network that gives every voxel one probability, and femur a higher one."""

    def __init__(self, background: float, femur: float):
        self.background, self.femur = background, femur

    def predict_on_batch(self, batch):
        p = np.where(batch[..., 0] > 2, self.femur, self.background).astype(np.float32)
        return np.stack([1 - p, p], axis=-1)


def of_fold(folder: Path, training: list[str], model, threshold: float, curves=None) -> Run:
    """A made-up run, evaluated if it has curves."""
    folder.mkdir()
    if curves is not None:
        for name in FILES[:2]:
            (folder / name).write_text("participant_id,dice\n")
        write_histograms(folder / FILES[2], curves)
        write_json(folder / SEAL, {"seconds": 1.0, "files": checksums(folder, FILES)})
    return Run(folder, {"training": training}, replace(BRIGHT, model=model, threshold=threshold))


def histogram(femur: float, background: float) -> ProbabilityHistogram:
    found = ProbabilityHistogram()
    found.add(np.array([True, False]), np.float32([femur, background]))
    return found


def test_the_threshold_of_several_runs_is_chosen_on_training_scans_that_a_run_did_not_see(tmp_path):
    one = of_fold(tmp_path / "one", ["b"], Says(0, 1), 0.9, {"a": histogram(0.4, 0.2), "test": histogram(0.9, 0.8)})
    two = of_fold(tmp_path / "two", ["a"], Says(0, 1), 0.7, {"b": histogram(0.4, 0.3)})
    said: list[str] = []
    chosen = several_as_one([one, two], said.append)
    assert 0.3 <= chosen.threshold < 0.4  # that of "test" would be 0.8 or more
    assert said == [
        f"2 runs are averaged; threshold {chosen.threshold:.3f}, by 2 out-of-fold predictions of training scans"
    ]
    assert chosen.others == (two.segmenter,)


def test_without_out_of_fold_predictions_the_threshold_is_the_mean_of_the_runs_own(tmp_path):
    runs = [of_fold(tmp_path / f"{t}", ["a"], Says(0, 1), t, {"b": histogram(0.4, 0.2)}) for t in (0.5, 0.7)]
    runs.append(of_fold(tmp_path / "not-evaluated", ["a"], Says(0, 1), 0.3))
    said: list[str] = []
    assert several_as_one(runs, said.append).threshold == pytest.approx(0.5)
    assert said[0].endswith("the mean of the runs' own")
    assert several_as_one(runs[:1]) == runs[0].segmenter


def test_probabilities_are_averaged_and_each_runs_own_mask_is_kept_for_quality(two_hips, tmp_path):
    both = replace(BRIGHT, model=Says(0.1, 1), others=(replace(BRIGHT, model=Says(0.0, 0.2), threshold=0.1),))
    scan = replace(two_hips[0], truth=None)
    (written,) = predict_files(both, [scan], tmp_path / "out")
    block = nib.load(two_hips[0].truth).get_fdata() > 0
    p = nib.load(tmp_path / "out/one_probability.nii.gz").get_fdata()
    np.testing.assert_allclose(p, np.where(block, 0.6, 0.05), atol=1e-6)
    np.testing.assert_array_equal(read_prediction(written).array, block)
    each = [read_prediction(tmp_path / "out/by-run" / n / "one_mask.nii.gz").array for n in "12"]
    np.testing.assert_array_equal(each[0], block)
    assert not each[1].any()  # by the threshold of both
    table = quality(tmp_path / "out", sorted((tmp_path / "out/by-run").iterdir()))
    assert table.disagreement.item() == pytest.approx(0.5)
    for file in (tmp_path / "out").glob("one_*"):
        file.unlink()
    with pytest.raises(DataError, match=r"by-run/1/one_mask\.nii\.gz exists already"):
        predict_files(both, [scan], tmp_path / "out")
    small = replace(both, others=(replace(BRIGHT, grid_spacing_mm=(9, 9, 9)),))
    with pytest.raises(DataError, match="pixels of"):
        predict_files(small, [scan], tmp_path / "other")


def test_masks_of_runs_that_are_left_out_go_and_nothing_else(two_hips, tmp_path):
    out, (one, two) = tmp_path / "out", [replace(scan, truth=None) for scan in two_hips[:2]]
    three, both = (replace(BRIGHT, others=(BRIGHT,) * n) for n in (2, 1))
    predict_files(three, [one, two], out)
    foreign = [out / "by-run" / "3" / "one_mask.txt", out / "by-run" / "mine" / f"{one.name}_mask.nii.gz"]
    for file in foreign:
        file.parent.mkdir(exist_ok=True)
        file.touch()

    def masks(folder: str) -> list[str]:
        return sorted(p.name for p in (out / "by-run").glob(f"{folder}/*_mask.nii.gz"))

    predict_files(both, [one], out, overwrite=True)
    assert masks("3") == [f"{two.name}_mask.nii.gz"]  # two was not predicted again
    assert masks("[12]") == sorted([f"{one.name}_mask.nii.gz", f"{two.name}_mask.nii.gz"] * 2)
    predict_files(BRIGHT, [one, two], out, overwrite=True)
    assert sorted(p for p in (out / "by-run").rglob("*") if p.is_file()) == foreign
    assert sorted(p.name for p in (out / "by-run").iterdir()) == ["3", "mine"]  # folders left empty are gone


# --- scores of files


def test_perfect_predictions_score_perfectly_and_an_empty_one_has_no_surface(tiny_cohort, tmp_path):
    truth = truth_paths(tiny_cohort.root)
    perfect, empty = list(truth)[:2]
    shutil.copy(truth[perfect], tmp_path / f"{perfect}_mask.nii.gz")
    shape, affine = nib.load(truth[empty]).shape, nib.load(truth[empty]).affine
    write_nifti(tmp_path / f"{empty}_mask.nii.gz", np.zeros(shape, np.uint8), affine)
    with pytest.warns(UserWarning, match=r"sub-02R, .*no prediction in .*; 2 of 7 true masks are scored"):
        table = score_files(truth, tmp_path).set_index("participant_id")
    ones = dict.fromkeys(("dice", "precision", "recall", "specificity", "nsd"), 1)
    assert table.loc[perfect].to_dict() == ones | dict.fromkeys(("asd_mm", "msd_mm", "hd95_mm"), 0)
    assert table.loc[empty, "dice"] == 0
    assert table.loc[empty, ["precision", "asd_mm", "msd_mm"]].isna().all()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("stranger", 0, "no true mask of the name stranger"),
        ("sub-01R", 0, "shape"),
        ("sub-01R", 2, "other than 0 and 1"),
    ],
)
def test_a_prediction_that_cannot_be_scored_is_named(tiny_cohort, tmp_path, name, value, says):
    write_nifti(tmp_path / f"{name}_mask.nii.gz", np.full((2, 2, 2), value, np.uint8))
    truth = {k: v for k, v in truth_paths(tiny_cohort.root).items() if k == "sub-01R"}
    with pytest.raises(DataError, match=f"{name}_mask.* {says}"):
        score_files(truth, tmp_path)


def test_truth_may_be_a_plain_folder(tmp_path):
    for name in ("a_mask.nii.gz", "b.nii", "b_probability.nii.gz"):
        write_nifti(tmp_path / name, np.zeros((2, 2, 2), np.uint8))
    assert set(truth_paths(tmp_path)) == {"a", "b"}


@pytest.fixture
def drawn(tmp_path) -> tuple[Path, np.ndarray]:
    """A folder of three true masks of the value 2, and what they mark."""
    mask = np.zeros((9, 8, 7), np.uint8)
    mask[3:6, 2:6, 2:5] = 2
    for name in "abc":
        write_nifti(tmp_path / "truth" / f"{name}.nii.gz", mask)
    return tmp_path / "truth", mask


@pytest.mark.parametrize("names", ["{}_mask.nii.gz", "{}.nii.gz", "{}_T1w_mask.nii", "{}_0000_mask.NII.GZ"])
def test_predictions_are_found_by_our_names_and_by_nnu_nets_beside_scans_of_both_kinds(drawn, tmp_path, names):
    truth, mask = drawn
    for name in "abc":
        write_nifti(tmp_path / "p.nii.gz", mask).rename(tmp_path / names.format(name))
        write_nifti(tmp_path / f"{name}_0000.nii.gz", mask * 0.3)  # nnU-Net's name of a scan
        write_nifti(tmp_path / f"{name}_probability.nii.gz", mask * 0.3)
    (tmp_path / "dataset.json").write_text("{}")
    table = score_files(truth_paths(truth), tmp_path, label=2)
    assert table.participant_id.tolist() == ["a", "b", "c"]
    assert (table.dice == 1).all()


def test_a_mask_that_was_cut_to_its_extent_is_scored_on_the_grid_of_the_other(tmp_path):
    mask = np.zeros((9, 8, 7), np.uint8)
    mask[3:6, 2:5, 2:4] = 1
    whole = nib.Nifti1Image(mask, affine_of("LIP", (2, 2, 4)))
    cut = whole.slicer[2:6, 2:5, 2:4]
    for truth, predicted in ((cut, whole), (whole, cut)):
        for folder, image in (("truth", truth), ("predicted", predicted)):
            (tmp_path / folder).mkdir(exist_ok=True)
            nib.save(image, tmp_path / folder / "a.nii.gz")
        (row,) = score_files(truth_paths(tmp_path / "truth"), tmp_path / "predicted").itertuples()
        assert (row.dice, row.specificity, row.asd_mm) == (1, 1, 0)


@pytest.mark.parametrize(
    "names", [("a_mask.nii", "a_mask.nii.gz"), ("a.nii", "a.nii.gz"), ("a_T1w.nii", "a_image.nii")]
)
def test_two_predictions_of_one_name_are_refused(drawn, tmp_path, names):
    truth, mask = drawn
    for name in names:
        write_nifti(tmp_path / name, mask)
    with pytest.raises(DataError, match="share a name"):
        score_files(truth_paths(truth), tmp_path, label=2)


def test_distances_on_a_sheared_grid_are_those_of_the_world():
    shear = affine_of("ILP") @ np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    one, other = np.zeros((2, 9, 9, 9), bool)
    one[2, 4, 2] = other[2, 4, 6] = True  # four slices apart, and so four rows, on the grid: sqrt(32) mm
    found = score(Volume(one, shear), Volume(other, shear))
    assert found["asd_mm"] == pytest.approx(np.linalg.norm(shear[:3, 2] * 4))
    assert found["asd_mm"] == pytest.approx(np.sqrt(32))
    assert score(Volume(one, affine_of("ILP")), Volume(other, affine_of("ILP")))["asd_mm"] == pytest.approx(4)


def test_a_file_may_have_any_name(tmp_path):
    path, _ = scan_at(tmp_path / "hip $\\frac{1$ 患者.nii.gz", "LIP", (2, 2, 4))
    predict_files(BRIGHT, scans_of_files([path]), tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 3


# --- an evaluated run


@pytest.fixture(scope="module")
def evaluated(trained_runs, tiny_cohort, tmp_path_factory):
    """The tiny 2D run, evaluated in a folder of its own."""
    folder = shutil.copytree(trained_runs["2d"], tmp_path_factory.mktemp("evaluated") / "run")
    return folder, evaluate(tiny_cohort, load_run(folder))


def test_an_evaluated_run_holds_the_scores_of_all_scans_that_it_was_not_trained_on(evaluated):
    folder, found = evaluated
    record = json.loads((folder / "run.json").read_text())
    assert set(found.scores.participant_id) == set(found.curves) == set(record["validation"])
    # Without the largest component's choice, the curves know the Dice at the run's threshold.
    plain = found.components[~found.components.largest_component].set_index("participant_id").dice
    for name, histogram in found.curves.items():
        assert histogram.dice_at(load_run(folder).segmenter.threshold) == pytest.approx(plain[name], abs=1e-9)


@pytest.mark.parametrize("largest_component", [False, True])
def test_scores_are_those_of_masks_as_the_run_makes_them(cohort_copy, tmp_path, largest_component):
    cohort = read_cohort(cohort_copy)
    image, _ = read_subject(cohort["sub-03L"])
    image.array[0, 0, 0] = 300  # a speck as bright as the femur
    write_volume(cohort["sub-03L"].image, image.array, image.affine)
    made = replace(BRIGHT, grid=Grid(24, 24, 8), grid_spacing_mm=(2, 2, 5), largest_component=largest_component)
    others = [s.id for s in cohort.subjects if s.id != "sub-03L"]
    (tmp_path / "run").mkdir()
    found = evaluate(cohort, Run(tmp_path / "run", {"training": others, "profile": {"evaluation_slices": "all"}}, made))
    assert (found.scores.dice.item() == 1) == largest_component
    assert (found.components.set_index("largest_component").dice == 1).to_dict() == {False: False, True: True}


def test_an_evaluated_run_is_not_evaluated_again(evaluated, tiny_cohort, monkeypatch):
    folder, found = evaluated
    monkeypatch.setattr("femur_lib.evaluation.predict_files", lambda *a, **k: 1 / 0)
    pd.testing.assert_frame_equal(evaluate(tiny_cohort, load_run(folder)).scores, found.scores)


def test_many_cores_give_the_same_scores_in_the_same_order(evaluated, tiny_cohort, tmp_path, monkeypatch):
    original, found = evaluated
    folder = shutil.copytree(original, tmp_path / "run")
    (folder / SEAL).unlink()
    monkeypatch.setattr("joblib.cpu_count", lambda: 16)
    said: list[str] = []
    pd.testing.assert_frame_equal(evaluate(tiny_cohort, load_run(folder), said.append).components, found.components)
    count = len(found.scores)
    left_out = len(tiny_cohort.subjects) - count
    assert said.pop(0) == f"{left_out} scans of patients that the network was trained on are left out"
    assert [line.split(" ", 1)[1] for line in said] == [f"({n} of {count})" for n in range(1, count + 1)]


def test_a_run_that_was_trained_on_everybody_has_nothing_to_be_scored_on(evaluated, tiny_cohort, tmp_path):
    run = load_run(evaluated[0])
    seen = Cohort(tiny_cohort.root, tuple(tiny_cohort[n] for n in run.record["training"]))
    with pytest.raises(DataError, match=r"has no scan that the run .* was not trained on"):
        evaluate(seen, replace(run, folder=tmp_path))


def test_scores_of_other_scans_or_of_other_masks_are_never_given_for_those_asked_for(evaluated, cohort_copy, tmp_path):
    original, found = evaluated
    folder = shutil.copytree(original, tmp_path / "run")
    cohort, run = read_cohort(cohort_copy), load_run(folder)
    pd.testing.assert_frame_equal(evaluate(cohort, run).scores, found.scores)  # a copy holds the same scans
    fewer = Cohort(cohort.root, tuple(s for s in cohort.subjects if s.id != found.scores.participant_id[0]))
    corrected = cohort[found.scores.participant_id[0]].mask
    with pytest.raises(DataError, match=r"evaluated on other scans or masks than those of .*copy.* Remove its"):
        evaluate(fewer, run)
    _, mask = read_subject(cohort[found.scores.participant_id[0]])
    write_volume(corrected, np.roll(mask.array, 2, axis=0), mask.affine)
    with pytest.raises(DataError, match="evaluated on other scans or masks"):
        evaluate(cohort, run)
    (folder / SEAL).unlink()
    assert (evaluate(cohort, run).scores.dice != found.scores.dice).any()


def test_the_other_hip_of_a_patient_who_was_trained_on_is_not_new(tiny_cohort):
    of_patient = tiny_cohort.table().groupby("patient").participant_id.agg(list)
    both = next(names for names in of_patient if len(names) == 2)
    left = {scan.name for scan in scans_of_cohort(tiny_cohort, leave_out=both[:1])}
    assert left == {s.id for s in tiny_cohort.subjects} - set(both)


@pytest.mark.parametrize("name", [*FILES, SEAL])
@pytest.mark.parametrize("how", ["removed", "cut short"])
def test_a_damaged_file_of_an_evaluation_is_made_again(evaluated, tiny_cohort, tmp_path, name, how):
    original, found = evaluated
    folder = shutil.copytree(original, tmp_path / "run")
    if how == "removed":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes((folder / name).read_bytes()[:-20])
    with pytest.raises(DataError, match=rf"{name}.*femur evaluate"):
        read_evaluation(folder)
    again = evaluate(tiny_cohort, load_run(folder))
    pd.testing.assert_frame_equal(again.components, found.components)
    read_evaluation(folder)


# --- choices


def histogram_of(truth, p) -> ProbabilityHistogram:
    histogram = ProbabilityHistogram()
    histogram.add(np.asarray(truth, bool), np.asarray(p, np.float32))
    return histogram


def made_up_run(folder: Path, fold: int, val_dice: list[float], curves: dict, network="3d-f2-l2") -> Path:
    """A folder that looks like an evaluated run whose best epoch is that of the highest ``val_dice``."""
    folder.mkdir()
    profile = {"profile": "tiny", "recipe": {"monitor": "dice"}}
    record = {"network": network, "fold": fold, "profile": profile, "kept": "best", "synthetic": True}
    record |= {"training": [], "validation": list(curves), "threshold": 0.5, "threshold_chosen_on": "validation"}
    record |= {"grid_spacing_mm": [1, 1, 1], "epochs_trained": len(val_dice), "seconds_training": 1, "parameters": 1}
    record |= {"peak_memory_gib": None, "versions": {}, "finished": "2026-11-28T00:00:00Z"}
    write_json(folder / "run.json", record)
    (folder / "model.keras").touch()
    history = pd.DataFrame({"epoch": range(len(val_dice)), "loss": 1.0, "val_dice": val_dice})
    history.to_csv(folder / "history.csv", index=False)
    for name in ("scores.csv", "components.csv"):
        pd.DataFrame({"participant_id": list(curves)}).to_csv(folder / name, index=False)
    write_histograms(folder / "curves.npz", curves)
    write_json(folder / SEAL, {"seconds": 1.0, "files": checksums(folder, FILES)})
    return folder


@pytest.fixture
def three_folds(tmp_path) -> list[Path]:
    """Best epochs 2, 3 and 1 (from 0); the first fold's scan wants a higher threshold than the others'."""
    low = ([1, 1, 1, 0, 0], [0.4, 0.5, 0.6, 0.1, 0.2])  # perfect between 0.2 and 0.4
    high = ([1, 1, 1, 0, 0], [0.8, 0.9, 0.95, 0.3, 0.5])  # perfect between 0.5 and 0.8
    dice = ([0.1, 0.5, 0.9, 0.7], [0.1, 0.2, 0.3, 0.8], [0.2, 0.6, 0.5])
    return [
        made_up_run(tmp_path / f"r{k}", k, dice[k], {f"s{k}": histogram_of(*(low if k else high))}) for k in range(3)
    ]


def test_each_folds_choices_stand_beside_those_of_the_others(three_folds):
    found = choices(three_folds)
    assert found.epoch.tolist() == [3, 4, 2]
    assert found.epoch_by_others.tolist() == [3, 2, 3]  # medians 2, 1.5, 2.5 (from 0); fold 2 trained three epochs
    assert found.dice_at_epoch.tolist() == [0.9, 0.8, 0.6]
    assert found.dice_at_epoch_by_others.tolist() == [0.9, 0.2, 0.5]
    assert found.threshold[0] > 0.49
    assert found.threshold_by_others[0] < 0.41
    assert found.dice_at_threshold.tolist() == [1, 1, 1]
    assert found.dice_at_threshold_by_others[0] == pytest.approx(2 * 3 / (3 + 5))  # 0.3 and 0.5 are marked, too
    assert optimism(found)["epoch"] == pytest.approx((0 + 0.6 + 0.1) / 3)


def test_youdens_index_accepts_false_positives_where_background_is_plentiful(tmp_path):
    truth, p = [1, 1] + [0] * 400, [0.9, 0.6] + [0.7] * 3 + [0.1] * 397
    runs = [made_up_run(tmp_path / f"r{k}", k, [0.5], {f"s{k}": histogram_of(truth, p)}) for k in range(2)]
    found = choices(runs)
    assert (found.threshold > 0.69).all()  # precision 1, recall 1/2
    assert (found.youden < 0.61).all()  # recall 1, false positive rate 3/400
    assert found.dice_at_threshold.tolist() == pytest.approx([2 / 3, 2 / 3])
    assert found.dice_at_youden.tolist() == pytest.approx([4 / 7, 4 / 7])


def test_choices_need_one_network_and_each_fold_once(three_folds, tmp_path):
    other = made_up_run(tmp_path / "other", 1, [0.1], {"x": histogram_of([1, 0], [0.9, 0.1])}, "3d-f4-l2")
    for runs in (three_folds[:1], [three_folds[0]] * 2, [three_folds[0], other]):
        with pytest.raises(DataError, match="one network, with no fold twice, was expected"):
            choices(runs)
