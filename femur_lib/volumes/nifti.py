"""NIfTI files in and out; where their voxels lie goes by rules that stand in data/README.md."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import atomic_write, foreign_format
from femur_lib.volumes.stack import Forms, Volume, corners_apart

RAS = "RLAPSI"
IN_MM = {"meter": 1000.0, "micron": 0.001}  # millimetres in a header's unit; an unknown unit is taken for millimetres
FORMS_TOLERANCE = 0.1  # voxels by which the corners of a grid may lie apart by a header's two statements


def _open(path: Path, raw: bytes) -> nib.Nifti1Pair:
    """A NIfTI file by its content, whatever its ending, with a whole volume in it."""
    if path.suffix.lower() in (".img", ".hdr"):
        raw, image = b"", _pair(path)
    else:
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
        raise DataError(
            f"{path} is not a NIfTI file, or one of another format that is read; a scan or a mask was expected.",
            "Convert the scan again.",
        )
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
        affine, sform, qform = said_affine(path, axes, why, pixdim, shape), None, None
    if not _invertible(affine):
        raise DataError(
            f"{path} has an affine that cannot be inverted; one that places voxels in millimetres was expected.",
            "Convert the scan again.",
        )
    spacing = nib.affines.voxel_sizes(affine)
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


def said_affine(path: Path, axes: str, why: str, spacing: Sequence[float], shape: tuple[int, ...]) -> np.ndarray:
    """The affine of a scan that does not say how it lies, whose ``axes`` the user says; its centre is the origin.

    Raises:
        DataError: the user does not say them, or not as three letters.
    """
    if not axes:
        raise DataError(
            f"{path} has {why}, so nobody knows which side of the patient is where, or how large a voxel is.",
            "Convert the original scan again; or, if you are sure of its axes, say them to import or predict: "
            "--axes LIP.",
        )
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
    sizes = " x ".join(f"{v:.4g}" for v in spacing)
    warnings.warn(f"{path} has {why}: axes {axes} as you say, voxels of {sizes} mm by its header.", stacklevel=2)
    return affine


def read_nifti(path: Path, raw: bytes, axes: str = "") -> Volume:
    """The numbers of a NIfTI file (float32, unchecked) and where they lie; ``raw`` is what the file holds, unpacked.

    Raises:
        DataError: it is no NIfTI file, is damaged, is not a single volume of grey levels, or does not say how it lies.
    """
    image = _open(path, raw)
    return Volume(_numbers(path, image), *_place(path, image, axes))


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
