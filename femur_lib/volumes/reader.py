"""The one reader: a scan or a mask from a file of any format, by rules that stand in data/README.md.

What a file is goes by what it holds. Each format has a file beside this one, which gives numbers and where they lie;
what is asked of the numbers is asked here, of all formats alike.
"""

import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import read_unpacked
from femur_lib.volumes.dicom import holds_dicom, is_dicom, read_dicom
from femur_lib.volumes.nifti import read_nifti
from femur_lib.volumes.other_formats import Segment, other_format, read_other
from femur_lib.volumes.stack import Volume

ENDING = re.compile(r"\.(nii(\.gz)?|(seg\.)?nrrd|nhdr|mha|mhd|mgh(\.gz)?|mgz)$", re.IGNORECASE)
SPACING_MM = 0.01, 50.0  # of MR scans; voxels beyond these were measured in another unit than the header says
IGNORE_DO = "Choose with --label; if the others are background too, import with --ignore-other-labels."
WHOLE = 1e-3  # labels that passed through an interpolation are whole numbers to within this

Label = int | str  # a value; or, where a file names what its labels mean, such a name


def scan_name(path: str | os.PathLike) -> str:
    """A file's name without ``.nii.gz`` or another format's ending, in any case; of a DICOM folder its own name."""
    path = Path(path)
    return ENDING.sub("", path.name or path.resolve().name)


def scan_files(folder: str | os.PathLike) -> list[Path]:
    """Scans and masks of a folder by their names, in order: files, and folders of DICOM files.

    Hidden ones (``._hip.nii.gz``, by macOS) are left aside.

    Raises:
        DataError: it is not a folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; one that holds scans was expected.", "Check the path.")
    return [
        f
        for f in sorted(folder.iterdir())
        if not f.name.startswith(".") and (holds_dicom(f) if f.is_dir() else ENDING.search(f.name))
    ]


def by_name(files: Iterable[str | os.PathLike], ending: str = "") -> dict[str, Path]:
    """Files by :func:`scan_name`, without an ending that matches the regular expression.

    Raises:
        DataError: two files have one name.
    """
    found: dict[str, Path] = {}
    for file in map(Path, files):
        name = re.sub(f"({ending})$", "", scan_name(file)) or scan_name(file)
        if name in found:
            raise DataError(
                f"{file} and {found[name]} share a name; each scan needs its own.",
                "Rename one of them, or move one away.",
            )
        found[name] = file
    return found


def _read(path: Path, axes: str, series: str = "") -> tuple[Volume, list[Segment]]:
    """Numbers of a file (float32), where they lie, and named labels if it has any, whatever its format."""
    raw = b"" if path.is_dir() else read_unpacked(path)
    segments: list[Segment] = []
    if path.is_dir() or is_dicom(raw):
        volume = read_dicom(path, series)
    elif other_format(raw):
        volume, segments = read_other(path, raw, axes)
    else:
        volume = read_nifti(path, raw, axes)
    if min(volume.spacing_mm) < SPACING_MM[0] or max(volume.spacing_mm) > SPACING_MM[1]:
        raise DataError(
            f"{path} has voxels of {' x '.join(f'{v:.3g}' for v in volume.spacing_mm)} mm by its header, which no MR "
            "scan has.",
            "Correct the header's unit or its affine.",
        )
    return volume, segments


def read_volume(path: str | os.PathLike, axes: str = "", series: str = "") -> Volume:
    """Read one scan, keeping its own axes.

    Args:
        path: a file of any format, or a folder that holds a DICOM series.
        axes: where the array's axes point to, such as "LIP", for a file whose header does not say it.
        series: which DICOM series, where there are several (:func:`femur_lib.volumes.dicom.read_dicom`).

    Returns:
        A :class:`Volume` with a float32 array of three axes.

    Raises:
        DataError: the file is missing, damaged, not a single volume, does not say how it lies, holds NaN or infinity,
            or is constant.
    """
    path = Path(path)
    volume, segments = _read(path, axes, series)
    if segments:
        raise DataError(f"{path} is a segmentation ({_list(segments)}); an image was expected.", "Give the scan.")
    array = volume.array
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        raise DataError(
            f"{path} has {bad} voxels that are NaN or infinite; finite numbers were expected.", "Export the scan again."
        )
    low, high = array.min(), array.max()
    if low == high:
        raise DataError(
            f"{path} has the same value, {low:g}, in every voxel; an image was expected.", "Check the export."
        )
    for padding, sign in ((low, 1), (high, -1)):
        count = np.count_nonzero(array == padding)
        if count <= array.size / 1000:  # as of nearly every scan's brightest value, so that this costs little
            continue
        rest = sign * array[array != padding]
        if 0 < np.ptp(rest) < rest.min() - sign * padding:
            warnings.warn(
                f"{path} has {count} voxels of {padding:g}, far from all others: padding, perhaps, which would change "
                "how a network sees the scan.",
                stacklevel=2,
            )
    return volume


def read_labels(path: str | os.PathLike, axes: str = "") -> Volume:
    """Read a label image as whole numbers (uint8 where they fit, int32 otherwise), on its own axes.

    Raises:
        DataError: as :func:`read_volume`, or a value is further than 0.001 from a whole number; or it is a segmentation
            whose segments overlap (:func:`read_mask` reads one of them).
    """
    labels, segments = _read_labels(Path(path), axes)
    if labels.array.ndim > 3:
        raise DataError(
            f"{path} holds segments that may overlap ({_list(segments)}); one label a voxel was expected.",
            "Export them as a label map.",
        )
    return labels


def _read_labels(path: Path, axes: str) -> tuple[Volume, list[Segment]]:
    volume, segments = _read(path, axes)
    rounded = np.rint(volume.array)
    largest = float(np.abs(volume.array).max())  # NaN where a value is
    if not largest < 2**31 or np.abs(rounded - volume.array).max() > WHOLE:
        raise DataError(
            f"{path} has values that are not whole numbers of up to nine digits; labels were expected.",
            "Give a label image, not probabilities.",
        )
    kind = np.uint8 if rounded.min() >= 0 and rounded.max() <= 255 else np.int32
    return replace(volume, array=rounded.astype(kind)), segments


def read_mask(
    path: str | os.PathLike,
    label: Label = 1,
    ignore_other_labels: bool = False,
    axes: str = "",
    may_be_empty: bool = False,
) -> Volume:
    """Read a mask: True where the file says ``label``.

    Args:
        path: a label image.
        label: the value that means femur; or, of a segmentation by 3D Slicer, the segment's name.
        ignore_other_labels: take other values for background instead of refusing them.
        axes: as of :func:`read_volume`.
        may_be_empty: accept a mask without a voxel of ``label``.

    Raises:
        DataError: as :func:`read_labels`; or there is no voxel of ``label``; or there are values other than 0 and
            ``label``.
    """
    path = Path(path)
    labels, segments = _read_labels(path, axes)
    if segments:
        return _one_segment(path, labels, segments, label, ignore_other_labels, may_be_empty)
    if isinstance(label, str):
        raise DataError(f"{path} has no names for its labels; {label} was asked for.", "Give the label's number.")
    values = np.unique(labels.array)
    if label not in values and not may_be_empty:
        found = f"the values {values.tolist()}" if values.any() else "no voxel that is marked"
        raise DataError(
            f"{path} has {found}; voxels with the value {label} were expected.",
            "Name the right label, or leave this scan out.",
        )
    if len(values) == 1 and values[0] == label:
        raise DataError(
            f"{path} has the value {label} in every voxel; background was expected around the femur.",
            "Check the export.",
        )
    others = [int(v) for v in values if v not in (0, label)]
    if others and not ignore_other_labels:
        raise DataError(f"{path} has the values {others} besides 0 and {label}.", IGNORE_DO)
    return replace(labels, array=labels.array == label)


def _one_segment(
    path: Path, labels: Volume, segments: list[Segment], label: Label, ignore_others: bool, may_be_empty: bool
) -> Volume:
    layers = labels.array if labels.array.ndim == 4 else labels.array[..., None]
    meant = [s for s in segments if label in (s.name, s.value)]
    if len(meant) != 1:
        what = f"more than one with the label {label}" if meant else f"none is called {label}, or has that value"
        raise DataError(
            f"{path} has the segments {_list(segments)}; {what}.", "Give the name of one as --label, or its number."
        )
    masks = {s: layers[..., s.layer] == s.value for s in segments}
    chosen = masks.pop(meant[0])
    if not chosen.any() and not may_be_empty:
        raise DataError(f"{path} has no voxel in its segment {meant[0].name}.", "Leave this scan out.")
    others = [s for s, mask in masks.items() if mask.any()]
    if others and not ignore_others:
        raise DataError(f"{path} has the segments {_list(others)} besides {_list(meant)}.", IGNORE_DO)
    return replace(labels, array=chosen)


def _list(segments: list[Segment]) -> str:
    return ", ".join(f"{s.name} ({s.value})" for s in segments)
