"""A volume is numbers on a grid, and where that grid lies in the patient; a stack is a volume on our own axes.

**Axes, said once.** On disk a scan keeps the axes it came with. In memory we work on a *stack*: an array indexed
(row, column, slice), with rows from superior to inferior, columns from the patient's right to the left, and slices from
anterior to posterior. In nibabel's letters the axes point to I, L and P. One slice of a stack, drawn with ``imshow``,
is therefore a coronal image as a radiologist sees it: head up, the patient's right on the left. :func:`to_stack` goes
there from any of the 48 axis orders, oblique or not, and :func:`from_stack` goes back, without changing a voxel value.

The paper's stack is 512 x 512 x 48 (Methods, Dataset), resampled in-plane to 256 x 256 for the 3D network.
"""

import itertools
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from femur_lib._runtime.errors import DataError

STACK_AXES = ("I", "L", "P")
RESAMPLE = "Resample one onto the other (nibabel.processing.resample_from_to; for a mask with order=0)."
GRID_TOLERANCE = 0.05  # voxels by which the corners of one grid may lie apart


class Forms(NamedTuple):
    """Where the voxels lie by a NIfTI header's two statements (mm), each with its code; code 0 means not said."""

    sform: np.ndarray | None
    sform_code: int
    qform: np.ndarray | None
    qform_code: int


class Frame(NamedTuple):
    """Where a DICOM image is kept: its file, and which of the file's frames it is, from 1."""

    file: Path
    number: int

    def __str__(self) -> str:
        return f"{self.file}{f' (frame {self.number})' * (self.number > 1)}"


@dataclass(frozen=True)
class Volume:
    """Voxels and where they lie in the patient.

    ``array`` has three axes; ``affine`` (4 x 4) sends voxel indices to millimetres in the scanner's frame, whose
    axes grow to the patient's right, to the front and to the head (RAS). ``forms`` are those of the file that it was
    read from, so that what is made from a scan can be laid on it by any program. ``frames`` are the DICOM images that
    it was read from, one for each step along the last axis.
    """

    array: np.ndarray
    affine: np.ndarray
    forms: Forms | None = None
    frames: tuple[Frame, ...] | None = None

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Millimetres from one voxel to the next along each array axis."""
        a, b, c = nib.affines.voxel_sizes(self.affine)
        return float(a), float(b), float(c)

    @property
    def axes(self) -> tuple[str, str, str]:
        """The anatomical direction each array axis points to, such as ``("L", "I", "P")``."""
        return nib.aff2axcodes(self.affine)

    @property
    def steps_mm(self) -> np.ndarray:
        """One step along each array axis in mm: three lengths, or, of a sheared grid, 3 x 3 with a step in each column.

        The lengths alone would give wrong distances where the axes are not at right angles.
        """
        unit = self.affine[:3, :3] / np.array(self.spacing_mm)
        sheared = np.abs(unit.T @ unit - np.eye(3)).max() > 1e-3
        return self.affine[:3, :3] if sheared else np.array(self.spacing_mm)


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
    return replace(like, array=back)


def central_slices(available: int, wanted: int) -> slice:
    """The central ``wanted`` of ``available`` slices; all of them where there are fewer (paper: 48 of 60).

    >>> central_slices(60, 48)
    slice(6, 54, None)
    """
    first = max(0, (available - wanted) // 2)
    return slice(first, min(available, first + wanted))


def femur_outside(mask: np.ndarray, slices: int) -> int:
    """How many voxels of a mask, as a stack, lie outside its central ``slices``, and are not trained on."""
    return int(np.count_nonzero(mask) - np.count_nonzero(mask[..., central_slices(mask.shape[2], slices)]))


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


def check_same_grid(path: str | os.PathLike, volume: Volume, other_path: str | os.PathLike, other: Volume) -> None:
    """Raise a DataError unless two volumes have one shape and their corners lie together, to a twentieth of a voxel."""
    if volume.array.shape != other.array.shape:
        raise DataError(
            f"{path} has the shape {volume.array.shape}; that of {other_path}, {other.array.shape}, was expected.",
            RESAMPLE,
        )
    apart, apart_mm = corners_apart(volume.affine, other.affine, other.array.shape)
    if apart > GRID_TOLERANCE:
        raise DataError(
            f"{path} has an affine that differs from that of {other_path}: their grids lie up to {apart_mm:.3g} mm "
            f"({apart:.3g} voxels) apart.",
            RESAMPLE,
        )


def on_grid_of(path: str | os.PathLike, labels: Volume, other_path: str | os.PathLike, other: Volume) -> Volume:
    """Labels on the grid of another volume, whose voxels theirs coincide with in the patient.

    Their axes are turned to those of the other. Labels that were cut to their own extent (3D Slicer's segmentations
    are) are laid into its grid, with 0 around them.

    Raises:
        DataError: the voxels do not coincide, or labels lie outside the other's grid.
    """
    turn = ornt_transform(io_orientation(labels.affine), io_orientation(other.affine))
    turned = Volume(apply_orientation(labels.array, turn), labels.affine @ inv_ornt_aff(turn, labels.array.shape))
    if turned.array.shape != other.array.shape:
        turned = _laid_into(turned, other) or labels  # one of another size is told in the order of its file
    check_same_grid(path, turned, other_path, other)
    return replace(other, array=turned.array)


def _laid_into(labels: Volume, other: Volume) -> Volume | None:
    """Labels of another extent in the grid of ``other``; None if voxels do not coincide or labels lie outside."""
    first = np.rint(np.linalg.inv(other.affine) @ labels.affine[:, 3])[:3].astype(int)
    there = other.affine.copy()
    there[:3, 3] += other.affine[:3, :3] @ first
    if corners_apart(labels.affine, there, labels.array.shape)[0] > GRID_TOLERANCE:
        return None
    sizes = zip(first, labels.array.shape, other.array.shape, strict=True)
    inside = [(max(f, 0), min(f + n, total)) for f, n, total in sizes]
    target = tuple(slice(a, max(a, b)) for a, b in inside)
    source = tuple(slice(a - f, max(a, b) - f) for (a, b), f in zip(inside, first, strict=True))
    array = np.zeros(other.array.shape, labels.array.dtype)
    array[target] = labels.array[source]
    if np.count_nonzero(array) != np.count_nonzero(labels.array):
        return None
    return Volume(array, other.affine)


def corners_apart(affine: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> tuple[float, float]:
    """How far apart two affines put a grid's corners at most: in voxels along the axes of the second, and in mm."""
    corners = np.array([(*c, 1) for c in itertools.product(*((0, n - 1) for n in shape))])
    apart = (corners @ (affine - other).T)[:, :3]
    voxels = apart @ np.linalg.inv(other[:3, :3]).T
    return float(np.abs(voxels).max()), float(np.linalg.norm(apart, axis=1).max())
