"""Files as labs have them, met on the command line: used, named or refused in one sentence, never lost or guessed."""

import gzip
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from conftest import tiny_hip, write_nifti

from femur_lib.cli import main
from femur_lib.cohort import check_cohort, image_path, mask_path, new_cohort, read_cohort
from femur_lib.volumes import Volume


def scan(path: Path, seed: int = 0, kind=nib.Nifti1Image, change=lambda image: image) -> Path:
    image = tiny_hip(seed)[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(change(kind(image.array, image.affine)), path)
    return path


@pytest.fixture
def pairs(tmp_path) -> Path:
    """Two hips and their masks, in folders for ``import pairs``."""
    for k in (1, 2):
        scan(tmp_path / "images" / f"hip{k}.nii.gz", k)
        write_nifti(tmp_path / "masks" / f"hip{k}_mask.nii.gz", tiny_hip(k)[1].astype(np.uint8), tiny_hip(k)[0].affine)
    return tmp_path


def import_pairs(folder: Path, *more: str) -> int:
    return main(["import", "pairs", str(folder / "images"), str(folder / "masks"), str(folder / "out"), *more])


def refused(capsys, says: str) -> None:
    """One line on standard error, that says it."""
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(says, error)


# --- check


def odd_cohort(root: Path, change) -> Path:
    """Six hips, the last of them changed: ``change`` takes and gives (image, mask)."""
    with new_cohort(root, "n", "s") as add:
        for k in range(6):
            image, mask = tiny_hip(k)
            image, mask = change(image, mask) if k == 5 else (image, mask)
            add(f"sub-{k}", f"p{k}", "R", "g", image, mask)
    return root


def stretched(*factors: float):
    def change(image, mask):
        return Volume(image.array, image.affine @ np.diag([*factors, 1])), mask

    return change


def both_hips(image, mask):
    return Volume(np.concatenate([image.array] * 2), image.affine), np.concatenate([mask] * 2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (stretched(1, 1, 1.4), "depth 56 mm instead of 40, slice spacing 7 mm instead of 5"),
        (stretched(1, 1.4, 1), "height 67.2 mm instead of 48"),
        (lambda image, mask: (image, ~mask), "may be inverted"),
    ],
)
def test_check_names_what_is_unlike_the_rest(tmp_path, capsys, change, says):
    assert main(["check", str(odd_cohort(tmp_path / "c", change))]) == 0
    refused(capsys, f"femur: warning: .*sub-5_.* {says}")


@pytest.mark.parametrize(
    ("change", "says"), [(stretched(1, 1, 2), "slice spacing 10 mm"), (both_hips, r"width 96 mm.*\(both hips\?\)")]
)
def test_check_refuses_what_an_evaluation_would_refuse(tmp_path, capsys, change, says):
    assert main(["check", str(odd_cohort(tmp_path / "c", change))]) == 1
    refused(capsys, f"sub-5_T1w.*{says}")


def test_check_refuses_a_cohort_of_two_kinds_of_which_an_evaluation_would_refuse_one(tmp_path, capsys):
    with new_cohort(tmp_path / "c", "n", "s") as add:
        for k in range(6):
            image, mask = tiny_hip(k)
            add(f"sub-{k}", f"p{k}", "R", "g", *(stretched(1, 1, 1.7)(image, mask) if k % 2 else (image, mask)))
    assert main(["check", str(tmp_path / "c")]) == 1
    assert "6 things are wrong" in capsys.readouterr().err


def test_check_lists_every_fault(cohort_copy, capsys):
    raw = bytearray(mask_path(cohort_copy, "sub-01R").read_bytes())
    raw[-6] ^= 0xFF
    mask_path(cohort_copy, "sub-01R").write_bytes(raw)
    image = image_path(cohort_copy, "sub-02R")
    image.write_bytes(image.read_bytes() + b"more")
    write_nifti(mask_path(cohort_copy, "sub-03L"), np.eye(4, dtype=np.uint8)[:, :, None].repeat(4, 2))
    assert main(["check", str(cohort_copy)]) == 1
    said = capsys.readouterr().err
    assert re.search(r"3 things are wrong", said)
    assert re.search(r"sub-01R_desc-femur_mask.* gzip checksum", said)
    assert re.search(r"sub-02R_T1w.* goes on for 4 bytes", said)
    assert re.search(r"sub-03L_desc-femur_mask.* \(4, 4, 4\)", said)


def test_check_names_every_missing_file_and_every_fault_of_the_table(cohort_copy, capsys):
    for name in ("sub-01R", "sub-04R"):
        image_path(cohort_copy, name).unlink()
    assert main(["check", str(cohort_copy)]) == 1
    assert set(re.findall(r"(sub-\w\w\w)_T1w\S* does not exist", capsys.readouterr().err)) == {"sub-01R", "sub-04R"}
    table = cohort_copy / "participants.tsv"
    table.write_text(table.read_text().replace("\tR\t", "\tright\t").replace("p04", ""))
    assert main(["check", str(cohort_copy)]) == 1
    said = capsys.readouterr().err
    assert "no patient in line 6" in said
    assert "the side 'right'" in said


def test_check_names_a_femur_outside_the_slices_of_a_profile(tmp_path, capsys):
    profile = tmp_path / "p.yaml"
    profile.write_text("profile: tiny\ngrid_2d: [24, 24, 8]\ngrid_3d: [24, 24, 4]\n")
    root = odd_cohort(tmp_path / "c", lambda image, mask: (image, mask))
    assert main(["check", str(root)]) == 0
    assert capsys.readouterr().err == ""
    assert main(["check", str(root), "--profile", str(profile)]) == 0
    assert re.search(r"sub-4_desc-femur_mask\S+ has \d+ femur voxels outside the central 4", capsys.readouterr().err)


def test_what_check_passes_is_read_by_training_and_evaluation_though_the_mask_has_other_axes(cohort_copy):
    path = mask_path(cohort_copy, "sub-03L")
    mask = nib.load(path)
    turn = nib.orientations.ornt_transform(nib.io_orientation(mask.affine), nib.orientations.axcodes2ornt("PSR"))
    raw = gzip.compress(mask.as_reoriented(turn).to_bytes())
    path.write_bytes(raw)
    table = check_cohort(read_cohort(cohort_copy)).set_index("participant_id")
    assert table.loc["sub-03L", "shape"] == "24 x 24 x 8"


# --- predict and score


def test_a_scan_is_predicted_whatever_its_ending_and_refused_with_the_true_cause(trained_runs, tmp_path, capsys):
    run, out = str(trained_runs["3d"]), tmp_path / "out"
    upper = scan(tmp_path / "hip.nii.gz").rename(tmp_path / "HIP.NII.GZ")
    assert main(["predict", run, str(upper), "--out", str(out)]) == 0
    assert {p.name for p in out.iterdir()} == {f"HIP_{k}" for k in ("mask.nii.gz", "probability.nii.gz", "overlay.png")}
    capsys.readouterr()
    (tmp_path / "dicom.nii.gz").write_bytes(bytes(128) + b"DICM" + bytes(100))
    long_name = scan(tmp_path / f"{'x' * 235}.nii.gz")
    (tmp_path / "empty").mkdir()
    for given, says in (
        (tmp_path / "dicom.nii.gz", "holds no MR volume"),
        (tmp_path / "empty", "holds no DICOM file"),
        (long_name, "too long a name"),
        (scan(tmp_path / "none.nii.gz", change=without_orientation), "code 0"),
    ):
        assert main(["predict", run, str(given), "--out", str(tmp_path / "none")]) == 1
        refused(capsys, says)
        assert not (tmp_path / "none").exists()
    assert main(["predict", run, str(tmp_path / "none.nii.gz"), "--out", str(out), "--axes", "LIP"]) == 0
    assert "axes LIP as you say" in capsys.readouterr().err
    assert nib.aff2axcodes(nib.load(out / "none_mask.nii.gz").affine) == ("L", "I", "P")


def without_orientation(image):
    image.set_sform(None, 0)
    return image


def test_what_the_system_refuses_is_said_in_one_line(pairs, capsys):
    (pairs / "out").touch()
    assert import_pairs(pairs) == 1
    refused(capsys, "out exists and is not empty")
    assert main(["import", "pairs", str(pairs / "images"), str(pairs / "masks"), str(pairs / "out" / "deep")]) == 1
    refused(capsys, r"out cannot be read or written: file exists. Choose another path")
    assert (pairs / "out").read_bytes() == b""


def test_a_warning_about_a_file_is_said_once(trained_runs, tmp_path, capsys):
    path = scan(tmp_path / "hip.nii", change=lambda image: image)
    image = nib.load(path)
    image.set_qform(image.affine @ np.diag([1, 1, 1.2, 1]), 1)
    nib.save(image, tmp_path / "two.nii")
    assert main(["predict", str(trained_runs["3d"]), str(tmp_path / "two.nii"), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.count("qform and an sform that differ") == 1


def test_a_summary_of_scores_says_how_many_of_how_many(tmp_path, capsys):
    for name in "abcd":
        write_nifti(tmp_path / "truth" / f"{name}.nii.gz", np.eye(5, dtype=np.uint8)[None].repeat(3, 0))
    for name, value in (("a", 1), ("c", 0)):
        mask = value * np.eye(5, dtype=np.uint8)[None].repeat(3, 0)
        write_nifti(tmp_path / "predicted" / f"{name}_mask.nii.gz", mask)
    command = ["score", "--truth", str(tmp_path / "truth"), "--predictions", str(tmp_path / "predicted")]
    assert main([*command, "--out", str(tmp_path / "s.csv")]) == 0
    said = capsys.readouterr()
    assert "b, d: no prediction" in said.err
    assert "dice 0.500 ± 0.707 (2 of 4)" in said.out
    assert "asd_mm 0.000 ± nan (1 of 4)" in said.out
    found = pd.read_csv(tmp_path / "s_summary.csv").set_index("score")
    assert found.loc["dice", ["scans", "of"]].tolist() == [2, 4]
    assert found.loc["asd_mm", ["scans", "of"]].tolist() == [1, 4]
    (tmp_path / "s.csv").unlink()
    assert main([*command, "--out", str(tmp_path / "s.csv")]) == 1  # the summary is there
    refused(capsys, r"s_summary\.csv exists already")


# --- what nobody may read


def test_no_text_of_a_header_is_carried_or_said(trained_runs, pairs, capsys):
    path = pairs / "images" / "hip1.nii.gz"
    image = nib.load(path)
    array = np.asarray(image.dataobj)
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[field] = b"OKAPI"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"OKAPI fell"))
    image.set_qform(image.affine @ np.diag([1, 1, 1.2, 1]), 1)  # whose forms are carried
    nib.save(nib.Nifti1Image(array, None, image.header), path)
    assert b"OKAPI fell" in gzip.decompress(path.read_bytes())
    assert import_pairs(pairs) == 0
    assert main(["predict", str(trained_runs["3d"]), str(path), "--out", str(pairs / "p")]) == 0
    said = capsys.readouterr()
    assert "OKAPI" not in said.out + said.err
    for file in [*(pairs / "out").rglob("*.*"), *(pairs / "p").iterdir()]:
        raw = file.read_bytes()
        assert b"OKAPI" not in (gzip.decompress(raw) if file.suffix == ".gz" else raw)
    assert json.loads((pairs / "out" / "dataset_description.json").read_text())["Name"] == "Imported pairs"
