"""The import of the public pelvis set, on three made-up pelves written in both of its layouts."""

import gzip
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from conftest import centre_of, rotation, write_dicom, write_nifti

from femur_lib._runtime.errors import DataError
from femur_lib.cohort import read_cohort, read_subject
from femur_lib.lab.import_pelvis import cases, import_pelvis
from femur_lib.lab.pelvis import hip_box

SECRETS = {
    "PatientName": "DOE^JANE",
    "PatientID": "SECRET-4711",
    "PatientBirthDate": "19500203",
    "InstitutionName": "General Hospital",
    "StudyDescription": "Pelvis of Jane",
}
ROWS, COLUMNS, BETWEEN_ROWS, BETWEEN_COLUMNS, STEP = 52, 48, 7.0, 7.3, 20.0
TO_RAS = np.diag([-1.0, -1.0, 1.0])  # DICOM's millimetres grow to the left and back, NIfTI's to the right and front


@dataclass
class Pelvis:
    """One made-up scan; ``image`` and ``labels`` are indexed (x, y, slice), x along a DICOM image's rows."""

    image: np.ndarray
    labels: np.ndarray
    directions: np.ndarray  # rows: unit vectors (DICOM) along x, y and slice
    origin: np.ndarray  # DICOM millimetres of the first voxel

    @property
    def affine(self):
        affine = np.eye(4)
        affine[:3, :3] = TO_RAS @ self.directions.T * (BETWEEN_COLUMNS, BETWEEN_ROWS, STEP)
        affine[:3, 3] = TO_RAS @ self.origin
        return affine


def make_pelvis(seed: int, slices: int, tilt=(0, 0, 0), mirrored=False, speck=None) -> Pelvis:
    """Femora are balls 95 mm to either side, the right one larger; label 2 is the bone that touches them."""
    rng = np.random.default_rng(seed)
    directions = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # coronal: to the left, down, back
    if mirrored:
        directions[0] *= -1
    directions = directions @ rotation(*tilt).T
    size = np.array([COLUMNS, ROWS, slices])
    spacing = np.array([BETWEEN_COLUMNS, BETWEEN_ROWS, STEP])
    index = np.stack(np.indices(size), axis=-1)
    middle = (directions.T * spacing) @ ((size - 1) / 2)
    position = index @ (directions.T * spacing).T - middle  # DICOM mm from the scan's centre
    x, y, z = np.moveaxis(position @ np.linalg.inv(rotation(*tilt)).T, -1, 0)  # x grows to the patient's left
    labels = np.zeros(size, np.uint8)
    labels[(abs(x) < 80) & (abs(z) < 40)] = 2
    labels[(x + 95) ** 2 + (z + 60) ** 2 + y**2 < 45**2] = 1
    labels[(x - 95) ** 2 + (z + 60) ** 2 + y**2 < 35**2] = 1
    if speck is not None:  # one stray voxel with femur's label, so many mm to the left and upwards
        labels[np.unravel_index(np.argmin((x - speck[0]) ** 2 + (z - speck[1]) ** 2 + y**2), size)] = 1
    image = (rng.integers(0, 100, size) + 400 * (labels > 0)).astype(np.uint16)
    return Pelvis(image, labels, directions, np.array([3.0, -200.0, 50.0]) - middle)


def three_pelves() -> list[Pelvis]:
    return [
        make_pelvis(1, 5),
        make_pelvis(2, 6, tilt=(6, 0, 4), mirrored=True, speck=(-95, -160)),
        make_pelvis(3, 5, tilt=(0, -5, 0), speck=(20, 100)),  # outside the box of either hip
    ]


def write_public_layout(source: Path, pelves: list[Pelvis]) -> Path:
    masks = source / "mask" / "multiclass_mask_final_2d"
    masks.mkdir(parents=True)
    number = 0
    for case, pelvis in enumerate(pelves, start=1):
        write_dicom(source / "data" / "images" / f"images_{case:02d}", pelvis.image, pelvis.affine, **SECRETS)
        for k in range(pelvis.labels.shape[2]):
            number += 1
            np.save(masks / f"2d_scan_{number:04d}.npy", pelvis.labels[..., k].astype(float))
    return source


def write_nifti_layout(source: Path, pelves: list[Pelvis]) -> Path:
    for case, pelvis in enumerate(pelves, start=1):
        for what, array in (("image", pelvis.image.astype(np.float32)), ("labels", pelvis.labels)):
            turned = nib.as_closest_canonical(nib.Nifti1Image(array, pelvis.affine))  # another order of axes
            write_nifti(source / f"case{case:02d}_{what}.nii.gz", np.asarray(turned.dataobj), turned.affine)
    return source


@pytest.fixture(scope="module")
def public(tmp_path_factory) -> Path:
    return write_public_layout(tmp_path_factory.mktemp("public"), three_pelves())


@pytest.fixture(scope="module")
def imported(public, tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    out = tmp_path_factory.mktemp("imported") / "cohort"
    return out, import_pelvis(public, out)


@pytest.fixture
def own_public(tmp_path) -> Path:
    """A public layout that a test may spoil."""
    return write_public_layout(tmp_path / "source", three_pelves()[:2])


# --- the box of one hip


def test_the_box_lies_between_its_distances_from_the_mid_column():
    affine = np.diag([0.91, 0.91, 5.2, 1])  # 44 and 188 columns from the middle, 192 rows from below
    assert hip_box((400, 400, 28), affine, "R") == (slice(208, 400), slice(12, 156))
    assert hip_box((400, 400, 28), affine, "L") == (slice(208, 400), slice(244, 388))


def test_rows_and_columns_of_the_box_have_their_own_spacing():
    rows, columns = hip_box((400, 400, 28), np.diag([1.75, 0.91, 5.2, 1]), "L")
    assert (rows.stop - rows.start, columns.stop - columns.start) == (100, 144)


def test_the_box_stays_inside_the_image():
    assert hip_box((100, 300, 28), np.diag([1.0, 1, 5, 1]), "R") == (slice(0, 100), slice(0, 110))
    assert hip_box((100, 300, 28), np.diag([1.0, 1, 5, 1]), "L")[1] == slice(190, 300)


# --- the import


def test_every_patient_gives_two_hips(imported):
    table = read_cohort(imported[0]).table()
    assert table.participant_id.tolist() == [f"sub-case{n:02d}{side}" for n in (1, 2, 3) for side in "RL"]
    assert table.patient.tolist() == ["case01", "case01", "case02", "case02", "case03", "case03"]
    assert set(table.group) == {"n/a"}


def test_sides_are_the_patients_however_the_scan_was_stored(imported):
    for subject in read_cohort(imported[0]).subjects:
        _, mask = read_subject(subject)
        right = centre_of(mask)[0] + 3.0  # mm right of the scan's centre
        assert right == pytest.approx(95 if subject.side == "R" else -95, abs=12)


def test_image_and_mask_of_a_hip_belong_together(imported):
    for subject in read_cohort(imported[0]).subjects:
        image, mask = read_subject(subject)
        assert image.array[mask.array].min() >= 400


def test_other_bones_are_not_femur(imported):
    for subject, pelvis in zip(("sub-case01R", "sub-case03L"), (three_pelves()[0], three_pelves()[2]), strict=True):
        _, mask = read_subject(read_cohort(imported[0])[subject])
        index = np.rint(
            nib.affines.apply_affine(np.linalg.inv(pelvis.affine) @ mask.affine, np.argwhere(mask.array))
        ).astype(int)
        assert set(pelvis.labels[tuple(index.T)]) == {1}


def test_specks_are_removed_and_reported(imported):
    out, report = imported
    assert report.set_index("participant_id").removed.to_dict() == {
        "sub-case01R": 0, "sub-case01L": 0,
        "sub-case02R": 1, "sub-case02L": 0,
        "sub-case03R": 0, "sub-case03L": 1,
    }  # fmt: skip
    pd.testing.assert_frame_equal(pd.read_csv(out / "import_report.tsv", sep="\t"), report)


def test_the_report_counts_the_voxels_that_are_written(imported):
    out, report = imported
    cohort = read_cohort(out)
    assert report.voxels.tolist() == [int(read_subject(s)[1].array.sum()) for s in cohort.subjects]


@pytest.mark.parametrize(("edge", "mm"), [("OUTER_MM", 100.0), ("INNER_MM", 80.0), ("HEIGHT_MM", 105.0)])
def test_a_femur_cut_by_the_box_is_reported(tmp_path, monkeypatch, public, imported, edge, mm):
    assert not imported[1].touches_sides.any()
    monkeypatch.setattr(f"femur_lib.lab.pelvis.{edge}", mm)
    assert import_pelvis(public, tmp_path / "c").touches_sides.all()


def test_progress_is_told(tmp_path, public):
    lines = []
    import_pelvis(public, tmp_path / "c", lines.append)
    assert [line.split(":")[0] for line in lines][:2] == ["sub-case01R", "sub-case01L"]


def test_both_layouts_give_equal_cohorts(imported, tmp_path):
    report = import_pelvis(write_nifti_layout(tmp_path / "nifti", three_pelves()), tmp_path / "cohort")
    pd.testing.assert_frame_equal(report, imported[1])
    ours, theirs = read_cohort(tmp_path / "cohort"), read_cohort(imported[0])
    pd.testing.assert_frame_equal(ours.table(), theirs.table())
    for a, b in zip(ours.subjects, theirs.subjects, strict=True):
        for one, other in zip(read_subject(a), read_subject(b), strict=True):
            np.testing.assert_array_equal(one.array, other.array)
            np.testing.assert_allclose(one.affine, other.affine, atol=1e-3)


def test_no_patient_field_reaches_any_byte_of_the_cohort(imported, public):
    def everything(folder):
        for file in folder.rglob("*"):
            if file.is_file():
                raw = file.read_bytes()
                yield file.name.encode() + raw + (gzip.decompress(raw) if file.suffix == ".gz" else b"")

    written, source = b"".join(everything(imported[0])), b"".join(everything(public))
    for secret in [*SECRETS.values(), "JANE", "Jane"]:
        assert secret.encode() in source
        assert secret.encode() not in written


# --- what is missing or wrong


def spoiled(source: Path, tmp_path: Path, match: str) -> None:
    out = tmp_path / "out"
    with pytest.raises(DataError, match=match):
        import_pelvis(source, out / "cohort")
    assert not out.exists() or list(out.iterdir()) == []


MASKS = "mask/multiclass_mask_final_2d"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda p: (p / "data/images/images_01").rename(p / "elsewhere"), "images_02 is there without images_01"),
        (lambda p: (p / MASKS / "2d_scan_0007.npy").unlink(), r"2d_scan_0007\.npy cannot be read"),
        (lambda p: (p / MASKS / "2d_scan_0003.npy").write_bytes(b"no array"), r"2d_scan_0003\.npy cannot be read"),
        (
            lambda p: [np.save(file, np.load(file).T) for file in (p / MASKS).iterdir()],
            r"0001\.npy has the shape \(52, ",
        ),
    ],
    ids=["an earlier case", "a mask that is missing", "a damaged mask", "masks that are not transposed"],
)
def test_what_is_missing_or_damaged_in_the_public_layout_is_named(own_public, tmp_path, spoil, says):
    spoil(own_public)
    spoiled(own_public, tmp_path, says)


def test_a_side_without_a_femur_is_an_error(tmp_path):
    pelvis = make_pelvis(0, 5)
    pelvis.labels[24:][pelvis.labels[24:] == 1] = 0
    spoiled(write_nifti_layout(tmp_path / "n", [pelvis]), tmp_path, "case01 has no femur on side L")


def test_an_image_without_labels_or_with_labels_on_another_grid_is_an_error(tmp_path):
    pelvis = three_pelves()[0]
    source = write_nifti_layout(tmp_path / "n", [pelvis])
    (source / "case01_labels.nii.gz").unlink()
    spoiled(source, tmp_path, r"case01_labels\.nii\.gz does not exist")
    write_nifti(source / "case01_labels.nii.gz", pelvis.labels, pelvis.affine @ np.diag([2, 1, 1, 1]))
    spoiled(source, tmp_path, r"case01_labels\.nii\.gz has an affine that differs")


def test_a_folder_of_neither_layout_is_an_error(tmp_path):
    with pytest.raises(DataError, match="neither"):
        cases(tmp_path)
