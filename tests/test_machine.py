"""Several devices share a batch; one device repeats itself to the last bit.

Each in a process of its own, for TensorFlow takes such settings once.
"""

import json
import subprocess
import sys

import pytest

from femur_lib.errors import DataError
from femur_lib.machine import mirrored, strategy

PROFILE = {
    "profile": "tiny", "grid_2d": (16, 16, 8), "grid_3d": (16, 16, 8), "epochs": 3, "first_epochs": 3, "folds": 2,
    "learning_rate": 3e-3, "batch_size_2d": 4, "batch_size_3d": 2,
}  # fmt: skip

TRAIN = """
import hashlib, json, sys
from pathlib import Path
from femur_lib.cohort import read_cohort
from femur_lib.experiments import Profile
from femur_lib.runs import load_run
from femur_lib.training import train

cohort, out, experiment, profile = sys.argv[1:]
digests = []
for name in "ab":
    run = load_run(train(read_cohort(cohort), Path(out) / name, experiment, Profile(**json.loads(profile)), 0,
                         progress=lambda line: None))
    digests.append(hashlib.sha256(b"".join(w.tobytes() for w in run.model.get_weights())).hexdigest())
print(json.dumps(digests))
"""

TWO_DEVICES = """
import json, sys
import femur_lib
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import numpy as np
from pathlib import Path
from femur_lib.cohort import read_cohort
from femur_lib.experiments import Profile
from femur_lib.feeding import load_samples
from femur_lib.fitting import fit
from femur_lib.machine import mirrored

cohort, out, profile = read_cohort(sys.argv[1]), Path(sys.argv[2]), Profile(**json.loads(sys.argv[3]))
a = profile.architecture("3d-f2-l2")
samples = load_samples(cohort, [s.id for s in cohort.subjects][:6], profile.grid(3))
losses = {}
for name, share in {"one": tf.distribute.get_strategy(), "two": mirrored(["CPU:0", "CPU:1"], 2)}.items():
    (out / name).mkdir()
    fit(out / name, a, profile, "float32", samples[:4], samples[4:], share, lambda line: None)
    rows = (out / name / "history.csv").read_text().split()
    losses[name] = [float(row.split(",")[rows[0].split(",").index("val_loss")]) for row in rows[1:]]
print(json.dumps(losses))
"""


def answer_of(script: str, *arguments: str):
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_batch_that_devices_cannot_share_evenly_is_refused():
    with pytest.raises(DataError, match="3, for 2 devices; expected a multiple of 2"):
        mirrored(["CPU:0", "CPU:1"], 3)


def test_more_gpus_than_there_are_is_refused():
    with pytest.raises(DataError, match="found 99"):
        strategy(99, 99)


def test_two_devices_that_share_each_batch_learn_what_one_does(tiny_cohort, tmp_path):
    """Eq. 1 is a mean over voxels, so halves of a batch have the mean gradient of all of it."""
    profile = PROFILE | {"recipe": {"augmentation": []}, "learning_rate": 3e-2}
    losses = answer_of(TWO_DEVICES, str(tiny_cohort.root), str(tmp_path), json.dumps(profile))
    assert losses["two"] == pytest.approx(losses["one"], rel=2e-3)
    assert losses["one"][0] != pytest.approx(losses["one"][-1], rel=2e-2)


@pytest.mark.parametrize("experiment", ["3d-f2-l2-d1.2-gn", "2d-f2-l2"])
def test_made_deterministic_two_trainings_are_one_to_the_last_bit(tiny_cohort, tmp_path, experiment):
    profile = json.dumps(PROFILE | {"deterministic": True, "recipe": {"base": "ours"}})
    one, other = answer_of(TRAIN, str(tiny_cohort.root), str(tmp_path), experiment, profile)
    assert one == other
