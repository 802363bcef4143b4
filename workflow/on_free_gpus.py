"""Wait for so many of this machine's GPUs that no other program started this way uses, and run a command on them.

    python on_free_gpus.py LOCKS WHICH_THERE_ARE HOW_MANY_IT_TAKES COMMAND …

WHICH_THERE_ARE is like id0+id1, with the numbers or names that CUDA_VISIBLE_DEVICES takes.

A GPU is taken by a lock on a file in the folder LOCKS. The operating system frees it when this program ends, however
that happens. A cluster's scheduler hands out GPUs itself; this is for one machine without one.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from filelock import FileLock, Timeout


def take(folder: Path, there: list[str], wanted: int) -> list[FileLock]:
    """Locks on as many GPUs as wanted; waits until so many are free at once."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        taken = []
        for gpu in there:
            lock = FileLock(folder / f"{gpu}.lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            taken.append(lock)
            if len(taken) == wanted:
                return taken
        for lock in taken:
            lock.release()
        time.sleep(1)


if __name__ == "__main__":
    ids = [name.removeprefix("id") for name in sys.argv[2].split("+")]
    locks = take(Path(sys.argv[1]), ids, int(sys.argv[3]))
    numbers = ",".join(Path(lock.lock_file).stem for lock in locks)
    sys.exit(subprocess.call(sys.argv[4:], env={**os.environ, "CUDA_VISIBLE_DEVICES": numbers}))
