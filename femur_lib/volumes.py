"""Volumes: numbers on a grid, and where that grid lies in the patient.

**Axes, said once.** On disk a scan keeps the axes it came with. In memory we work on a *stack*: an array indexed
(row, column, slice), with rows from superior to inferior, columns from the patient's right to the left, and slices from
anterior to posterior. In nibabel's letters the axes point to I, L and P. One slice of a stack, drawn with ``imshow``,
is therefore a coronal image as a radiologist sees it: head up, the patient's right on the left. :func:`to_stack` goes
there from any of the 48 axis orders, oblique or not, and :func:`from_stack` goes back, without changing a voxel value.

The paper's stack is 512 x 512 x 48 (Methods, Dataset), resampled in-plane to 256 x 256 for the 3D network.
"""

import itertools
import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

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
from femur_lib._runtime.files import atomic_write, foreign_format, read_unpacked

STACK_AXES, RAS = ("I", "L", "P"), "RLAPSI"
ENDING = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
RESAMPLE = "Resample one onto the other (nibabel.processing.resample_from_to; for a mask with order=0)."
IN_MM = {"meter": 1000.0, "micron": 0.001}  # millimetres in a header's unit; an unknown unit is taken for millimetres
FORMS_TOLERANCE, GRID_TOLERANCE = 0.1, 0.05  # voxels by which the corners of one grid may lie apart
SPACING_MM = 0.01, 50.0  # of MR scans; voxels beyond these were measured in another unit than the header says
WHOLE = 1e-3  # labels that passed through an interpolation are whole numbers to within this


class Forms(NamedTuple):
    """Where the voxels lie by a NIfTI header's two statements (mm), each with its code; code 0 means not said."""

    sform: np.ndarray | None
    sform_code: int
    qform: np.ndarray | None
    qform_code: int


@dataclass(frozen=True)
class Volume:
    """Voxels and where they lie in the patient.

    ``array`` has three axes; ``affine`` (4 x 4) sends voxel indices to millimetres in the scanner's frame, whose
    axes grow to the patient's right, to the front and to the head (RAS). ``forms`` are those of the file that it was
    read from, so that what is made from a scan can be laid on it by any program.
    """

    array: np.ndarray
    affine: np.ndarray
    forms: Forms | None = None

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


def scan_name(path: str | os.PathLike) -> str:
    """A file's name without ``.nii`` or ``.nii.gz``, in small letters or capitals."""
    return ENDING.sub("", Path(path).name)


def nifti_files(folder: str | os.PathLike) -> list[Path]:
    """The NIfTI files of a folder by their names, in order; hidden ones (``._hip.nii.gz``, by macOS) are not scans.

    Raises:
        DataError: it is not a folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; one that holds NIfTI files was expected.", "Check the path.")
    return [f for f in sorted(folder.iterdir()) if ENDING.search(f.name) and not f.name.startswith(".")]


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


def _open(path: Path) -> nib.Nifti1Pair:
    """A NIfTI file by its content, whatever its ending, with a whole volume in it."""
    if path.suffix.lower() in (".img", ".hdr") and path.is_file():
        raw, image = b"", _pair(path)
    else:
        raw = read_unpacked(path)
        image = _parsed(path, raw)
    kind = image.get_data_dtype()
    if kind.fields or kind.kind == "c":
        what = "is a colour image (RGB)" if kind.fields else "has complex values"
        raise DataError(f"{path} {what}; one grey level a voxel was expected.", "Export the magnitude or grey image.")
    shape = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1:
        what = f" ({np.prod(shape[3:])} volumes)" if len(shape) > 3 and min(shape) > 0 else ""
        raise DataError(
            f"{path} holds an array of shape {image.shape}{what}; one volume with three axes was expected.",
            "Split a series into one file for each volume (for instance with nibabel.four_to_three).",
        )
    if raw:
        end = image.dataobj.offset + kind.itemsize * int(np.prod(shape))  # type: ignore[attr-defined]
        if len(raw) < end:
            raise DataError(f"{path} is incomplete: {len(raw)} of {end} bytes are there.", "Copy the file again.")
        if raw[end:].strip(b"\0"):
            raise DataError(
                f"{path} goes on for {len(raw) - end} bytes after the last voxel; nothing was expected to follow.",
                "Find out what was appended, and export the scan again.",
            )
    return image


def _parsed(path: Path, raw: bytes) -> nib.Nifti1Pair:
    sizes = {int.from_bytes(raw[:4], order) for order in ("little", "big")}
    kind = nib.Nifti1Image if 348 in sizes else nib.Nifti2Image if 540 in sizes else None
    foreign = foreign_format(path, raw)
    if foreign:
        raise DataError(f"{path} is {foreign[0]}; a NIfTI file (.nii or .nii.gz) was expected.", foreign[1])
    if kind is None:
        raise DataError(f"{path} is not a NIfTI file; one (.nii or .nii.gz) was expected.", "Convert the scan again.")
    try:
        return kind.from_bytes(raw)
    except (ImageFileError, HeaderDataError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} has a header that cannot be read ({_one_line(error)}).", "Copy the file again."
        ) from None


def _pair(path: Path) -> nib.Nifti1Pair:
    try:
        image = nib.load(path)
    except (ImageFileError, HeaderDataError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read as half of a NIfTI pair ({_one_line(error)}).",
            "Keep .hdr and .img in one folder, or convert them to one .nii file.",
        ) from None
    if not isinstance(image, nib.Nifti1Pair):
        raise DataError(
            f"{path} is an Analyze image, which does not say how the scan lies; a NIfTI file was expected.",
            "Convert the original scan to NIfTI.",
        )
    return image


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _numbers(path: Path, image: nib.Nifti1Pair) -> np.ndarray:
    try:
        array = image.get_fdata(dtype=np.float32, caching="unchanged")
    except HeaderDataError as error:  # a slope or an intercept that is not a number
        raise DataError(
            f"{path} has a scaling that cannot be used ({_one_line(error)}).", "Export the scan again."
        ) from None
    except (EOFError, OSError, TypeError, ValueError) as error:
        raise DataError(f"{path} has damaged voxel data ({_one_line(error)}).", "Copy the file again.") from None
    return array.reshape(image.shape[:3])


def _place(path: Path, image: nib.Nifti1Pair, axes: str) -> tuple[np.ndarray, Forms | None]:
    """Where a file's voxels lie (data/README.md, Where the voxels lie), and what its header says about it.

    Raises:
        DataError: the affine cannot be inverted; the voxels have an impossible size; or the header says no orientation
            and ``axes`` is empty.
    """
    header, shape = image.header, image.shape[:3]
    try:
        unit = header.get_xyzt_units()[0]
    except KeyError:
        unit = "unknown"
    to_mm = np.diag([*[IN_MM.get(unit, 1.0)] * 3, 1.0])
    try:
        (sform, sform_code), (qform, qform_code) = header.get_sform(coded=True), header.get_qform(coded=True)
    except (HeaderDataError, ValueError) as error:
        raise DataError(
            f"{path} has a qform that cannot be used ({_one_line(error)}).", "Convert the scan again."
        ) from None
    sform, qform = (None if form is None else to_mm @ form for form in (sform, qform))
    if sform is not None and qform is not None and not _invertible(qform):
        warnings.warn(f"{path} has a qform that cannot be inverted; the sform is taken.", stacklevel=2)
        qform, qform_code = None, 0
    affine = sform if sform is not None else qform
    pixdim = np.array(header.get_zooms()[:3], float) * to_mm[0, 0]
    if affine is None or np.array_equal(affine, np.eye(4)):
        why = "an identity affine" if affine is not None else "no orientation (sform and qform both have the code 0)"
        if not axes:
            raise DataError(
                f"{path} has {why}, so nobody knows which side of the patient is where, or how large a voxel is.",
                "Convert the original scan again; or, if you are sure of its axes, say them to import or predict: "
                "--axes LIP.",
            )
        affine, sform, qform = _said(axes, pixdim, shape), None, None
        sizes = " x ".join(f"{v:.4g}" for v in pixdim)
        warnings.warn(f"{path} has {why}: axes {axes} as you say, voxels of {sizes} mm by its pixdim.", stacklevel=2)
    if not _invertible(affine):
        raise DataError(
            f"{path} has an affine that cannot be inverted; one that places voxels in millimetres was expected.",
            "Convert the scan again.",
        )
    spacing = nib.affines.voxel_sizes(affine)
    if spacing.min() < SPACING_MM[0] or spacing.max() > SPACING_MM[1]:
        raise DataError(
            f"{path} has voxels of {' x '.join(f'{v:.3g}' for v in spacing)} mm by its header (unit: {unit}), "
            "which no MR scan has.",
            "Correct the header's unit or its affine.",
        )
    if sform is None and qform is None:
        return affine, None
    if sform is not None and qform is not None:
        apart, _ = _corners_apart(qform, sform, shape)
        if apart > FORMS_TOLERANCE:
            warnings.warn(
                f"{path} has a qform and an sform that differ by up to {apart:.3g} voxels; the sform is taken.",
                stacklevel=2,
            )
    elif pixdim.all() and np.isfinite(pixdim).all() and not _agrees(pixdim, affine, spacing):
        said, taken = (" x ".join(f"{v:.4g}" for v in values) for values in (pixdim, spacing))
        warnings.warn(
            f"{path} has a pixdim of {said} mm, which contradicts its affine; the affine's {taken} mm are taken.",
            stacklevel=2,
        )
    return affine, Forms(sform, int(sform_code), qform, int(qform_code))


def _invertible(affine: np.ndarray) -> bool:
    return bool(np.all(np.isfinite(affine)) and abs(np.linalg.det(affine[:3, :3])) > 1e-9)


def _agrees(pixdim: np.ndarray, affine: np.ndarray, spacing: np.ndarray) -> bool:
    """Whether sizes of voxels agree with an affine, in which a shear may have made their edges longer."""
    volume = abs(np.linalg.det(affine[:3, :3]))
    return np.allclose(pixdim, spacing, rtol=0.01) or (
        np.prod(spacing) > 1.001 * volume and np.isclose(np.prod(pixdim), volume, rtol=0.01)
    )


def _said(axes: str, spacing: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The affine of a scan whose axes point to three letters, its centre at the origin."""
    letters = [RAS.find(letter) for letter in axes]
    if sorted(number // 2 for number in letters) != [0, 1, 2]:
        raise DataError(
            f"{axes} does not name three axes.", "Give one of R and L, one of A and P, one of S and I: LIP."
        )
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, number in enumerate(letters):
        affine[number // 2, axis] = spacing[axis] * (-1 if number % 2 else 1)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _corners_apart(affine: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> tuple[float, float]:
    """How far apart two affines put a grid's corners at most: in voxels along the axes of the second, and in mm."""
    corners = np.array([(*c, 1) for c in itertools.product(*((0, n - 1) for n in shape))])
    apart = (corners @ (affine - other).T)[:, :3]
    voxels = apart @ np.linalg.inv(other[:3, :3]).T
    return float(np.abs(voxels).max()), float(np.linalg.norm(apart, axis=1).max())


def read_volume(path: str | os.PathLike, axes: str = "") -> Volume:
    """Read one scan, keeping its own axes.

    Args:
        path: a NIfTI file.
        axes: where the array's axes point to, such as "LIP", for a file whose header does not say it.

    Returns:
        A :class:`Volume` with a float32 array of three axes.

    Raises:
        DataError: the file is missing, damaged, not a single volume, does not say how it lies, holds NaN or infinity,
            or is constant.
    """
    path = Path(path)
    image = _open(path)
    array = _numbers(path, image)
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
    return Volume(array, *_place(path, image, axes))


def read_labels(path: str | os.PathLike, axes: str = "") -> Volume:
    """Read a label image as whole numbers (uint8 where they fit, int32 otherwise), on its own axes.

    Raises:
        DataError: as :func:`read_volume`, or a value is further than 0.001 from a whole number.
    """
    path = Path(path)
    image = _open(path)
    array = _numbers(path, image)
    rounded = np.rint(array)
    if not np.isfinite(array).all() or np.abs(rounded - array).max() > WHOLE:
        raise DataError(
            f"{path} has values that are not whole numbers; labels were expected.",
            "Give a label image, not probabilities.",
        )
    kind = np.uint8 if rounded.min() >= 0 and rounded.max() <= 255 else np.int32
    return Volume(rounded.astype(kind), *_place(path, image, axes))


def read_mask(path: str | os.PathLike, label: int = 1, ignore_other_labels: bool = False, axes: str = "") -> Volume:
    """Read a mask: True where the file says ``label``.

    Args:
        path: a label image.
        label: the value that means femur.
        ignore_other_labels: take other values for background instead of refusing them.
        axes: as of :func:`read_volume`.

    Raises:
        DataError: as :func:`read_labels`; or there is no voxel of ``label``; or there are values other than 0 and
            ``label``.
    """
    labels = read_labels(path, axes)
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
    return replace(labels, array=labels.array == label)


def check_same_grid(path: str | os.PathLike, volume: Volume, other_path: str | os.PathLike, other: Volume) -> None:
    """Raise a DataError unless two volumes have one shape and their corners lie together, to a twentieth of a voxel."""
    if volume.array.shape != other.array.shape:
        raise DataError(
            f"{path} has the shape {volume.array.shape}; that of {other_path}, {other.array.shape}, was expected.",
            RESAMPLE,
        )
    apart, apart_mm = _corners_apart(volume.affine, other.affine, other.array.shape)
    if apart > GRID_TOLERANCE:
        raise DataError(
            f"{path} has an affine that differs from that of {other_path}: their grids lie up to {apart_mm:.3g} mm "
            f"({apart:.3g} voxels) apart.",
            RESAMPLE,
        )


def on_grid_of(path: str | os.PathLike, volume: Volume, other_path: str | os.PathLike, other: Volume) -> Volume:
    """A volume with its axes turned to those of another one, whose grid it shares in the patient.

    Raises:
        DataError: the grids differ in more than the order and the direction of the axes.
    """
    turn = ornt_transform(io_orientation(volume.affine), io_orientation(other.affine))
    turned = Volume(apply_orientation(volume.array, turn), volume.affine @ inv_ornt_aff(turn, volume.array.shape))
    if turned.array.shape != other.array.shape:
        turned = volume  # of another size, which is told in the order of the file
    check_same_grid(path, turned, other_path, other)
    return Volume(turned.array, other.affine, other.forms)


def write_volume(path: str | os.PathLike, array: np.ndarray, affine: np.ndarray, forms: Forms | None = None) -> Path:
    """Write a NIfTI file in millimetres, whole or not at all.

    The header is made anew, so that no text field of the scan (which may hold a name or a date) is carried along.
    Booleans become uint8.

    Args:
        path: the file.
        array: three axes.
        affine: where its voxels lie.
        forms: sform and qform with their codes, where the scan's own are to be kept; otherwise both are the affine, or,
            since a qform cannot say a shear, the sform alone.
    """
    path = Path(path)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if forms is None:
        forms = Forms(affine, 1, affine, int(Volume(array, affine).steps_mm.ndim == 1))
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(forms.qform if forms.qform_code else affine, code=forms.qform_code)
    image.set_sform(forms.sform if forms.sform_code else affine, code=forms.sform_code)
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
    return Volume(back, like.affine, like.forms)


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
