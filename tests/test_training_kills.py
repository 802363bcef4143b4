"""A training killed at twenty random moments ends as one that was left alone, to the last bit.

Slow: ``make slow``. Every start imports TensorFlow again.
"""

import json
import random
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from femur_lib.runs import load_run

KILLS = 20
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


@pytest.mark.slow
def test_killed_twenty_times_at_random_moments(tiny_cohort, tmp_path):
    (tmp_path / "tiny.yaml").write_text(json.dumps(PROFILE))

    def start(name: str) -> subprocess.Popen:
        command = [sys.executable, "-c", SCRIPT, *map(str, (tiny_cohort.root, tmp_path / name, tmp_path / "tiny.yaml"))]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    alone = start("alone")
    alone.communicate()
    chance, moments = random.Random(0), []
    for number in range(KILLS):
        process = start("killed")
        begun = time.monotonic()
        # Every other time after some epochs, somewhere in the next or between its files; else in what comes before.
        lines = [process.stdout.readline() for _ in range(1 + number % 2 * chance.randint(1, 3))]
        time.sleep(chance.uniform(0, 0.6) if number % 2 else chance.uniform(0, 4))
        assert process.poll() is None, f"finished before kill {number + 1}: train for more epochs"
        process.kill()
        lines += process.stdout.readlines()
        process.wait()
        moments.append(f"{time.monotonic() - begun:.1f} s {lines[-1].split('  ')[0].strip()}")
    print("; ".join(moments))
    assert sum("epoch" in moment for moment in moments) >= KILLS // 2
    start("killed").communicate()
    one, other = (pd.read_csv(tmp_path / name / "history.csv") for name in ("alone", "killed"))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    runs = [load_run(tmp_path / name) for name in ("alone", "killed")]
    for a, b in zip(*(run.model.get_weights() for run in runs), strict=True):
        np.testing.assert_array_equal(a, b)
    assert runs[0].segmenter.threshold == runs[1].segmenter.threshold
    assert sorted(p.name for p in runs[1].folder.iterdir()) == ["history.csv", "model.keras", "run.json"]
