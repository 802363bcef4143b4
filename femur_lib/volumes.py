"""Volumes: numbers on a grid, and where that grid lies in the patient.

**Axes, said once.** On disk a scan keeps the axes it came with. In memory we work on a *stack*: an array indexed
(row, column, slice), rows from superior to inferior, columns from the patient's right to the left, slices from
anterior to posterior. In nibabel's letters the axes point to I, L and P. One slice of a stack drawn with
``imshow`` is therefore a coronal image as a radiologist sees it: head up, the patient's right on the left.
:func:`to_stack` goes there from any of the 48 axis orders, oblique or not, and :func:`from_stack` goes back,
without touching a single voxel value.

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
from scipy import ndimage

from femur_lib.errors import DataError
from femur_lib.files import whole

STACK_AXES = ("I", "L", "P")


@dataclass(frozen=True)
class Volume:
    """Voxels and their place in the patient.

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


@dataclass(frozen=True)
class Grid:
    """How a network sees a scan: ``rows`` x ``columns`` after resampling, the central ``slices``, and the grey scale.

    The paper: 512 x 512 x 48 for 2D networks and 256 x 256 x 48 for 3D ones. It is silent on grey levels: "z-score"
    is our choice, "min-max" (each scan from 0 to 1) the other common one.
    """

    rows: int
    columns: int
    slices: int
    intensities: str = "z-score"


def _open(path: Path) -> nib.Nifti1Pair:
    if not path.is_file():
        raise DataError(path, "no such file", "a NIfTI file (.nii or .nii.gz)", "Check the path.")
    try:
        image = nib.load(path)
    except (ImageFileError, HeaderDataError, EOFError, OSError, ValueError, zlib.error) as error:
        raise DataError(path, f"a file that cannot be read ({error})", "a NIfTI file", "Copy it again.") from None
    if not isinstance(image, nib.Nifti1Pair):
        raise DataError(path, f"a {type(image).__name__}", "a NIfTI file (.nii or .nii.gz)", "Convert it.")
    shape = image.shape
    if len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    if len(shape) != 3 or min(shape) < 1:
        raise DataError(
            path,
            f"an array of shape {image.shape}",
            "three axes, one volume",
            "Split a series into one file per volume (for instance with nibabel.four_to_three).",
        )
    affine = image.affine
    if not np.all(np.isfinite(affine)) or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise DataError(path, "an affine that is not invertible", "a 4 x 4 affine in mm", "Convert the scan again.")
    return image


def _numbers(path: Path, image: nib.Nifti1Pair) -> np.ndarray:
    try:
        array = image.get_fdata(dtype=np.float32, caching="unchanged")
    except (EOFError, OSError, TypeError, ValueError, zlib.error) as error:
        raise DataError(path, f"damaged voxel data ({error})", "a complete file", "Copy it again.") from None
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
        raise DataError(path, f"{bad} voxels that are NaN or infinite", "finite numbers", "Export the scan again.")
    if array.min() == array.max():
        raise DataError(path, f"the same value, {array.flat[0]:g}, in every voxel", "an image", "Check the export.")
    return Volume(array, image.affine)


def read_labels(path: str | os.PathLike) -> Volume:
    """Read a label image as whole numbers (uint8 where they fit, int32 otherwise), on its own axes.

    Raises:
        DataError: as :func:`read_volume`, or a value is not a whole number.
    """
    path = Path(path)
    image = _open(path)
    array = _numbers(path, image)
    whole = np.rint(array)
    if not np.isfinite(array).all() or not np.array_equal(whole, array):
        raise DataError(path, "values that are not whole numbers", "labels", "Give a label image, not probabilities.")
    kind = np.uint8 if whole.min() >= 0 and whole.max() <= 255 else np.int32
    return Volume(whole.astype(kind), image.affine)


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
        found = "an empty mask" if not values.any() else f"the values {values.tolist()}"
        raise DataError(path, found, f"voxels with the value {label}", "Name the right label, or leave this scan out.")
    others = [int(v) for v in values if v not in (0, label)]
    if others and not ignore_other_labels:
        raise DataError(
            path,
            f"the values {others} besides 0 and {label}",
            f"only 0 and {label}",
            "If the others are background too, import with --ignore-other-labels.",
        )
    return Volume(labels.array == label, labels.affine)


def check_same_grid(path: str | os.PathLike, volume: Volume, other_path: str | os.PathLike, other: Volume) -> None:
    """Raise a DataError unless two volumes have the same shape and (to 0.001 mm and 0.1 %) the same affine."""
    if volume.array.shape != other.array.shape:
        raise DataError(
            path,
            f"shape {volume.array.shape}",
            f"that of {other_path}, {other.array.shape}",
            "Resample one onto the other (nibabel.processing.resample_from_to; for a mask with order=0).",
        )
    if not np.allclose(volume.affine, other.affine, rtol=1e-3, atol=1e-3):
        difference = float(np.abs(volume.affine - other.affine).max())
        raise DataError(
            path,
            f"an affine that differs by up to {difference:.3g} mm",
            f"that of {other_path}",
            "Resample one onto the other (nibabel.processing.resample_from_to; for a mask with order=0).",
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
    with whole(path) as half_written:
        nib.save(image, half_written)
    return path


def to_stack(volume: Volume) -> Volume:
    """Turn and flip the axes into a stack (see this module's first lines); voxel values stay as they are."""
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


def central_slices(available: int, wanted: int) -> slice:
    """The central ``wanted`` of ``available`` slices; all of them where there are fewer (paper: 48 of 60)."""
    first = max(0, (available - wanted) // 2)
    return slice(first, min(available, first + wanted))


def resample_in_plane(stack: np.ndarray, rows: int, columns: int, order: int = 3) -> np.ndarray:
    """Resample every slice to ``rows`` x ``columns`` by spline interpolation.

    The image's *extent* is kept (the outer edges of the corner pixels stay where they are), so a factor of two puts
    each new pixel's centre in the middle of its four old ones. Order 3 is the paper's bicubic spline; 0 is nearest
    neighbour, for masks; 1 is linear, for probabilities.
    """
    if stack.shape[:2] == (rows, columns):
        return stack
    factors = rows / stack.shape[0], columns / stack.shape[1]
    out = np.empty((rows, columns, stack.shape[2]), stack.dtype)
    for k in range(stack.shape[2]):
        out[..., k] = ndimage.zoom(stack[..., k], factors, order=order, mode="nearest", grid_mode=True)
    return out


def z_score(array: np.ndarray) -> np.ndarray:
    """Subtract the volume's mean and divide by its standard deviation (float32)."""
    array = _varied(array)
    return (array - array.mean()) / array.std()


def min_max(array: np.ndarray) -> np.ndarray:
    """Stretch the volume's values from 0, the smallest, to 1, the largest (float32)."""
    array = _varied(array)
    return (array - array.min()) / (array.max() - array.min())


INTENSITIES = {"z-score": z_score, "min-max": min_max}


def _varied(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array, np.float32)
    if array.min() == array.max():
        raise DataError("the slices to be seen", "one value in every voxel", "an image", "Check the scan.")
    return array


def to_grid(stack: np.ndarray, grid: Grid) -> np.ndarray:
    """What a network sees of a scan: its central slices, resampled in-plane, on one grey scale; float32."""
    stack = stack[..., central_slices(stack.shape[2], grid.slices)]
    return INTENSITIES[grid.intensities](resample_in_plane(np.asarray(stack, np.float32), grid.rows, grid.columns))


def mask_to_grid(stack: np.ndarray, grid: Grid) -> np.ndarray:
    """The mask that goes with :func:`to_grid`; uint8 0 and 1.

    Resampled linearly and cut at one half; a pixel that is covered by exactly half counts as femur. Unlike nearest
    neighbour this shifts the border nowhere.
    """
    stack = stack[..., central_slices(stack.shape[2], grid.slices)].astype(np.float32)
    return (resample_in_plane(stack, grid.rows, grid.columns, order=1) >= 0.5).astype(np.uint8)


def from_grid(probability: np.ndarray, stack_shape: tuple[int, ...]) -> np.ndarray:
    """Bring probabilities from the network's grid back to the stack they came from.

    Slices that the network did not see get probability 0. Probabilities, not masks, are interpolated, so that a
    threshold is applied on the scan's own grid (paper: scored against the original 512 x 512 masks).
    """
    rows, columns, slices = stack_shape
    out = np.zeros((rows, columns, slices), np.float32)
    out[..., central_slices(slices, probability.shape[2])] = resample_in_plane(probability, rows, columns, order=1)
    return out


def grid_spacing_mm(stack: Volume, grid: Grid) -> tuple[float, float, float]:
    """Millimetres between the voxels that a network sees of a stack, once it is resampled to the grid."""
    rows, columns, slices = stack.spacing_mm
    return rows * stack.array.shape[0] / grid.rows, columns * stack.array.shape[1] / grid.columns, slices
