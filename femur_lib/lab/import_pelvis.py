"""Import the public pelvis set: coronal T1 MR of 23 women (TCIA CPTAC-UCEC) with bone masks (pelvic_project).

Each scan shows both hips, and is cut into one volume for each. The cut never looks at the mask: it is the same box for
every patient, in millimetres from the image's mid-column and lower edge, as it would be for a scan that nobody has
segmented yet. ``data/README.md`` says where to get both parts and under which licences.

Two layouts are read:

* the public one: ``data/images/images_NN/*.dcm`` and ``mask/multiclass_mask_final_2d/2d_scan_NNNN.npy``. The masks are
  numbered in one run over all cases, so a case's first number is 1 plus the number of DICOM files of all earlier cases.
  Each mask is indexed (x, y), the transpose of a DICOM image's rows and columns.
* NIfTI: ``caseNN_image.nii.gz`` beside ``caseNN_labels.nii.gz``, where label 1 is femur.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.words import Progress
from femur_lib.cohort import new_cohort
from femur_lib.inference import largest_component
from femur_lib.lab.pelvis import crop, half, hip_box
from femur_lib.volumes import Volume, faces_touched, on_grid_of, read_labels, read_volume, to_stack

FEMUR = 1

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


def import_pelvis(
    source: str | os.PathLike, out: str | os.PathLike, progress: Progress = lambda line: None
) -> pd.DataFrame:
    """Write every hip of the pelvis set as a cohort (two participants for each patient, group "n/a").

    Some labels have specks away from the femur. Of each hip's mask only the largest component (26-connected) is kept.
    How much was removed from that half of the label is returned, and written to ``import_report.tsv``.

    Returns:
        One row for each hip: participant_id, voxels (kept), removed (voxels), touches_sides (whether the femur touches
        the top or a side of its box).

    Raises:
        DataError: ``source`` has neither layout, a file cannot be used, or a hip has no femur.
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
                hip, label = crop(case.image, box), case.labels[box] == FEMUR
                if not label.any():
                    raise DataError(
                        f"{source}: {case.name} has no femur on side {side}; voxels with label {FEMUR} were expected.",
                        "Check the labels.",
                    )
                mask = largest_component(label)
                add(subject, case.name, side, "n/a", hip, mask)
                in_half = np.count_nonzero(case.labels[:, half(case.labels.shape, side)] == FEMUR)
                touched = faces_touched(Volume(mask, hip.affine))
                report.append(
                    {
                        "participant_id": subject,
                        "voxels": int(mask.sum()),
                        "removed": int(in_half - mask.sum()),
                        "touches_sides": not {"superior", "right", "left"}.isdisjoint(touched),
                    }
                )
                progress(f"{subject}: {report[-1]['voxels']} voxels kept, {report[-1]['removed']} removed")
    return pd.DataFrame(report)


def cases(source: str | os.PathLike) -> Iterator[Case]:
    """Every pelvis of a folder in either layout, one at a time.

    Raises:
        DataError: neither layout is there, or one of its files cannot be used.
    """
    source = Path(source)
    if (source / "data" / "images").is_dir():
        return _dicom_cases(source)
    if any(source.glob("[!.]*_image.nii.gz")):
        return _nifti_cases(source)
    raise DataError(
        f"{source} holds neither data/images/images_NN nor caseNN_image.nii.gz; one of these layouts was expected.",
        "See data/README.md.",
    )


def _nifti_cases(source: Path) -> Iterator[Case]:
    for image_file in sorted(source.glob("[!.]*_image.nii.gz")):
        name = image_file.name.removesuffix("_image.nii.gz")
        label_file = image_file.with_name(f"{name}_labels.nii.gz")
        image, labels = read_volume(image_file), read_labels(label_file)
        labels = on_grid_of(label_file, labels, image_file, image)
        yield Case(re.sub(r"[^A-Za-z0-9]", "", name), to_stack(image), to_stack(labels).array)


def _dicom_cases(source: Path) -> Iterator[Case]:
    masks = source / "mask" / "multiclass_mask_final_2d"
    first = 1
    for number, folder in enumerate(sorted((source / "data" / "images").glob("images_*")), start=1):
        if folder.name != f"images_{number:02d}":
            raise DataError(
                f"{folder} is there without images_{number:02d}; every earlier case was expected, because masks are "
                "numbered over all of them.",
                "Add what is missing.",
            )
        image, files = read_volume(folder), sorted(folder.glob("*.dcm"))
        frames = image.frames or ()
        if len(files) != len(frames):
            raise DataError(
                f"{folder} holds {len(files)} .dcm files, of which {len(frames)} are one volume; each was expected to "
                "be a slice, because masks are numbered by them.",
                "Download again.",
            )
        numbers = [first + files.index(frame.file) for frame in frames]
        first += len(files)
        shape = image.array.shape[:2]
        labels = np.stack([_read_npy(masks / f"2d_scan_{n:04d}.npy", shape) for n in numbers], axis=-1).astype(np.uint8)
        yield Case(f"case{number:02d}", to_stack(image), to_stack(Volume(labels, image.affine)).array)


def _read_npy(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        mask = np.load(file, allow_pickle=False)
    except (EOFError, OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}); a mask was expected.", "Download the masks again.") from None
    if mask.shape != shape:
        raise DataError(
            f"{file} has the shape {mask.shape}; that of its DICOM image, {shape}, was expected.",
            "Download the masks again.",
        )
    return mask
