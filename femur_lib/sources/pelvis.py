"""Import the public pelvis set: coronal T1 MR of 23 women (TCIA CPTAC-UCEC) with bone masks (pelvic_project).

Each scan shows both hips. It is cut into one volume a hip, and the cut never looks at the mask: it is the same box,
in millimetres from the image's mid-column and lower edge, for every patient, as it would be for a scan that nobody
has segmented yet. ``data/README.md`` tells where to get both parts and under which licences.

Two layouts are read:

* the public one: ``data/images/images_NN/*.dcm`` and ``mask/multiclass_mask_final_2d/2d_scan_NNNN.npy``. The masks
  are numbered in one run over all cases, so a case's first number is 1 + the DICOM files of all earlier cases; each
  is indexed (x, y), the transpose of a DICOM image's rows and columns.
* NIfTI: ``caseNN_image.nii.gz`` beside ``caseNN_labels.nii.gz``, label 1 femur.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel.affines import voxel_sizes

from femur_lib.cohort import new_cohort
from femur_lib.errors import DataError
from femur_lib.masks import largest_component
from femur_lib.volumes import Volume, check_same_grid, read_labels, read_volume, to_stack

FEMUR = 1

# The box of one hip. In the 16 scans we developed with, femora lie 48 to 164 mm from the image's mid-column and
# begin at most 150 mm above its lower edge, which cuts the shaft in every scan.
INNER_MM, OUTER_MM, HEIGHT_MM = 40.0, 171.2, 174.9

CITATION = (
    "Images: CPTAC-UCEC, The Cancer Imaging Archive, doi:10.7937/K9/TCIA.2018.3R3JUISW, CC BY 4.0. "
    "Masks: github.com/easoplee/pelvic_project, no licence stated."
)


@dataclass(frozen=True)
class Case:
    """A pelvis with labels of the bones, both as stacks."""

    name: str
    image: Volume
    labels: np.ndarray


def _nifti_cases(source: Path) -> Iterator[Case]:
    for image_file in sorted(source.glob("*_image.nii.gz")):
        name = image_file.name.removesuffix("_image.nii.gz")
        label_file = image_file.with_name(f"{name}_labels.nii.gz")
        name = re.sub(r"[^A-Za-z0-9]", "", name)
        image, labels = read_volume(image_file), read_labels(label_file)
        check_same_grid(label_file, labels, image_file, image)
        yield Case(name, to_stack(image), to_stack(labels).array)


def read_dicom_folder(folder: Path) -> Volume:
    """A folder of single-slice DICOM files as one volume, axes (x, y, slice in file-name order).

    Only voxels and geometry are read; no patient field is.

    Raises:
        DataError: files differ in size or direction, or slices are not evenly spaced along one line.
    """
    try:
        import pydicom
    except ImportError:
        raise DataError(
            folder, "DICOM files, but no pydicom", "the extra 'dicom'", 'pip install "femur-lib[dicom]"'
        ) from None
    files = sorted(folder.glob("*.dcm"))
    if len(files) < 2:
        raise DataError(folder, f"{len(files)} .dcm files", "a series", "Download again.")
    try:
        slices = [pydicom.dcmread(file) for file in files]
        arrays = [s.pixel_array * float(s.get("RescaleSlope", 1)) + float(s.get("RescaleIntercept", 0)) for s in slices]
        origins = np.array([s.ImagePositionPatient for s in slices], float)
        directions = np.array([s.ImageOrientationPatient for s in slices], float)
        between_rows, between_columns = map(float, slices[0].PixelSpacing)
    except (pydicom.errors.InvalidDicomError, AttributeError, EOFError, OSError, RuntimeError, ValueError) as error:
        raise DataError(folder, f"a DICOM file that cannot be used ({error})", "MR slices", "Download again.") from None
    if len({a.shape for a in arrays}) != 1 or np.ptp(directions, axis=0).max() > 1e-3:
        raise DataError(folder, "slices of different size or direction", "one series", "Keep one series a folder.")
    steps = np.diff(origins, axis=0)
    if np.abs(steps - steps.mean(0)).max() > 0.1:
        raise DataError(folder, "slices that are not evenly spaced", "an even stack", "Look for a missing file.")
    # DICOM's patient axes grow to the left and to the back; nibabel's to the right and to the front.
    to_ras = np.diag([-1.0, -1.0, 1.0])
    affine = np.eye(4)
    affine[:3, 0] = to_ras @ directions[0, :3] * between_columns
    affine[:3, 1] = to_ras @ directions[0, 3:] * between_rows
    affine[:3, 2] = to_ras @ steps.mean(0)
    affine[:3, 3] = to_ras @ origins[0]
    return Volume(np.stack([a.T for a in arrays], axis=-1).astype(np.float32), affine)


def _read_npy(file: Path, what: str) -> np.ndarray:
    if not file.is_file():
        raise DataError(file, "no such file", what, "Download the masks again.")
    try:
        return np.load(file, allow_pickle=False)
    except (EOFError, OSError, ValueError) as error:
        raise DataError(file, f"a file that cannot be read ({error})", what, "Download it again.") from None


def _dicom_cases(source: Path) -> Iterator[Case]:
    folders = sorted((source / "data" / "images").glob("images_*"))
    masks = source / "mask" / "multiclass_mask_final_2d"
    first = 1
    for number, folder in enumerate(folders, start=1):
        if folder.name != f"images_{number:02d}":
            raise DataError(
                folder,
                f"{folder.name} as folder number {number}",
                f"images_{number:02d}",
                "Masks are numbered over all earlier cases, so no case may be missing before another.",
            )
        image = read_dicom_folder(folder)
        files = [masks / f"2d_scan_{first + k:04d}.npy" for k in range(image.array.shape[2])]
        first += len(files)
        labels = np.stack([_read_npy(file, f"a mask of {folder.name}") for file in files], axis=-1)
        if labels.shape != image.array.shape:
            raise DataError(folder, f"masks of shape {labels.shape}", f"{image.array.shape}", "Download again.")
        yield Case(
            f"case{number:02d}",
            to_stack(image),
            to_stack(Volume(labels.astype(np.uint8), image.affine)).array,
        )


def cases(source: str | os.PathLike) -> Iterator[Case]:
    """Every pelvis of a folder in either layout, one at a time.

    Raises:
        DataError: neither layout is there, or a file of it is unusable.
    """
    source = Path(source)
    if (source / "data" / "images").is_dir():
        return _dicom_cases(source)
    if any(source.glob("*_image.nii.gz")):
        return _nifti_cases(source)
    raise DataError(
        source,
        "neither data/images/images_NN nor caseNN_image.nii.gz",
        "the public layout or NIfTI files",
        "See data/README.md.",
    )


def half(shape: tuple[int, ...], side: str) -> slice:
    """Columns of the patient's right or left half of a stack.

    Columns of a stack grow to the patient's left (see :mod:`femur_lib.volumes`), so the right hip lies before the
    mid-column and the left hip after it, however the file was stored.
    """
    return slice(0, shape[1] // 2) if side == "R" else slice(shape[1] // 2, shape[1])


def hip_box(shape: tuple[int, ...], affine: np.ndarray, side: str) -> tuple[slice, slice]:
    """Rows and columns of one hip in a coronal stack of the whole pelvis, from geometry alone."""
    row_mm, column_mm, _ = voxel_sizes(affine)
    height = min(shape[0], round(HEIGHT_MM / row_mm))
    inner, outer = round(INNER_MM / column_mm), round(OUTER_MM / column_mm)
    middle = shape[1] // 2
    start, stop = (middle - outer, middle - inner) if side == "R" else (middle + inner, middle + outer)
    return slice(shape[0] - height, shape[0]), slice(max(0, start), min(shape[1], stop))


def crop(stack: Volume, box: tuple[slice, slice]) -> Volume:
    """The rows and columns of a box, with the affine that keeps every voxel where it was in the patient."""
    origin = np.array([box[0].start, box[1].start, 0, 1.0])
    affine = stack.affine.copy()
    affine[:, 3] = stack.affine @ origin
    return Volume(stack.array[box], affine)


def import_pelvis(
    source: str | os.PathLike, out: str | os.PathLike, progress: Callable[[str], None] = lambda line: None
) -> pd.DataFrame:
    """Write every hip of the pelvis set as a cohort (two participants a patient, group "n/a").

    Some labels have specks away from the femur. Of each hip's mask only the largest component (26-connected) is
    kept; how much of its half of the label was removed is returned and written to ``import_report.tsv``.

    Returns:
        A data frame: participant, voxels kept, voxels removed, whether the femur touches the box's top or sides.
    """
    report: list[dict] = []
    description = {
        "License": "images CC BY 4.0; masks: none stated, not for redistribution",
        "Attribution": CITATION,
    }
    with new_cohort(out, "CPTAC-UCEC hips", "pelvic_project", report, **description) as add:
        for case in cases(source):
            for side in "RL":
                subject = f"sub-{case.name}{side}"
                box = hip_box(case.image.array.shape, case.image.affine, side)
                hip = crop(case.image, box)
                label = case.labels[box] == FEMUR
                if not label.any():
                    raise DataError(
                        f"{source}, {case.name}", f"no femur on side {side}", "label 1", "Check the labels."
                    )
                mask = largest_component(label)
                in_half = np.count_nonzero(case.labels[:, half(case.labels.shape, side)] == FEMUR)
                add(subject, case.name, side, "n/a", hip, mask)
                report.append(
                    {
                        "participant_id": subject,
                        "voxels": int(mask.sum()),
                        "removed": int(in_half - mask.sum()),
                        "touches_sides": bool(mask[:, 0].any() or mask[:, -1].any() or mask[0].any()),
                    }
                )
                progress(f"{subject}: {report[-1]['voxels']} voxels, {report[-1]['removed']} specks removed")
    return pd.DataFrame(report)
