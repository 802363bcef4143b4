"""Turn DICOM series into NIfTI files, for programs that draw masks, and for ``import pairs``."""

import os
from collections.abc import Sequence
from pathlib import Path

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import new_folder
from femur_lib._runtime.words import Progress
from femur_lib.volumes import by_name, read_volume, write_volume


def import_dicom(
    folders: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    series: str = "",
    progress: Progress = lambda line: None,
) -> list[Path]:
    """Write each folder's DICOM series as ``<folder>.nii.gz`` into a new folder, which appears whole or not at all.

    Args:
        folders: each holds a series, or is an enhanced file (:func:`femur_lib.volumes.read_volume`).
        out: the new folder.
        series: which one, where a folder holds several.
        progress: gets a line for each scan.

    Returns:
        The files.

    Raises:
        DataError: a folder cannot be used, two have one name, or ``out`` exists and is not an empty folder.
    """
    out, scans = Path(out), by_name(folders)
    with new_folder(out) as partial:
        for name, folder in scans.items():
            scan = read_volume(folder, series=series)
            if not scan.frames:
                raise DataError(f"{folder} is not DICOM, which was expected.", "Leave it out: it can be used as it is.")
            write_volume(partial / f"{name}.nii.gz", scan.array, scan.affine)
            sizes = " x ".join(f"{n}" for n in scan.array.shape), " x ".join(f"{mm:.3g}" for mm in scan.spacing_mm)
            progress(f"{name}: {sizes[0]} voxels of {sizes[1]} mm, axes {''.join(scan.axes)}")
    return [out / f"{name}.nii.gz" for name in scans]
