"""NRRD and MetaImage by SimpleITK, FreeSurfer's MGH by nibabel: formats besides NIfTI and DICOM, by the same rules.

Segmentations by 3D Slicer (``.seg.nrrd``) say in their headers what their labels mean, and may hold several layers,
because their segments may overlap.
"""

import re
import zlib
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import unpack
from femur_lib.volumes.nifti import said_affine
from femur_lib.volumes.stack import Volume

FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK's axes grow to the left and the back, nibabel's to the right and front
IN_MM = {"mm": 1.0, "m": 1000.0, "um": 0.001, "micron": 0.001}  # NRRD's units
COPY_DO, EXPORT_DO = "Copy the file again.", "Export the scan again."


class Segment(NamedTuple):
    """A label with a name: where the voxels of ``layer`` have ``value``."""

    name: str
    value: int
    layer: int


def other_format(raw: bytes) -> str:
    """What a file is that begins so: "NRRD", "MetaImage" or "MGH"; otherwise ""."""
    if raw.startswith(b"NRRD0"):
        return "NRRD"
    if re.search(rb"^ElementDataFile\s*=", raw[:8192], re.MULTILINE):
        return "MetaImage"
    return "MGH" if raw.startswith(b"\0\0\0\1\0\0") else ""


def read_other(path: Path, raw: bytes, axes: str = "") -> tuple[Volume, list[Segment]]:
    """The numbers of a file (float32, unchecked), where they lie, and its named labels, of which most files have none.

    A segmentation with several layers has four axes, the last for the layers.

    Raises:
        DataError: the file is damaged, is not a single volume of grey levels, or does not say how it lies; or it takes
            SimpleITK, which is not installed.
    """
    if other_format(raw) == "MGH":
        return _read_mgh(path, raw, axes), []
    try:
        import SimpleITK as sitk
    except ImportError:
        raise DataError(
            f"{path} is an {other_format(raw)} file, and reading it takes SimpleITK, which is not installed.",
            'Install it: pip install "femur-lib[formats]".',
        ) from None
    header = _checked_header(path, raw)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if other_format(raw) == "NRRD" else "MetaImageIO")  # whatever the file's name
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelIDValue()):
            raise DataError(f"{path} has complex values; one grey level a voxel was expected.", "Export the magnitude.")
        voxel = sitk.Image([1] * reader.GetDimension(), reader.GetPixelIDValue(), reader.GetNumberOfComponents())
        _check_size(path, header, int(np.prod(reader.GetSize())) * sitk.GetArrayViewFromImage(voxel).nbytes)
        image = reader.Execute()
    except RuntimeError as error:
        why = re.sub(r"^ITK ERROR: \w+\(\w+\): ", "", str(error).strip().splitlines()[-1].strip())
        raise DataError(f"{path} cannot be read ({why}).", COPY_DO) from None
    about = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    array = sitk.GetArrayFromImage(image)
    series = image.GetNumberOfComponentsPerPixel() > 1
    array = np.moveaxis(array, -1, 0).T if series else array.T
    named = _segments(about)
    if image.GetDimension() != 3 or (series and not named):
        colour = " (colour)" if "color" in about.get("NRRD_kinds[pixel]", "") else ""
        raise DataError(
            f"{path} holds an array of shape {array.shape}{colour}; one volume of grey levels was expected.",
            "Split a series into one file for each volume.",
        )
    affine = _affine(image, header)
    if not _says_orientation(header, about) or np.array_equal(affine, FROM_LPS):
        affine = said_affine(path, axes, "no orientation in its header", image.GetSpacing(), array.shape[:3])
    return Volume(array.astype(np.float32), affine), _with_unnamed(named, array)


class _Header(NamedTuple):
    """A header's text, what follows it in the file, and whether that is packed ("gzip", "zlib", "" or "?")."""

    text: str
    data: bytes
    packing: str


def _checked_header(path: Path, raw: bytes) -> _Header:
    """The header of an NRRD or MetaImage file, with its data from wherever they lie."""
    with path.open("rb") as opened:
        if opened.read(2) == b"\x1f\x8b":
            raise DataError(f"{path} is packed with gzip as a whole; a plain file was expected.", "Unpack it first.")
    if other_format(raw) == "NRRD":
        end = re.search(rb"\r?\n\r?\n", raw)
        text = raw[: end.start() if end else len(raw)].decode("latin-1")
        packing = _field(text, "encoding", ":").lower()
        packing = {"raw": "", "gzip": "gzip", "gz": "gzip"}.get(packing, "?")
        if "byte skip" in text or "line skip" in text:
            packing = "?"
        file = _field(text, "data ?file", ":")
    else:
        end = re.search(rb"^ElementDataFile\s*=[^\n]*\n?", raw, re.MULTILINE)
        text = raw[: end.end() if end else len(raw)].decode("latin-1")
        binary = _field(text, "BinaryData", "=").lower() != "false" and "HeaderSize" not in text
        packing = "?" if not binary else "zlib" if _field(text, "CompressedData", "=").lower() == "true" else ""
        file = _field(text, "ElementDataFile", "=")
    if not file or file == "LOCAL":
        return _Header(text, raw[end.end() if end else len(raw) :], packing)
    if file.split()[0] == "LIST" or "%" in file:
        return _Header(text, b"", "?")
    beside = path.parent / file
    if not beside.is_file():
        raise DataError(f"{path} has its voxels in {file}, which does not lie beside it.", "Copy both files.")
    return _Header(text, beside.read_bytes(), packing)


def _field(text: str, name: str, mark: str) -> str:
    found = re.search(rf"^{name}\s*{mark}(?!=)[ \t]*(.*?)\s*$", text, re.MULTILINE)
    return found[1] if found else ""


def _check_size(path: Path, header: _Header, expected: int) -> None:
    """Refuse data that are cut off, damaged or followed by something, which the libraries read without a word."""
    if header.packing == "?":
        return
    data = header.data
    if header.packing == "gzip":
        data = unpack(path, data) if data.startswith(b"\x1f\x8b") else b""
    elif header.packing == "zlib":
        stream = zlib.decompressobj()
        try:
            data = stream.decompress(data)
        except zlib.error as error:
            raise DataError(f"{path} is damaged: it holds damaged data ({error}).", COPY_DO) from None
        if not stream.eof:
            raise DataError(f"{path} is incomplete: its packed data end too early.", COPY_DO)
        data += stream.unused_data
    if len(data) < expected:
        raise DataError(f"{path} is incomplete: {len(data)} of {expected} bytes of voxels are there.", COPY_DO)
    if data[expected:].strip(b"\0\r\n"):
        raise DataError(
            f"{path} goes on for {len(data) - expected} bytes after the last voxel; nothing was expected to follow.",
            "Find out what was appended, and export the scan again.",
        )


def _affine(image, header: _Header) -> np.ndarray:
    """Voxels to millimetres (RAS) of a SimpleITK image."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    units = set(re.findall(r'"([^"]*)"', _field(header.text, "space units", ":")))
    affine[:3] *= IN_MM.get(units.pop(), 1.0) if len(units) == 1 else 1.0
    return FROM_LPS @ affine


def _says_orientation(header: _Header, about: dict[str, str]) -> bool:
    if header.text.startswith("NRRD"):  # ITK turns the three spaces that name the patient's sides into this one
        return about.get("NRRD_space") == "left-posterior-superior" and "space directions" in header.text
    return bool(re.search(r"^(TransformMatrix|Rotation|Orientation)\s*=", header.text, re.MULTILINE))


def _segments(about: dict[str, str]) -> list[Segment]:
    """The segments that a header by 3D Slicer names, in its order."""
    numbers = sorted(int(found[1]) for key in about if (found := re.fullmatch(r"Segment(\d+)_(?:ID|Name)", key)))
    numbers = sorted(set(numbers))
    old = not any(f"Segment{n}_Layer" in about for n in numbers)  # then each segment has a layer of its own
    return [
        Segment(
            about.get(f"Segment{n}_Name") or about[f"Segment{n}_ID"],
            int(about.get(f"Segment{n}_LabelValue") or 1),
            int(about.get(f"Segment{n}_Layer") or (n if old and f"Segment{n}_LabelValue" not in about else 0)),
        )
        for n in numbers
    ]


def _with_unnamed(named: list[Segment], array: np.ndarray) -> list[Segment]:
    """Segments, and after them the values of voxels that no segment names."""
    if not named:
        return []
    layers = array[..., None] if array.ndim == 3 else array
    known = {(s.value, s.layer) for s in named}
    found = [(int(v), k) for k in range(layers.shape[3]) for v in np.unique(layers[..., k]) if v]
    return named + [Segment(f"value {v}", v, k) for v, k in found if (v, k) not in known]


def _read_mgh(path: Path, raw: bytes, axes: str) -> Volume:
    try:
        image = nib.MGHImage.from_bytes(raw)
        header = image.header
        expected = header.get_data_offset() + header.get_data_dtype().itemsize * int(np.prod(image.shape))
        if len(raw) < expected:
            raise DataError(f"{path} is incomplete: {len(raw)} of {expected} bytes are there.", COPY_DO)
        array = image.get_fdata(dtype=np.float32)
    except (ImageFileError, HeaderDataError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as an MGH file ({' '.join(str(error).split())}).", COPY_DO) from None
    if image.ndim != 3:
        raise DataError(
            f"{path} holds an array of shape {image.shape}; one volume with three axes was expected.",
            "Split a series into one file for each volume.",
        )
    affine = image.affine
    if not any(raw[28:30]) or np.array_equal(affine, np.eye(4)):  # goodRASFlag, which nibabel sets where it is not set
        affine = said_affine(path, axes, "no orientation in its header", image.header.get_zooms(), image.shape)
    return Volume(array, affine)
