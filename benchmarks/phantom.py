"""How long synthetic hips take, and how much memory they need: one line for each size.

    python benchmarks/phantom.py [--subjects 24]

The seconds for a subject are those of a whole cohort, from starting the processes to writing the files, divided by the
number of subjects. Memory is the largest sum over this process and its workers, sampled twenty times a second.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import joblib
import psutil

from femur_lib.phantom.cohort import SIZES, make_cohort


class PeakMemory(threading.Thread):
    """Watches the resident memory of this process and its children; ``peak`` is in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.stopped = 0, threading.Event()

    def run(self) -> None:
        """Sample until stopped."""
        me = psutil.Process()
        while not self.stopped.wait(0.05):
            total = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, total)


def main() -> None:
    """Make a cohort of each size and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=24)
    a = parser.parse_args()
    print(f"{joblib.cpu_count()} cores, {a.subjects} subjects of each size, one worker for each core")
    print(f"{'size':10}{'voxels':>16}{'seconds':>9}{'a subject':>11}{'peak GB':>9}{'MB on disk':>12}")
    for size, (pixels, slices) in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            memory = PeakMemory()
            memory.start()
            start = time.perf_counter()
            make_cohort(Path(folder) / "hips", a.subjects, size)
            seconds = time.perf_counter() - start
            memory.stopped.set()
            memory.join()
            on_disk = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file()) / 1e6
        shape = f"{pixels}x{pixels}x{slices}"
        print(f"{size:10}{shape:>16}{seconds:9.1f}{seconds / a.subjects:11.2f}{memory.peak / 1e9:9.2f}{on_disk:12.0f}")


if __name__ == "__main__":
    main()
