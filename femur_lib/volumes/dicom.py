"""DICOM in: a series of MR images as one volume. DICOM out: a mask as DICOM SEG, which belongs to that series.

pydicom reads and unpacks the files, and highdicom writes the SEG. How images make a volume is told here, because others
either pass over what is wrong (SimpleITK and dcm2niix make 29 slices of 30 a volume of 29) or refuse it without saying
why (highdicom). The rules stand in data/README.md, DICOM.

Only the fields named in this file are read at all. Of the patient these are what a SEG must repeat, and only to repeat
it: no message and no other file has them.
"""

import re
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from femur_lib import __version__
from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import atomic_write
from femur_lib.volumes.stack import GRID_TOLERANCE, Frame, Volume

MR = {f"1.2.840.10008.5.1.4.1.1.4{more}" for more in ("", ".1", ".4")}  # plain, enhanced, and converted to enhanced
DICOMDIR = "1.2.840.10008.1.3.10"  # a table of contents
GROUPS = ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"]  # of the frames of an enhanced file
# What a series is, and how its images lie. In an enhanced file a field stands in a group of each frame's own.
IN_GROUP = {
    "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),
    "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),
    "RescaleSlope": ("PixelValueTransformationSequence", "RescaleSlope"),
    "RescaleIntercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
}
# In these the volumes differ that one series may hold.
VARIES = {
    "ImageType": ("MRImageFrameTypeSequence", "FrameType"),
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "InversionTime": ("MRModifierSequence", "InversionTimes"),
    "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "TemporalPositionIdentifier": ("FrameContentSequence", "TemporalPositionIndex"),
    "DiffusionBValue": ("MRDiffusionSequence", "DiffusionBValue"),
}
PIXELS = [
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames",
]  # fmt: skip
HEADER = ["SOPClassUID", "SeriesInstanceUID", "SeriesNumber", *GROUPS, *IN_GROUP, *VARIES, *PIXELS]
# For a SEG: what it refers to, what else it takes over from the series, and what ties it to its study and its patient.
NEEDED = ["SOPInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"]
SERIES = [
    "Modality", "PositionReferenceIndicator", "SliceThickness", "SpacingBetweenSlices", "InstanceNumber", "Laterality",
    "ImageLaterality",
]  # fmt: skip
REPEATED = [
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "PatientName", "PatientID", "PatientBirthDate",
    "PatientSex",
]  # fmt: skip
MOST_NAMED, MOST_LISTED = 5, 12
SAME_PLACE = 0.01  # mm

_quiet = threading.RLock()


class Remark(UserWarning):
    """What we say about a series; pydicom's own warnings, which may quote what a field holds, are not shown."""


@dataclass(frozen=True)
class Image:
    """One image: a file, or a frame of one. A place that it does not say, or not in numbers, is None."""

    frame: Frame
    header: Any

    def get(self, keyword: str) -> Any:
        """A field of this image, from its frame's group if there is one; None if it is absent, empty or broken."""
        sequence, name = (IN_GROUP | VARIES)[keyword]
        try:
            shared, per_frame = (self.header.get(g) or [] for g in GROUPS)
            for item in [*per_frame[self.frame.number - 1 : self.frame.number], *shared[:1]]:
                if item.get(sequence) and item[sequence][0].get(name) is not None:
                    return item[sequence][0].get(name)
            return self.header.get(keyword)
        except Exception:  # a value that pydicom cannot make out
            return None

    def numbers(self, keyword: str, count: int) -> np.ndarray | None:
        """So many finite numbers, or None."""
        try:
            found = np.array(self.get(keyword), float).reshape(count)
        except (TypeError, ValueError):
            return None
        return found if np.isfinite(found).all() else None

    @property
    def kind(self) -> tuple[str, ...]:
        """The words by which a scanner says what an image is, such as ORIGINAL, PRIMARY, WATER."""
        value = self.get("ImageType")
        return tuple(re.sub("[^A-Z0-9_ ]", "", str(v)) for v in ([value] if isinstance(value, str) else value or []))


@dataclass(frozen=True)
class Part:
    """Images of one series, size and direction, which may be a volume."""

    name: str
    images: list[Image]

    @property
    def why_not(self) -> str:
        """Why it cannot be a scan, in a few words, or ""."""
        from pydicom.uid import UID_dictionary

        header = self.images[0].header
        kind = _plain(header, "SOPClassUID")
        if kind not in MR:
            return (
                f"not MR but {UID_dictionary[kind][0].removesuffix(' Storage')}" if kind in UID_dictionary else "not MR"
            )
        if _plain(header, "SamplesPerPixel") != 1 or _plain(header, "PhotometricInterpretation") != "MONOCHROME2":
            return "not in plain grey levels"
        if any(i.numbers("ImageOrientationPatient", 6) is None for i in self.images):
            return "without a direction in the patient"
        if any(i.numbers("PixelSpacing", 2) is None for i in self.images):
            return "without a pixel spacing"
        if len(self.images) == 1:
            return "a single slice"
        if len(set(_places(self.images))) == 1 and None not in _places(self.images):
            return "all at one position"
        return ""

    @property
    def localizer(self) -> bool:
        """Whether the scanner calls it one: images to plan others with, which are taken only if asked for."""
        return "LOCALIZER" in self.images[0].kind

    def __str__(self) -> str:
        first = self.images[0]
        words = [f"{len(self.images)} image{'s' * (len(self.images) > 1)}"]
        if _plain(first.header, "SOPClassUID") in MR:
            words.append(" x ".join(str(_whole(first.header, size, 0)) for size in ("Rows", "Columns")))
            direction = first.numbers("ImageOrientationPatient", 6)
            if direction is not None:
                normal = np.cross(direction[:3], direction[3:])
                words.append(("sagittal", "coronal", "axial")[int(np.argmax(np.abs(normal)))])
            echo = first.numbers("EchoTime", 1)
            words += [f"TE {echo[0]:g} ms"] if echo is not None else []
            words += [" ".join(first.kind[2:])] * (len(first.kind) > 2)
        return f"{self.name} ({', '.join([*words, *[self.why_not] * bool(self.why_not)])})"


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins so (132 bytes) is DICOM, with its preamble or without one."""
    return head[128:132] == b"DICM" or head[:2] in (b"\2\0", b"\x08\0", b"\0\x08")


def holds_dicom(folder: Path) -> bool:
    """Whether one of a folder's first files is DICOM."""
    return any(is_dicom(_head(file)) for file in _files(folder)[:MOST_NAMED])


def read_dicom(path: Path, series: str = "") -> Volume:
    """The one MR series of a folder, or of an enhanced file, as a volume (float32) on axes (column, row, slice).

    Args:
        path: a file, or a folder that holds the files at any depth, under any names.
        series: its number, where there are several ("4", or "4b" where a series falls into several volumes).

    Raises:
        DataError: there is no such series, or it is no volume: a slice is missing, has no position, differs in size, or
            lies where another one does.
    """
    with _pydicom(path):
        part = _chosen(path, _parts(path), series)
        images = _ordered(path, part.images)
        first, n = images[0], len(images)
        places = np.array([i.numbers("ImagePositionPatient", 3) for i in images])
        direction = np.array(first.get("ImageOrientationPatient"), float).reshape(2, 3)
        spacing = np.array(first.get("PixelSpacing"), float)  # from row to row, from column to column
        affine = np.eye(4)
        affine[:3, :2] = (direction * spacing[::-1, None]).T
        affine[:3, 2] = (places[-1] - places[0]) / (n - 1)
        affine[:3, 3] = places[0]
        right_angles = np.abs(direction @ direction.T - np.eye(2)).max() < 0.01
        if not right_angles or spacing.min() <= 0 or abs(np.linalg.det(affine)) < 1e-9:
            raise DataError(f"{path} has a direction or a pixel spacing that cannot be used.", "Export it again.")
        index = np.linalg.solve(affine[:3, :3], (places - places[0]).T)
        if np.abs(index - np.arange(n) * np.array([[0], [0], [1]])).max() > GRID_TOLERANCE:
            raise DataError(
                f"{path} holds slices that are not evenly spaced along one line; a stack was expected.",
                "Keep one acquisition in a folder, or export it again.",
            )
        array = np.stack([a.T for a in _values(images)], axis=-1)
    # DICOM's patient axes grow to the left and to the back; ours to the right and to the front.
    volume = Volume(array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, frames=tuple(i.frame for i in images))
    if volume.steps_mm.ndim == 2:
        warnings.warn(f"{path} is a tilted stack: each slice is shifted against the one before it.", stacklevel=2)
    return volume


def write_dicom_seg(path: Path, labels: Volume, names: Mapping[int, tuple[str, str]]) -> Path:
    """Write a label volume as DICOM SEG of the series that it belongs to, whole or not at all.

    Each label becomes a binary segment (SNOMED CT: anatomical structure, femur, with its side) with a frame for every
    slice, so that a label without a voxel is a segment that marks nothing. Of the patient and the study it repeats what
    ties it to them (``REPEATED``).

    Args:
        path: the file.
        labels: whole numbers, or booleans, on the grid of a volume from :func:`read_dicom`.
        names: for each label its name and its side: "R", "L", or "" if unknown, where the series may say it.

    Raises:
        DataError: the series lacks what a SEG must have.
    """
    frames = labels.frames
    assert frames is not None, "a SEG belongs to a DICOM series"
    with _pydicom(path):
        import highdicom
        import pydicom
        from pydicom.sr.codedict import codes

        sources = []
        for file in dict.fromkeys(frame.file for frame in frames):
            source = pydicom.dcmread(
                file, stop_before_pixels=True, force=True, specific_tags=HEADER + NEEDED + SERIES + REPEATED
            )
            for keyword in (*REPEATED, "ReferringPhysicianName"):  # these may be empty but not absent
                if keyword not in source:
                    setattr(source, keyword, None)
            if source.get("SliceThickness") is None:
                source.SliceThickness = f"{labels.spacing_mm[2]:.6g}"
            for keyword in NEEDED:
                if not source.get(keyword):
                    raise DataError(f"{path} cannot be written: {file} has no {keyword}.", "Use the NIfTI mask.")
            sources.append(source)
        if len(sources) not in (1, len(frames)):
            raise DataError(f"{path} cannot be written: the series has several enhanced files.", "Use the NIfTI mask.")
        # The frames of an enhanced file lie in an order of their own, and some may belong to another volume.
        where = [frame.number - 1 for frame in frames] if len(sources) == 1 else range(len(frames))
        count = _whole(sources[0], "NumberOfFrames", 1) if len(sources) == 1 else len(sources)
        planes = np.zeros((count, labels.array.shape[1], labels.array.shape[0], len(names)), np.uint8)
        for n, label in enumerate(names):
            planes[where, ..., n] = np.moveaxis(labels.array == label, -1, 0).transpose(0, 2, 1)
        algorithm = highdicom.AlgorithmIdentificationSequence(
            "femur_lib", codes.DCM.ArtificialIntelligence, __version__
        )
        said = str(sources[0].get("ImageLaterality") or sources[0].get("Laterality") or "")
        segments = []
        for n, (name, side) in enumerate(names.values(), start=1):
            segment = highdicom.seg.SegmentDescription(
                n, name, codes.SCT.AnatomicalStructure, codes.SCT.Femur, "AUTOMATIC", algorithm
            )
            laterality = {"R": codes.SCT.Right, "L": codes.SCT.Left}.get(side or said)
            if laterality is not None:
                modifier = highdicom.sr.CodedConcept.from_code(laterality)
                segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
            segments.append(segment)
        try:
            segmentation = highdicom.seg.Segmentation(
                sources, planes, "BINARY", segments, highdicom.UID(), 1000 + _whole(sources[0], "SeriesNumber", 0),
                highdicom.UID(), 1, "femur_lib", "femur_lib", __version__, "none", omit_empty_frames=False,
                content_label="FEMUR",
            )  # fmt: skip
        except Exception as error:  # what a series lacks is found out by many kinds of error
            raise DataError(
                f"{path} cannot be written: {frames[0].file.parent} lacks what a DICOM SEG must have "
                f"({type(error).__name__}).",
                "Use the NIfTI mask.",
            ) from None
        with atomic_write(path) as half_written:
            segmentation.save_as(half_written)
    return path


@contextmanager
def _pydicom(path: Path) -> Iterator[None]:
    """With pydicom and highdicom at hand, and of all warnings only ours."""
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise DataError(
            f"{path} is DICOM, which takes highdicom and python-gdcm; highdicom is not installed.",
            "Install both: pip install highdicom python-gdcm.",
        ) from None
    with _quiet, warnings.catch_warnings():  # one at a time, because threads share what is caught
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", Remark)
        yield


def _files(folder: Path) -> list[Path]:
    """All files of a folder and of the folders in it; hidden ones do not count."""
    found = (f for f in folder.rglob("*") if not any(p.startswith(".") for p in f.relative_to(folder).parts))
    return sorted(f for f in found if f.is_file())


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(132)


def _header(file: Path) -> Any:
    """The fields of a file that this module knows, without its pixels; None if it is no DICOM, or only an index."""
    import pydicom

    marked = _head(file)[128:] == b"DICM"
    if not marked and not is_dicom(_head(file)):
        return None
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=HEADER)
    except Exception:  # damaged files raise anything
        header = None
    if header is None and marked:
        raise DataError(f"{file} is a damaged DICOM file: its header cannot be read.", "Copy or export it again.")
    return header if marked or _plain(header, "SOPClassUID") else None


def _plain(header: Any, keyword: str) -> Any:
    """A field, or None where it is absent, empty or broken."""
    try:
        value = header.get(keyword)
    except Exception:  # a value that pydicom cannot make out
        return None
    return None if value == "" else value


def _whole(header: Any, keyword: str, otherwise: int) -> int:
    """A field that is a whole number."""
    try:
        return int(_plain(header, keyword))
    except (TypeError, ValueError):
        return otherwise


def _parts(path: Path) -> list[Part]:
    """What a folder or a file holds, by series, and within them by size, direction and what else parts volumes."""
    kinds: list[list[Image]] = []
    others = []
    for file in _files(path) if path.is_dir() else [path]:
        header = _header(file)
        if header is None:
            others.append(file)
        elif _plain(header.file_meta, "MediaStorageSOPClassUID") != DICOMDIR:
            frames = _whole(header, "NumberOfFrames", 1) if _plain(header, "SOPClassUID") in MR else 1
            for number in range(1, min(frames, file.stat().st_size) + 1):
                image = Image(Frame(file, number), header)
                fitting = next((images for images in kinds if _alike(images[0], image)), None)
                if fitting is None:
                    kinds.append([image])
                else:
                    fitting.append(image)
    if not kinds:
        what = "holds no DICOM file" if path.is_dir() else "is no DICOM image"
        raise DataError(f"{path} {what}; one MR series was expected.", "Check the path; name NIfTI files one by one.")
    if others:
        warnings.warn(f"{path} also holds what is not DICOM, and is not used: {_named(others)}.", Remark, stacklevel=4)
    by_number: dict[int, list[list[Image]]] = {}
    for images in (part for kind in kinds for part in _split(kind)):
        by_number.setdefault(_whole(images[0].header, "SeriesNumber", 0), []).append(images)
    parts = []
    for number, same in sorted(by_number.items()):
        same.sort(key=lambda images: (str(_plain(images[0].header, "SeriesInstanceUID")), images[0].frame))
        parts += [Part(f"{number}{_letter(k) if len(same) > 1 else ''}", images) for k, images in enumerate(same)]
    return parts


def _letter(k: int) -> str:
    return (chr(ord("a") + k // 26 - 1) if k >= 26 else "") + chr(ord("a") + k % 26)


def _alike(one: Image, other: Image) -> bool:
    """Whether two images may lie in one volume: same series, size and direction."""
    if any(
        _plain(one.header, field) != _plain(other.header, field)
        for field in ("SeriesInstanceUID", "SOPClassUID", "Rows", "Columns", "SamplesPerPixel")
    ):
        return False
    for field, count in (("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
        a, b = one.numbers(field, count), other.numbers(field, count)
        if (a is None) != (b is None) or (a is not None and b is not None and np.abs(a - b).max() > 1e-3):
            return False
    return True


def _places(images: Iterable[Image]) -> list[tuple[float, ...] | None]:
    """Where images lie, to a hundredth of a millimetre."""
    found = (i.numbers("ImagePositionPatient", 3) for i in images)
    return [None if p is None else tuple(np.round(p / SAME_PLACE).tolist()) for p in found]


def _split(images: list[Image]) -> list[list[Image]]:
    """Images of which several lie at one place, by echo, contrast or time; all of them if that does not part them."""
    places = _places(images)
    if len(set(places)) in (1, len(places)):
        return [images]
    parts: dict[str, list[Image]] = {}
    for image in images:
        parts.setdefault(str([image.kind, *[str(image.get(field)) for field in VARIES]]), []).append(image)
    return list(parts.values())


def _chosen(path: Path, parts: Sequence[Part], series: str) -> Part:
    """The one part that can be a scan, or the one of that number; what is not used is named."""
    listed = _listed(parts)
    if series:
        asked = [p for p in parts if re.fullmatch(f"{re.escape(series)}[a-z]*", p.name)]
        fit = [p for p in asked if not p.why_not]
        if len(fit) == 1:
            return fit[0]
        what = "several volumes" if fit else "no MR volume" if asked else "nothing"
        raise DataError(f"{path} holds {what} of the series {series}; it holds: {listed}.", "Choose another: --series.")
    fit = [p for p in parts if not p.why_not and not p.localizer]
    if len(fit) == 1:
        rest = [p for p in parts if p is not fit[0]]
        if rest:
            warnings.warn(f"{path}: series {fit[0]} is taken; not used: {_listed(rest)}.", Remark, stacklevel=3)
        return fit[0]
    if fit:
        raise DataError(
            f"{path} holds {len(fit)} volumes; one was expected: {listed}.",
            f"Choose one by the number of its series, as in --series {fit[0].name}.",
        )
    slices = any(p.why_not == "a single slice" for p in parts)
    raise DataError(
        f"{path} holds no MR volume, only {listed}; a series of slices was expected.",
        "Give the folder that holds the whole series." if slices else "Export the MR series from the archive.",
    )


def _listed(parts: Sequence[Part]) -> str:
    """Parts in words, those that can be scans first."""
    found = [f"series {part}" for part in sorted(parts, key=lambda p: bool(p.why_not))]
    return "; ".join([*found[:MOST_LISTED], *[f"and {len(found) - MOST_LISTED} more"] * (len(found) > MOST_LISTED)])


def _ordered(path: Path, images: list[Image]) -> list[Image]:
    """Images from one end of the stack to the other, each place once."""
    for image in images:
        if image.numbers("ImagePositionPatient", 3) is None:
            raise DataError(
                f"{image.frame} has no position in the patient (ImagePositionPatient); each slice must have one.",
                "Export the series again.",
            )
    direction = images[0].get("ImageOrientationPatient")
    normal = np.cross(np.array(direction[:3], float), np.array(direction[3:], float))
    by_place: dict[object, list[Image]] = {}
    for image, place in zip(images, _places(images), strict=True):
        by_place.setdefault(place, []).append(image)
    for first, *again in by_place.values():
        for other in again:
            one, two = _values([first, other])
            if not np.array_equal(one, two):
                raise DataError(
                    f"{path} has two different images at one place, {first.frame} and {other.frame}; one was expected.",
                    "Keep one volume (one echo, contrast and time) in a folder.",
                )
            warnings.warn(f"{other.frame} is the same image as {first.frame}; it is not used.", Remark, stacklevel=3)
    found = sorted(
        (first for first, *_ in by_place.values()), key=lambda i: float(i.numbers("ImagePositionPatient", 3) @ normal)
    )
    along = np.array([i.numbers("ImagePositionPatient", 3) @ normal for i in found])
    steps = np.diff(along)
    usual = float(np.median(steps))
    missing = np.rint(steps / usual) - 1 if usual > 0 else np.zeros(len(steps))
    if missing.any() and np.abs(steps / usual - np.rint(steps / usual)).max() < GRID_TOLERANCE:
        at, n = int(np.argmax(missing)), int(missing.sum())
        raise DataError(
            f"{path} is incomplete: between {found[at].frame} and {found[at + 1].frame} lie {steps[at]:.4g} mm instead "
            f"of {usual:.4g}; {n} slice{'s' * (n > 1)} of the series {'are' if n > 1 else 'is'} missing.",
            "Copy or export the whole series again.",
        )
    return found


def _values(images: Sequence[Image]) -> list[np.ndarray]:
    """The grey levels of images (rows, columns), each with its own slope and intercept."""
    import pydicom

    fields = [*PIXELS, "PixelData", "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable"]
    stored: dict[Path, np.ndarray] = {}
    found = []
    for image in images:
        file = image.frame.file
        if file not in stored:
            try:
                data = pydicom.dcmread(file, force=True, specific_tags=fields)
                stored[file] = data.pixel_array.reshape(-1, data.Rows, data.Columns)
            except Exception:  # damaged files, and decoders, raise anything
                syntax = getattr(image.header.file_meta.get("TransferSyntaxUID"), "name", "an unknown way")
                raise DataError(
                    f"{file} has pixels that cannot be unpacked (stored as {syntax}); they are incomplete or damaged, "
                    "or a decoder is missing.",
                    "Export it again, or install the decoders: pip install python-gdcm.",
                ) from None
        slope, intercept = image.numbers("RescaleSlope", 1), image.numbers("RescaleIntercept", 1)
        values = stored[file][image.frame.number - 1].astype(np.float32)
        found.append(values * (1 if slope is None else slope[0]) + (0 if intercept is None else intercept[0]))
    return [np.asarray(values, np.float32) for values in found]


def _named(files: Sequence[Path]) -> str:
    more = len(files) - MOST_NAMED
    return ", ".join([*map(str, files[:MOST_NAMED]), *[f"and {more} more"] * (more > 0)])
