"""Wait for a GPU that no other program started this way uses, and run a command on it.

    CUDA_VISIBLE_DEVICES=0,1 python on_a_free_gpu.py LOCKS COMMAND …

The command sees one GPU of those in CUDA_VISIBLE_DEVICES. It is taken by a lock on a file in the folder LOCKS, which
the operating system frees when the command ends, however that happens. A cluster's scheduler hands out GPUs itself;
this is for one machine without one.
"""

import fcntl
import os
import sys
import time
from contextlib import suppress
from pathlib import Path


def take(locks: Path, gpus: list[str]) -> str:
    """The first GPU that is free; waits until there is one. Its lock belongs to this process from now on."""
    locks.mkdir(parents=True, exist_ok=True)
    while True:
        for gpu in gpus:
            file = os.open(locks / f"{gpu}.lock", os.O_RDWR | os.O_CREAT)
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.set_inheritable(file, True)  # the command takes this process's place, and the lock with it
                return gpu
            os.close(file)
        time.sleep(1)


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = take(Path(sys.argv[1]), os.environ["CUDA_VISIBLE_DEVICES"].split(","))
    os.execvp(sys.argv[2], sys.argv[2:])
