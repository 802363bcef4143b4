"""DICOM in."""

from pathlib import Path

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import DICOM_DO
from femur_lib.volumes.stack import Volume


def is_dicom(raw: bytes) -> bool:
    """Whether a file that begins so is DICOM."""
    return raw[128:132] == b"DICM"


def read_dicom(path: Path) -> Volume:
    """One series of a folder, or the one file, as a volume (float32)."""
    what = "a folder (of DICOM files?); a file" if path.is_dir() else "a DICOM file; a NIfTI file"
    raise DataError(f"{path} is {what} was expected.", DICOM_DO)
