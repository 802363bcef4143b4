"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
