"""Files that appear whole or not at all, and what they hold."""

import functools
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from femur_lib._runtime.errors import DataError


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """A path to write to beside ``path``; it takes that name when the block ends, and vanishes if the block fails.

    The folder is made if it is not there. The ending is kept, for writers that go by it (``.nii.gz``).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    half_written = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield half_written
        os.replace(half_written, path)
    finally:
        half_written.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, content: object) -> None:
    """Write JSON, whole or not at all."""
    with atomic_write(path) as half_written:
        half_written.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: str | os.PathLike, do: str) -> dict:
    """What a JSON file of names and values holds.

    Raises:
        DataError: it is damaged, or holds something else. ``do`` is what the error says is to be done.
    """
    try:
        found = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError(f"{path} is damaged; JSON with names and values was expected.", do)
    return found


def read_csv(path: str | os.PathLike, numbers: Iterable[str], do: str):
    """A pandas table of at least one row, in which the named columns hold numbers (or nothing).

    Raises:
        DataError: it is missing, or is not such a table. ``do`` is what the error says is to be done.
    """
    import pandas as pd

    numbers, path = list(numbers), Path(path)
    if not path.is_file():
        raise DataError(f"{path} is missing; a table with the columns {', '.join(numbers)} was expected.", do)
    try:
        table = pd.read_csv(path)
        wrong = [c for c in numbers if not pd.api.types.is_numeric_dtype(table.get(c, pd.Series(dtype=object)))]
    except ValueError as error:  # pandas' own errors are of this kind, and so is text that is not UTF-8
        raise DataError(f"{path} cannot be read as a table ({' '.join(str(error).split())}).", do) from None
    if wrong or table.empty:
        what = "has no rows" if table.empty else f"has no numbers in the column {wrong[0]}"
        raise DataError(f"{path} {what}; a table with the columns {', '.join(numbers)} was expected.", do)
    return table


def write_csv(path: str | os.PathLike, table, **options) -> None:
    """Write a pandas table without its index, whole or not at all; ``options`` go to its ``to_csv``."""
    with atomic_write(path) as half_written:
        table.to_csv(half_written, index=False, **options)


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of some of a folder's files. A record in that folder keeps them as ``files``, for :func:`find_damage`."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def find_damage(folder: Path, record: str) -> str:
    """Verify the checksums that a record keeps: what is wrong with it or its files, in a few words, or "".

    ``record`` is the name of a JSON file in ``folder``. If it keeps no checksums, only the record itself is checked.
    """
    if not (folder / record).is_file():
        return f"{record} is missing"
    try:
        recorded = json.loads((folder / record).read_text()).get("files", {}).items()
    except (ValueError, AttributeError):
        return f"{record} is damaged"
    for name, expected in recorded:
        if not (folder / name).is_file():
            return f"{name} is missing"
        if checksums(folder, [name])[name] != expected:
            return f"{name} was changed after it was written"
    return ""


# How files of other formats begin; those that have no such mark are known by their names' endings.
MAGIC = {
    "an NRRD file": (b"NRRD", ".nrrd", ".nhdr"),
    "a MetaImage file": (b"ObjectType", b"NDims", ".mha", ".mhd"),
    "a MINC or HDF5 file": (b"\x89HDF", b"CDF", ".mnc"),
    "a FreeSurfer file (MGH)": (b"\0\0\0\1\0\0", ".mgh", ".mgz"),
    "a Philips PAR/REC file": (".par", ".rec"),
    "an AFNI file": (".head", ".brik"),
    "a DICOM file": (".dcm", ".ima"),
    "a picture": (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"GIF8", b"BM"),
    "an archive": (b"PK\3\4", b"BZh", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ"),
    "a NumPy array": (b"\x93NUMPY",),
    "a PDF": (b"%PDF",),
}
DICOM_DO = "Convert the series to NIfTI, for instance with dcm2niix."
CONVERT_DO = "Convert it to NIfTI (.nii.gz), for instance in 3D Slicer, or with nibabel or SimpleITK."


def foreign_format(path: Path, raw: bytes) -> tuple[str, str] | None:
    """What a file that is not NIfTI is, by its first bytes rather than its name, and what to do; None if unknown."""
    if raw[128:132] == b"DICM":
        return "a DICOM file", DICOM_DO
    if int.from_bytes(raw[:4], "little") in (348, 540) or int.from_bytes(raw[:4], "big") in (348, 540):
        if raw[344:347] == b"ni1" or raw[4:7] == b"ni2":
            return "the header of a NIfTI pair (.hdr and .img)", "Give the pair as .hdr and .img, or as one .nii file."
        if raw[344:347] != b"n+1" and raw[4:7] != b"n+2" and len(raw) >= 348:
            return "an Analyze header, which does not say how the scan lies", "Convert the original scan to NIfTI."
        return None
    ending = path.name.lower().removesuffix(".gz")
    for what, marks in MAGIC.items():
        if any(raw.startswith(m) if isinstance(m, bytes) else ending.endswith(m) for m in marks):
            return what, DICOM_DO if "DICOM" in what else CONVERT_DO
    return None


def read_unpacked(path: Path) -> bytes:
    """What a file holds, read to its end; what is packed with gzip, whatever its name, is unpacked and verified.

    Raises:
        DataError: it cannot be opened, is empty, or is damaged.
    """
    if path.is_dir():
        raise DataError(
            f"{path} is a folder; a NIfTI file (.nii or .nii.gz) was expected.",
            "Name the file; if the folder holds DICOM files, convert them first, for instance with dcm2niix.",
        )
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; a file was expected.", "Check the path.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be opened ({error.strerror}).", "See to it that you may read it.") from None
    if not raw:
        raise DataError(f"{path} is empty.", "Copy the file again.")
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    parts = []
    while raw.startswith(b"\x1f\x8b"):
        member = zlib.decompressobj(wbits=31)
        try:
            parts.append(member.decompress(raw))
        except zlib.error as error:
            what = "fails its gzip checksum" if "check" in str(error) else f"holds damaged gzip data: {error}"
            raise DataError(f"{path} is damaged: it {what}.", "Copy the file again.") from None
        if not member.eof:
            raise DataError(f"{path} is incomplete: its gzip data end too early.", "Copy the file again.")
        raw = member.unused_data
    if raw.strip(b"\0"):
        raise DataError(
            f"{path} goes on for {len(raw)} bytes after the end of its gzip data; nothing was expected to follow.",
            "Find out what was appended, and export the scan again.",
        )
    return b"".join(parts)


def unpacked_hash(path: str | os.PathLike) -> str:
    """SHA-256 of what a file holds; a .gz is unpacked first, because it also holds the time at which it was packed.

    Raises:
        DataError: the file is damaged.
    """
    path = Path(path)
    state = path.stat()
    return _unpacked_hash(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=4096)
def _unpacked_hash(path: Path, changed: int, size: int) -> str:
    return hashlib.sha256(read_unpacked(path)).hexdigest()
