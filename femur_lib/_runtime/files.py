"""Files that appear whole or not at all, and what they hold."""

import functools
import gzip
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
    raw = path.read_bytes()
    try:
        return hashlib.sha256(gzip.decompress(raw) if path.suffix == ".gz" else raw).hexdigest()
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}).", "Copy the file again.") from None
