"""Files that appear whole or not at all, and what they hold."""

import errno
import functools
import hashlib
import itertools
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

from femur_lib._runtime.errors import DataError

FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_WORDS = (*map(os.strerror, FULL), "disk is full")  # the last is SQLite's


@contextmanager
def room(folder: str | os.PathLike, needed: int = 0) -> Iterator[None]:
    """See to it that a block has so many bytes to write; if the disk becomes full all the same, say so in words.

    Raises:
        DataError: the folder, what is free there, and what is needed.
    """
    place = nearest_folder(folder)

    def full() -> DataError:
        at_least = f" and {size_in_words(needed)} are needed" if needed else ""
        return DataError(
            f"{folder}: the disk, or your share of it, is full; {size_in_words(shutil.disk_usage(place).free)} are "
            f"free{at_least}.",
            "Make room, and start again: what is finished is kept.",
        )

    if needed and shutil.disk_usage(place).free < needed:
        raise full()
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # libraries turn the system's error into one of their own
        if getattr(error, "errno", None) in FULL or any(words in str(error) for words in FULL_WORDS):
            raise full() from error
        if needed and shutil.disk_usage(place).free < needed:
            raise full() from error
        raise


def size_in_words(size: float) -> str:
    """Bytes as MB or GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def is_name(text: str) -> bool:
    """Whether a text names one file or folder, on any system, and is no path that may lead elsewhere."""
    return bool(text) and text != ".." and PureWindowsPath(text).name == text


def nearest_folder(path: str | os.PathLike) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    path = Path(path).absolute()
    return next(p for p in (path, *path.parents) if p.exists())


def can_write(path: str | os.PathLike) -> bool:
    """Whether a file or folder can be made or changed: the nearest folder that exists allows it."""
    return os.access(nearest_folder(path), os.W_OK)


def beside(path: str | os.PathLike, before: str = "", after: str = "") -> Path:
    """A path in the same folder, whose name has something before or after it.

    "." is called by the name that its folder has, and so is "..".

    >>> beside("runs/first", after=".partial").as_posix()
    'runs/first.partial'
    """
    path = Path(path)
    if path.name in ("", ".."):
        path = path.resolve()
    return path.parent / f"{before}{path.name}{after}"


def refuse_folder(path: Path) -> None:
    """Raise a DataError for a folder where a file is to be written."""
    if path.is_dir():
        raise DataError(f"{path} is a folder; the name of a file was expected.", "Name a file in it.")


def refuse_here(out: str | os.PathLike) -> None:
    """Raise a DataError for the working directory: a new folder that took its place would leave us in none."""
    if Path(out).exists() and Path(out).samefile(os.curdir):
        raise DataError(
            f"{out} is the folder that you are in; one that is not there yet was expected.", "Name a folder in it."
        )


HALF_WRITTEN = re.compile(r"\.\d+-.+")  # names of files that take another when they are whole


@contextmanager
def atomic_write(path: str | os.PathLike, needed: int = 0) -> Iterator[Path]:
    """A path to write to beside ``path``; it takes that name when the block ends, and vanishes if the block fails.

    The folder is made if it is not there. The ending is kept, for writers that go by it (``.nii.gz``). ``needed`` is
    how many bytes will be written, where that is known.

    Raises:
        DataError: the disk is full, or ``path`` is a folder.
    """
    path = Path(path)
    refuse_folder(path)
    half_written = beside(path, f".{os.getpid()}-")
    with room(path.parent, needed):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield half_written
            os.replace(half_written, path)
        finally:
            half_written.unlink(missing_ok=True)


@contextmanager
def new_folder(out: str | os.PathLike) -> Iterator[Path]:
    """A folder to fill beside ``out``; it takes that name when the block ends, and vanishes if the block fails.

    Raises:
        DataError: ``out`` exists already and is not an empty folder, or is the one that we are in.
    """
    out = Path(out)
    refuse_here(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists and is not empty.", "Choose another folder, or remove it yourself.")
    out.parent.mkdir(parents=True, exist_ok=True)
    names = (beside(out, after=f".partial-{number}") for number in itertools.count(os.getpid()))
    partial = next(name for name in names if not name.exists())  # what lies there is not ours
    partial.mkdir()
    try:
        with room(out.parent):
            yield partial
            if out.exists():
                out.rmdir()
            partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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
        recorded = json.loads((folder / record).read_text("utf-8")).get("files", {}).items()
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
    "a MINC or HDF5 file": (b"\x89HDF", b"CDF", ".mnc"),
    "a Philips PAR/REC file": (".par", ".rec"),
    "an AFNI file": (".head", ".brik"),
    "a DICOM file": (".dcm", ".ima"),
    "a picture": (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"GIF8", b"BM"),
    "an archive": (b"PK\3\4", b"BZh", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ"),
    "a NumPy array": (b"\x93NUMPY",),
    "a PDF": (b"%PDF",),
}
DICOM_DO = "Keep each DICOM series in a folder of its own, and give the folder."
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
            f"{path} is a folder; a file was expected.",
            "Name the file.",
        )
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; a file was expected.", "Check the path.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be opened ({error.strerror}).", "See to it that you may read it.") from None
    if not raw:
        raise DataError(f"{path} is empty.", "Copy the file again.")
    return unpack(path, raw) if raw.startswith(b"\x1f\x8b") else raw


def unpack(path: Path, raw: bytes) -> bytes:
    """What bytes of ``path`` hold that are packed with gzip, verified.

    Raises:
        DataError: they are damaged, or something follows them.
    """
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
