"""One process at a time in one folder."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from filelock import FileLock, Timeout

from femur_lib._runtime.files import beside


@contextmanager
def exclusive_lock(folder: str | os.PathLike, progress: Callable[[str], None]) -> Iterator[None]:
    """Run a block while no other process is in such a block for the same folder; wait for one that is.

    The lock is the operating system's, so it ends with its process, however that ends. On a cluster the file system
    must support locks (NFS does from version 4 on).
    """
    file = beside(folder, ".", ".lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    file.touch()  # where that cannot be done, FileLock would take it for another's lock, and wait
    try:
        lock.acquire(blocking=False)
    except Timeout:
        progress(f"waiting for another process that works on {folder}")
        lock.acquire()
    try:
        yield
    finally:
        with suppress(PermissionError):  # Windows removes no open file; the empty file stays there
            file.unlink()  # while the lock is held: whoever waits notices, and makes a new file
        lock.release()
