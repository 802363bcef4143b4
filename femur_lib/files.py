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

from femur_lib.errors import DataError


@contextmanager
def whole(path: str | os.PathLike) -> Iterator[Path]:
    """A path to write to beside ``path``; it takes that name when the block ends, and vanishes if the block fails.

    The folder is made if it is not there. The ending stays, for writers that go by it (``.nii.gz``).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    half_written = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield half_written
        os.replace(half_written, path)
    finally:
        half_written.unlink(missing_ok=True)


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of some of a folder's files. A record in that folder keeps it as ``files``, for :func:`damage`."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def damage(folder: Path, record: str) -> str:
    """What is wrong with a record, a JSON file in a folder, or with the files whose checksums it keeps; "" if nothing.

    A record that keeps none vouches for itself alone.
    """
    if not (folder / record).is_file():
        return f"no {record}"
    try:
        recorded = json.loads((folder / record).read_text()).get("files", {}).items()
    except (ValueError, AttributeError):
        return f"a damaged {record}"
    for name, expected in recorded:
        if not (folder / name).is_file():
            return f"no {name}"
        if checksums(folder, [name])[name] != expected:
            return f"a {name} that was changed since it was written"
    return ""


def write_csv(path: str | os.PathLike, table, **how) -> None:
    """Write a pandas table without its index, whole or not at all; ``how``: more for its ``to_csv``."""
    with whole(path) as half_written:
        table.to_csv(half_written, index=False, **how)


def unpacked_hash(path: str | os.PathLike) -> str:
    """SHA-256 of what a file holds; a .gz is unpacked first, for it also holds the time at which it was packed.

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
        raise DataError(path, f"damaged data ({error})", "a complete file", "Copy it again.") from None
