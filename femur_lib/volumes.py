"""Volumes: numbers on a grid, and where that grid lies in the patient.

**Axes, said once.** On disk a scan keeps the axes it came with. In memory we work on a *stack*: an array indexed
(row, column, slice), with rows from superior to inferior, columns from the patient's right to the left, and slices from
anterior to posterior. In nibabel's letters the axes point to I, L and P. One slice of a stack, drawn with ``imshow``,
is therefore a coronal image as a radiologist sees it: head up, the patient's right on the left. :func:`to_stack` goes
there from any of the 48 axis orders, oblique or not, and :func:`from_stack` goes back, without changing a voxel value.

The paper's stack is 512 x 512 x 48 (Methods, Dataset), resampled in-plane to 256 x 256 for the 3D network.
"""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from nibabel.spatialimages import HeaderDataError

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import atomic_write

STACK_AXES = ("I", "L", "P")
RESAMPLE = "Resample one onto the other (nibabel.processing.resample_from_to; for a mask with order=0)."


@dataclass(frozen=True)
class Volume:
    """Voxels and where they lie in the patient.

    ``array`` has three axes; ``affine`` (4 x 4) sends voxel indices to millimetres in the scanner's frame, whose
    axes grow to the patient's right, to the front and to the head (RAS).
    """

    array: np.ndarray
    affine: np.ndarray

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Millimetres from one voxel to the next along each array axis."""
        a, b, c = nib.affines.voxel_sizes(self.affine)
        return float(a), float(b), float(c)

    @property
    def axes(self) -> tuple[str, str, str]:
        """The anatomical direction each array axis points to, such as ``("L", "I", "P")``."""
        return nib.aff2axcodes(self.affine)


def _open(path: Path) -> nib.Nifti1Pair:
    if not path.is_file():
        raise DataError(f"{path} does not exist; a NIfTI file (.nii or .nii.gz) was expected.", "Check the path.")
    try:
        image = nib.load(path)
    except (ImageFileError, HeaderDataError, EOFError, OSError, ValueError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as a NIfTI file ({error}).", "Copy the file again.") from None
    if not isinstance(image, nib.Nifti1Pair):
        raise DataError(
            f"{path} is a {type(image).__name__}; a NIfTI file (.nii or .nii.gz) was expected.", "Convert the file."
        )
    shape = image.shape
    if len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    if len(shape) != 3 or min(shape) < 1:
        raise DataError(
            f"{path} holds an array of shape {image.shape}; one volume with three axes was expected.",
            "Split a series into one file for each volume (for instance with nibabel.four_to_three).",
        )
    affine = image.affine
    if not np.all(np.isfinite(affine)) or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise DataError(
            f"{path} has an affine that cannot be inverted; one that places voxels in millimetres was expected.",
            "Convert the scan again.",
        )
    return image


def _numbers(path: Path, image: nib.Nifti1Pair) -> np.ndarray:
    try:
        array = image.get_fdata(dtype=np.float32, caching="unchanged")
    except (EOFError, OSError, TypeError, ValueError, zlib.error) as error:
        raise DataError(f"{path} has damaged voxel data ({error}).", "Copy the file again.") from None
    return array.reshape(image.shape[:3])


def read_volume(path: str | os.PathLike) -> Volume:
    """Read one scan, keeping its own axes.

    Returns:
        A :class:`Volume` with a float32 array of three axes.

    Raises:
        DataError: the file is missing, damaged, not a single volume, has no invertible affine, holds NaN or
            infinity, or is constant.
    """
    path = Path(path)
    image = _open(path)
    array = _numbers(path, image)
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        raise DataError(
            f"{path} has {bad} voxels that are NaN or infinite; finite numbers were expected.", "Export the scan again."
        )
    if array.min() == array.max():
        raise DataError(
            f"{path} has the same value, {array.flat[0]:g}, in every voxel; an image was expected.", "Check the export."
        )
    return Volume(array, image.affine)


def read_labels(path: str | os.PathLike) -> Volume:
    """Read a label image as whole numbers (uint8 where they fit, int32 otherwise), on its own axes.

    Raises:
        DataError: as :func:`read_volume`, or a value is not a whole number.
    """
    path = Path(path)
    image = _open(path)
    array = _numbers(path, image)
    rounded = np.rint(array)
    if not np.isfinite(array).all() or not np.array_equal(rounded, array):
        raise DataError(
            f"{path} has values that are not whole numbers; labels were expected.",
            "Give a label image, not probabilities.",
        )
    kind = np.uint8 if rounded.min() >= 0 and rounded.max() <= 255 else np.int32
    return Volume(rounded.astype(kind), image.affine)


def read_mask(path: str | os.PathLike, label: int = 1, ignore_other_labels: bool = False) -> Volume:
    """Read a mask: True where the file says ``label``.

    Args:
        path: a label image.
        label: the value that means femur.
        ignore_other_labels: take other values for background instead of refusing them.

    Raises:
        DataError: as :func:`read_labels`; or there is no voxel of ``label``; or there are values other than 0 and
            ``label``.
    """
    labels = read_labels(path)
    values = np.unique(labels.array)
    if label not in values:
        found = f"the values {values.tolist()}" if values.any() else "no voxel that is marked"
        raise DataError(
            f"{path} has {found}; voxels with the value {label} were expected.",
            "Name the right label, or leave this scan out.",
        )
    others = [int(v) for v in values if v not in (0, label)]
    if others and not ignore_other_labels:
        raise DataError(
            f"{path} has the values {others} besides 0 and {label}.",
            "If these are background too, import with --ignore-other-labels.",
        )
    return Volume(labels.array == label, labels.affine)


def check_same_grid(path: str | os.PathLike, volume: Volume, other_path: str | os.PathLike, other: Volume) -> None:
    """Raise a DataError unless two volumes have the same shape and (to 0.001 mm and 0.1 %) the same affine."""
    if volume.array.shape != other.array.shape:
        raise DataError(
            f"{path} has the shape {volume.array.shape}; that of {other_path}, {other.array.shape}, was expected.",
            RESAMPLE,
        )
    if not np.allclose(volume.affine, other.affine, rtol=1e-3, atol=1e-3):
        difference = float(np.abs(volume.affine - other.affine).max())
        raise DataError(
            f"{path} has an affine that differs by up to {difference:.3g} mm from that of {other_path}.", RESAMPLE
        )


def write_volume(path: str | os.PathLike, array: np.ndarray, affine: np.ndarray) -> Path:
    """Write a NIfTI file, whole or not at all.

    The header is made anew from the array and the affine, so that no text field of the scan (which may hold a name
    or a date) is carried along. Booleans become uint8.
    """
    path = Path(path)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    with atomic_write(path) as half_written:
        nib.save(image, half_written)
    return path


def to_stack(volume: Volume) -> Volume:
    """Turn and flip the axes into a stack (see the top of this file); voxel values stay as they are.

    >>> axial = Volume(np.zeros((4, 5, 6)), np.diag([-1.0, -1.0, 3.0, 1.0]))  # axes to the left, back and head
    >>> stack = to_stack(axial)
    >>> stack.array.shape, stack.axes
    ((6, 4, 5), ('I', 'L', 'P'))
    """
    turn = ornt_transform(io_orientation(volume.affine), axcodes2ornt(STACK_AXES))
    affine = volume.affine @ inv_ornt_aff(turn, volume.array.shape)
    return Volume(apply_orientation(volume.array, turn), affine)


def from_stack(array: np.ndarray, like: Volume) -> Volume:
    """The inverse of :func:`to_stack`: bring a stack-shaped array back to the axes and affine of ``like``.

    Raises:
        ValueError: ``array`` does not have the shape of ``to_stack(like)``.
    """
    turn = ornt_transform(axcodes2ornt(STACK_AXES), io_orientation(like.affine))
    back = apply_orientation(array, turn)
    if back.shape != like.array.shape:
        raise ValueError(f"a stack of shape {array.shape} does not belong to a volume of shape {like.array.shape}")
    return Volume(back, like.affine)


def volume_cm3(mask: Volume) -> float:
    """How much a mask holds, in cubic centimetres: its voxels times the affine's determinant."""
    return float(np.count_nonzero(mask.array) * abs(np.linalg.det(mask.affine[:3, :3])) / 1000)


def faces_touched(mask: Volume) -> tuple[str, ...]:
    """The faces of the image that a mask touches, such as ``("inferior", "left")``: the bone may go on beyond them."""
    ends = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))  # of the axes R, A and S
    last = nib.aff2axcodes(mask.affine, ends)
    first = nib.aff2axcodes(mask.affine, [pair[::-1] for pair in ends])
    return tuple(
        face
        for axis, names in enumerate(zip(first, last, strict=True))
        for face, k in zip(names, (0, -1), strict=True)
        if mask.array.take(k, axis).any()
    )
