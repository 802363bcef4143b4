"""NIfTI files in and out, by one reader whose rules stand in data/README.md (Where the voxels lie)."""

import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import atomic_write, foreign_format, read_unpacked
from femur_lib.volumes.stack import Forms, Volume, corners_apart

RAS = "RLAPSI"
ENDING = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
IN_MM = {"meter": 1000.0, "micron": 0.001}  # millimetres in a header's unit; an unknown unit is taken for millimetres
FORMS_TOLERANCE = 0.1  # voxels by which the corners of a grid may lie apart by a header's two statements
SPACING_MM = 0.01, 50.0  # of MR scans; voxels beyond these were measured in another unit than the header says
WHOLE = 1e-3  # labels that passed through an interpolation are whole numbers to within this


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
    except (
        ImageFileError,
        HeaderDataError,
        WrapStructError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ) as error:
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
        apart, _ = corners_apart(qform, sform, shape)
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
    largest = float(np.abs(array).max())  # NaN where a value is
    if not largest < 2**31 or np.abs(rounded - array).max() > WHOLE:
        raise DataError(
            f"{path} has values that are not whole numbers of up to nine digits; labels were expected.",
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
        DataError: as :func:`read_labels`; or there is no voxel of ``label``, or no other; or there are values other
            than 0 and ``label``.
    """
    labels = read_labels(path, axes)
    values = np.unique(labels.array)
    if label not in values:
        found = f"the values {values.tolist()}" if values.any() else "no voxel that is marked"
        raise DataError(
            f"{path} has {found}; voxels with the value {label} were expected.",
            "Name the right label, or leave this scan out.",
        )
    if len(values) == 1:
        raise DataError(
            f"{path} has the value {label} in every voxel; background was expected around the femur.",
            "Check the export.",
        )
    others = [int(v) for v in values if v not in (0, label)]
    if others and not ignore_other_labels:
        raise DataError(
            f"{path} has the values {others} besides 0 and {label}.",
            "If these are background too, import with --ignore-other-labels.",
        )
    return replace(labels, array=labels.array == label)


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
