"""A training that is killed, or whose disk is full, at random moments ends as one that was left alone, to the last bit.

Slow: ``make slow``. Every start imports TensorFlow again. With MEASURE_FAULTS=1 there are more such moments, and the
rows of results/faults/faults.csv are written.
"""

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from femur_lib.runs import load_run

KILLS, FILLED = (20, 10) if os.environ.get("MEASURE_FAULTS") else (6, 4)
SCRIPT = """
import sys
from femur_lib.cohort import read_cohort
from femur_lib.config import load_profile
from femur_lib.training import train
print("ready", flush=True)
train(read_cohort(sys.argv[1]), sys.argv[2], "3d-f2-l2", load_profile(sys.argv[3]), 0,
      progress=lambda line: print(line, flush=True))
"""
PROFILE = {
    "profile": "tiny", "grid_3d": (24, 24, 8), "epochs": 120, "first_epochs": 120, "folds": 2, "learning_rate": 1e-3,
    "deterministic": True,
}  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture
def start(tiny_cohort, tmp_path):
    """What starts a training in a process of its own; what it says of errors goes to tmp_path/said."""
    profile = tmp_path / "tiny.yaml"
    profile.write_text(json.dumps(PROFILE))

    def begin(run: Path) -> subprocess.Popen:
        command = [sys.executable, "-c", SCRIPT, *map(str, (tiny_cohort.root, run, profile))]
        with (tmp_path / "said").open("w") as said:
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)

    return begin


@pytest.fixture
def alone(start, tmp_path) -> Path:
    """A training that was left alone."""
    start(tmp_path / "alone").communicate()
    return tmp_path / "alone"


def at_random_moments(start, run: Path, times: int, chance: random.Random) -> Iterator[tuple]:
    """Start a training again and again: the process, what it has said, and how many seconds it took to go on.

    Every other moment is after some epochs, somewhere in the next or between its files; the others are in what comes
    before, where nothing is known of the seconds.
    """
    for number in range(times):
        process, begun, seconds = start(run), time.monotonic(), None
        lines = [process.stdout.readline()]
        for _ in range(number % 2 * chance.randint(1, 3)):
            lines.append(process.stdout.readline())
            seconds = seconds or time.monotonic() - begun
        time.sleep(chance.uniform(0, 0.6) if number % 2 else chance.uniform(0, 4))
        assert process.poll() is None, f"finished before moment {number + 1}: train for more epochs"
        yield process, lines, seconds


def assert_identical(one: Path, other: Path) -> None:
    histories = (pd.read_csv(run / "history.csv") for run in (one, other))
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    runs = [load_run(run) for run in (one, other)]
    for a, b in zip(*(run.model.get_weights() for run in runs), strict=True):
        np.testing.assert_array_equal(a, b)
    assert runs[0].segmenter.threshold == runs[1].segmenter.threshold
    assert sorted(p.name for p in other.iterdir()) == ["history.csv", "model.keras", "run.json"]


def test_killed_at_random_moments(start, alone, tmp_path, faults):
    run, moments, took = tmp_path / "killed", [], []
    for process, lines, seconds in at_random_moments(start, run, KILLS, random.Random(0)):
        process.kill()
        lines += process.stdout.readlines()
        process.wait()
        moments.append(lines[-1].split("  ")[0].strip())
        took.append(seconds)
    print("; ".join(moments))
    assert sum("epoch" in moment for moment in moments) >= KILLS // 2
    start(run).communicate()
    assert_identical(alone, run)
    faults("a training is killed", KILLS, "the same weights and history, to the last bit", took)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"only root can make a small disk to fill: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_disk_that_is_full_at_random_moments(start, alone, small_disk, tmp_path, faults):
    took = []
    for process, _, seconds in at_random_moments(start, small_disk / "run", FILLED, random.Random(1)):
        with (small_disk / "filled").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        process.communicate()
        assert process.returncode == 1
        last = (tmp_path / "said").read_text().splitlines()[-1]
        assert re.search(r"DataError: .* is full; .* are free", last), last
        (small_disk / "filled").unlink()
        took.append(seconds)
    start(small_disk / "run").communicate()
    assert_identical(alone, small_disk / "run")
    faults("the disk becomes full in a training", FILLED, "the same weights and history, to the last bit", took)
