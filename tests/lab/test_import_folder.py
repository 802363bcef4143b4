"""A folder is recognised by its layout, which is said, and becomes a cohort; or one sentence says what is missing."""

import json

import nibabel as nib
import numpy as np
import pytest
from conftest import affine_of, tiny_hip, write_nifti, write_nrrd

from femur_lib._runtime.errors import DataError
from femur_lib.cli import main
from femur_lib.cohort import read_cohort, read_subject
from femur_lib.lab import import_folder as import_folder_module
from femur_lib.lab.import_folder import import_folder, recognise


def scan(path, seed=0):
    return write_nifti(path, *[(v := tiny_hip(seed)[0]).array, v.affine])


def mask(path, seed=0, label=1):
    volume, femur = tiny_hip(seed)
    return write_nifti(path, femur * np.uint8(label), volume.affine)


def bids(root):
    for sub in ("01", "02"):
        for ses in ("1", "2"):
            name = f"sub-{sub}_ses-{ses}"
            scan(root / f"sub-{sub}" / f"ses-{ses}" / "anat" / f"{name}_T1w.nii.gz", int(sub))
            scan(root / f"sub-{sub}" / f"ses-{ses}" / "anat" / f"{name}_T2w.nii.gz", int(sub))
            anat = root / "derivatives" / "manual" / f"sub-{sub}" / f"ses-{ses}" / "anat"
            mask(anat / f"{name}_label-femur_mask.nii.gz", int(sub))
            mask(anat / f"{name}_label-pelvis_mask.nii.gz", 9)
    (root / "participants.tsv").write_text("participant_id\tage\nsub-01\t61\nsub-02\t58\n")
    (root / "dataset_description.json").write_text("{}")


def nnunet(root, labels=None, label=1, channels=("0000",)):
    for name in ("HIP_1", "HIP_2"):
        for channel in channels:
            scan(root / "imagesTr" / f"{name}_{channel}.nii.gz", int(name[-1]))
        mask(root / "labelsTr" / f"{name}.nii.gz", int(name[-1]), label)
    about = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, **(labels or {"femur": 1})}}
    (root / "dataset.json").write_text(json.dumps(about))


def decathlon(root):
    for name in ("hip_1", "hip_2"):
        scan(root / "imagesTr" / f"{name}.nii.gz", int(name[-1]))
        mask(root / "labelsTr" / f"{name}.nii.gz", int(name[-1]), 2)
    (root / "imagesTr" / "._hip_1.nii.gz").write_bytes(b"Mac OS X")
    (root / "dataset.json").write_text('{"labels": {"0": "background", "1": "pelvis", "2": "femur"}}')


def folder_a_case(root):
    for number in (1, 2):
        scan(root / f"case_{number:05d}" / "imaging.nii.gz", number)
        mask(root / f"case_{number:05d}" / "segmentation.nii.gz", number)


def two_folders(root):
    for name in ("hip1", "hip2"):
        scan(root / "images" / f"{name}.nii.gz", int(name[-1]))
        mask(root / "masks" / f"{name}_mask.nii.gz", int(name[-1]))


def one_folder(root):
    for name in ("hip1", "hip2"):
        scan(root / f"{name}.nii.gz", int(name[-1]))
        mask(root / f"{name}_mask.nii.gz", int(name[-1]))


def pelvis(gap=0):
    """A scan of both hips with ``gap`` columns between them, its right and its left femur, and its affine."""
    hip, femur = tiny_hip(1)
    empty, between = np.zeros_like(femur), np.full((gap, *femur.shape[1:]), 100.0)
    right, left = (np.concatenate([a, between == 0, b]).astype(np.uint8) for a, b in ((femur, empty), (empty, femur)))
    image = np.concatenate([hip.array, between, hip.array]).astype(np.float32)
    return image, right, left, affine_of("LIP", (5.0, 5.0, 5.0))  # 120 mm a hip


def totalsegmentator(root, gap=0):
    image, right, left, affine = pelvis(gap)
    write_nifti(root / "s0001" / "mri.nii.gz", image, affine)
    for name, femur in (("femur_right", right), ("femur_left", left), ("hip_left", left * 0)):
        write_nifti(root / "s0001" / "segmentations" / f"{name}.nii.gz", femur, affine)


@pytest.mark.parametrize(
    ("layout", "said", "names", "patients"),
    [
        (bids, "BIDS", ["sub-01ses1", "sub-01ses2", "sub-02ses1", "sub-02ses2"], 2),
        (nnunet, "nnU-Net's raw", ["sub-HIP1", "sub-HIP2"], 2),
        (decathlon, "Decathlon", ["sub-hip1", "sub-hip2"], 2),
        (folder_a_case, "one folder a case", ["sub-case00001", "sub-case00002"], 2),
        (two_folders, "two folders", ["sub-hip1", "sub-hip2"], 2),
        (one_folder, "in one folder", ["sub-hip1", "sub-hip2"], 2),
        (totalsegmentator, "TotalSegmentator's", ["sub-s0001R", "sub-s0001L"], 1),
    ],
)
@pytest.mark.filterwarnings("ignore:.*outside the box")
def test_a_layout_is_said_and_becomes_a_cohort(tmp_path, layout, said, names, patients):
    layout(tmp_path / "in")
    lines = []
    assert import_folder(tmp_path / "in", tmp_path / "out", dry_run=True, progress=lines.append) is None
    assert said in lines[0]
    assert f"hips: {len(names)} " in lines[1]
    assert f"patients: {patients}" in lines[1]
    assert not (tmp_path / "out").exists()
    table = import_folder(tmp_path / "in", tmp_path / "out")
    assert table.participant_id.tolist() == names
    assert table.patient.nunique() == patients
    for subject in read_cohort(tmp_path / "out").subjects:
        image, femur = read_subject(subject)
        assert image.array[femur.array].mean() > 250  # a tiny hip's femur is bright
        assert image.array[~femur.array].mean() < 150


def test_slicers_scan_and_segmentation_lie_in_one_folder(tmp_path):
    pytest.importorskip("SimpleITK")
    hip, femur = tiny_hip(1)
    cut = nib.Nifti1Image(femur.astype(np.uint8), hip.affine).slicer[4:-4, 4:-4, 1:-1]
    write_nrrd(tmp_path / "hip1.nrrd", hip.array.astype(np.int16), hip.affine)
    lines = ["Segment0_Name:=Bone", "Segment0_LabelValue:=1", "Segment0_Layer:=0"]
    write_nrrd(tmp_path / "hip1.seg.nrrd", np.asarray(cut.dataobj), cut.affine, lines)
    for label in (None, "Bone"):
        import_folder(tmp_path, tmp_path / "out" / f"{label}", label, leave_out=["out/*"])
        mask = read_subject(read_cohort(tmp_path / "out" / f"{label}")["sub-hip1"])[1]
        assert mask.array.sum() == np.asarray(cut.dataobj).sum()


def test_what_is_not_used_is_said_with_the_reason(tmp_path):
    bids(tmp_path)
    lines = []
    import_folder(tmp_path, tmp_path / "out", dry_run=True, progress=lines.append)
    (contrast,) = [line for line in lines if "another contrast than T1w" in line]
    assert "sub-01/ses-1/anat/sub-01_ses-1_T2w.nii.gz" in contrast
    assert any("something else than the femur" in line and "label-pelvis" in line for line in lines)
    assert any("without the columns patient, side, group: participants.tsv" in line for line in lines)


def test_a_cohort_is_a_bids_folder_whose_table_says_who_is_whose(tiny_cohort, tmp_path):
    table = import_folder(tiny_cohort.root, tmp_path / "out")
    assert sorted(table.values.tolist()) == sorted(tiny_cohort.table().values.tolist())


def test_masks_of_sides_in_bids_cut_a_scan_in_two(tmp_path):
    image, right, left, affine = pelvis(gap=16)
    write_nifti(tmp_path / "sub-1" / "anat" / "sub-1_T1w.nii.gz", image, affine)
    for hemi, femur in (("R", right), ("L", left)):
        name = f"sub-1_hemi-{hemi}_label-femur_mask.nii.gz"
        write_nifti(tmp_path / "derivatives" / "m" / "sub-1" / "anat" / name, femur, affine)
    table = import_folder(tmp_path, tmp_path / "out")
    assert table.values.tolist() == [["sub-1R", "sub-1", "R", "n/a"], ["sub-1L", "sub-1", "L", "n/a"]]


def test_a_bids_mask_that_names_no_session_needs_a_scan_of_one(tmp_path):
    mask(tmp_path / "derivatives" / "m" / "sub-1" / "anat" / "sub-1_label-femur_mask.nii.gz")
    scan(tmp_path / "sub-1" / "ses-1" / "anat" / "sub-1_ses-1_T1w.nii.gz")
    assert [hip.name for hip in recognise(tmp_path).hips] == ["sub-1_ses-1"]
    scan(tmp_path / "sub-1" / "ses-2" / "anat" / "sub-1_ses-2_T1w.nii.gz")
    with pytest.raises(DataError, match=r"femur_mask\S+ fits \S+ses-1_T1w\S+ and \S+ses-2_T1w"):
        recognise(tmp_path)


def test_two_masks_of_one_scan_are_refused_until_one_is_left_out(tmp_path):
    bids(tmp_path)
    mask(tmp_path / "derivatives" / "auto" / "sub-01" / "anat" / "sub-01_ses-1_desc-femur_mask.nii.gz")
    with pytest.raises(DataError, match=r"sub-01_ses-1_T1w\S+ has 2 masks .*--leave-out"):
        recognise(tmp_path)
    assert len(recognise(tmp_path, leave_out=["derivatives/auto/*"]).hips) == 4
    scan(tmp_path / "sub-02" / "ses-2" / "anat" / "sub-02_ses-2_run-2_T1w.nii.gz")
    with pytest.raises(DataError, match=r"label-femur_mask\S+ fits \S+_ses-2_T1w\S+ and \S+run-2_T1w"):
        recognise(tmp_path, leave_out=["derivatives/auto/*"])


def test_the_label_of_nnunet_goes_by_its_name(tmp_path):
    lines = []
    nnunet(tmp_path, {"pelvis": 1, "femur": 2}, label=2, channels=("0000", "0001"))
    import_folder(tmp_path, tmp_path / "out", progress=lines.append)
    assert "label of the femur: 2 (femur)" in lines[1]
    assert "background, as all that is not the femur: pelvis (1)" in lines
    assert any("another channel (T2) than the first (T1)" in line and "HIP_2_0001" in line for line in lines)
    with pytest.raises(DataError, match=r"HIP_1.* has the values \[0, 2\]"):
        import_folder(tmp_path, tmp_path / "again", label="pelvis")
    nnunet(tmp_path, {"head": 1, "shaft": 2})
    with pytest.raises(DataError, match=r"dataset\.json has the labels head \(1\), shaft \(2\)"):
        recognise(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(DataError, match=r"dataset\.json is damaged; JSON"):
        recognise(tmp_path)


@pytest.mark.parametrize(
    ("name", "side"),
    [("femur_right", "R"), ("left femur", "L"), ("femurLeft2", "L"), ("sub-1_hemi-L_mask", "L"), ("left_right", "n/a"),
     ("sub-Wright01_desc-femur_mask", "n/a"), ("sub-1_desc-brightfemur_mask", "n/a"), ("cleft", "n/a")],
)  # fmt: skip
def test_a_side_is_a_word_of_its_own(name, side):
    assert import_folder_module._side(name) == side


@pytest.mark.parametrize("source", ["folder {}", "pairs {0}/images {0}/masks"])
def test_the_background_is_no_femur(tmp_path, capsys, source):
    two_folders(tmp_path / "in")
    assert main(["import", *source.format(tmp_path / "in").split(), str(tmp_path / "out"), "--label", "0"]) == 1
    assert capsys.readouterr().err.startswith("femur: The label of the femur is given as 0, which is the background;")
    assert not (tmp_path / "out").exists()


def test_labels_of_both_sides_cut_a_scan_in_two(tmp_path):
    image, right, left, affine = pelvis(gap=16)
    write_nifti(tmp_path / "imagesTr" / "p_0000.nii.gz", image, affine)
    write_nifti(tmp_path / "labelsTr" / "p.nii.gz", right + 2 * left, affine)
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "femur_right": 1, "left femur": 2}}')
    import_folder(tmp_path, tmp_path / "out")
    for side, femur in (("R", right), ("L", left)):
        subject = read_cohort(tmp_path / "out")[f"sub-p{side}"]
        assert subject.side == side
        assert read_subject(subject)[1].array.sum() == femur.sum()


def test_predictions_need_their_scans(tmp_path):
    nnunet(tmp_path / "raw")
    for name in ("HIP_1", "HIP_2"):
        mask(tmp_path / "predicted" / f"{name}.nii.gz", int(name[-1]))
        (tmp_path / "predicted" / f"{name}.npz").touch()
    for name in ("dataset.json", "plans.json", "predict_from_raw_data_args.json"):
        (tmp_path / "predicted" / name).write_text("{}")
    with pytest.raises(DataError, match=r"nnU-Net's predictions, 2 masks without their scans.*--images"):
        import_folder(tmp_path / "predicted", tmp_path / "out")
    lines = []
    table = import_folder(
        tmp_path / "predicted", tmp_path / "out", images=tmp_path / "raw" / "imagesTr", progress=lines.append
    )
    assert table.participant_id.tolist() == ["sub-HIP1", "sub-HIP2"]
    assert any("records" in line and "HIP_1.npz" in line and "plans.json" in line for line in lines)


def test_a_scan_or_a_mask_that_stands_alone_is_said(tmp_path):
    nnunet(tmp_path)
    scan(tmp_path / "imagesTr" / "HIP_8_0000.nii.gz")
    mask(tmp_path / "labelsTr" / "HIP_9.nii.gz")
    unused = recognise(tmp_path).unused
    assert [f.name for f in unused["a scan without a mask"]] == ["HIP_8_0000.nii.gz"]
    assert [f.name for f in unused["a mask without a scan"]] == ["HIP_9.nii.gz"]


def test_two_scans_in_a_cases_folder_are_refused_by_name(tmp_path):
    folder_a_case(tmp_path)
    scan(tmp_path / "case_00002" / "imaging2.nii.gz")
    with pytest.raises(DataError, match=r"case_00002 holds the scans imaging\.nii\.gz, imaging2\.nii\.gz"):
        recognise(tmp_path)


def test_two_layouts_are_not_guessed_between(tmp_path):
    nnunet(tmp_path)
    bids(tmp_path)
    with pytest.raises(DataError, match=r"can be read as nnU-Net's raw .* and as BIDS; one layout was expected"):
        recognise(tmp_path)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "has no layout we know; looked for: imagesTr and labelsTr .*TotalSegmentator.*BIDS.*MIScnn"),
        (["x.nii.gz", "y.nii.gz"], "has no layout we know"),
        (["data/images/images_01/a.txt"], r"has no layout we know.*femur import pelvis\.$"),
        (["sub-1/anat/sub-1_T1w.nii.gz"], "is laid out as BIDS, but no scan in it has a mask"),
    ],
)
def test_an_unknown_layout_is_one_sentence(tmp_path, capsys, names, says):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert main(["import", "folder", str(tmp_path), str(tmp_path / "out")]) == 1
    with pytest.raises(DataError, match=says):
        recognise(tmp_path)
    assert capsys.readouterr().err.count("\n") == 1


# --- scans of both hips


def sizes(root):
    return {s.id: read_subject(s)[0].array.shape for s in read_cohort(root).subjects}


def test_a_scan_of_both_hips_is_cut_by_the_box_of_the_public_set(tmp_path):
    totalsegmentator(tmp_path / "in", gap=16)  # 80 mm between the hips, as between a woman's
    import_folder(tmp_path / "in", tmp_path / "out")
    assert sizes(tmp_path / "out") == {"sub-s0001R": (24, 24, 8), "sub-s0001L": (24, 24, 8)}


def test_a_femur_that_goes_on_outside_the_box_gets_its_half_of_the_scan_and_a_warning(tmp_path):
    totalsegmentator(tmp_path / "in")
    with pytest.warns(UserWarning, match=r"femur_(left|right).* goes on outside the box"):
        import_folder(tmp_path / "in", tmp_path / "out")
    assert sizes(tmp_path / "out") == {"sub-s0001R": (24, 24, 8), "sub-s0001L": (24, 24, 8)}


def test_an_empty_side_is_said_and_a_scan_of_one_hip_stays_whole(tmp_path):
    image, right, left, affine = pelvis()
    lines = []
    write_nifti(tmp_path / "in" / "s1" / "mri.nii.gz", image[:24], affine)
    for name, femur in (("femur_right", right[:24]), ("femur_left", left[:24])):
        write_nifti(tmp_path / "in" / "s1" / "segmentations" / f"{name}.nii.gz", femur, affine)
    import_folder(tmp_path / "in", tmp_path / "out", progress=lines.append)
    assert sizes(tmp_path / "out") == {"sub-s1R": (24, 24, 8)}
    assert any("not used: side L of" in line and "marks no femur" in line for line in lines)


def test_left_and_right_exchanged_are_refused(tmp_path):
    image, right, left, affine = pelvis(gap=16)
    write_nifti(tmp_path / "s1" / "mri.nii.gz", image, affine)
    for name, femur in (("femur_left", right), ("femur_right", left)):
        write_nifti(tmp_path / "s1" / "segmentations" / f"{name}.nii.gz", femur, affine)
    with pytest.raises(DataError, match=r"femur_right\S+ has its femur in the patient's other half"):
        import_folder(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_label_for_both_hips_is_cut_in_two_where_asked(tmp_path):
    image, right, left, affine = pelvis(gap=16)
    write_nifti(tmp_path / "in" / "images" / "p.nii.gz", image, affine)
    write_nifti(tmp_path / "in" / "masks" / "p.nii.gz", right + left, affine)
    table = tmp_path / "who.tsv"
    table.write_text("participant_id\tpatient\tside\tgroup\np\tw7\tn/a\tx\n")
    found = import_folder(tmp_path / "in", tmp_path / "out", pelvis=True, participants=table)
    assert found.values.tolist() == [["sub-pR", "w7", "R", "x"], ["sub-pL", "w7", "L", "x"]]
    assert [read_subject(s)[1].array.sum() for s in read_cohort(tmp_path / "out").subjects] == [right.sum(), left.sum()]
