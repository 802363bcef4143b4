"""A run that was trained on one of Keras's backends predicts the same on the others.

``pytest -m backends`` runs this and what else depends on the backend: the networks beside an independent PyTorch, the
losses by hand, and a training that is killed and goes on. ``make backends`` does so on JAX and on PyTorch, where
TensorFlow is not installed.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from femur_lib._runtime.machine import BACKENDS, backend
from femur_lib.cohort import read_subject
from femur_lib.inference import predict_volume
from femur_lib.runs import load_run

PREDICT = """
import sys
import numpy as np
from femur_lib._runtime.machine import backend
from femur_lib.inference import predict_volume
from femur_lib.runs import load_run
from femur_lib.volumes import read_volume
run, scan, out = sys.argv[1:]
np.save(out, predict_volume(load_run(run, "float32").segmenter, read_volume(scan)).array)
print(backend())
"""


@pytest.mark.backends
@pytest.mark.parametrize("kind", ["3d", "2d", "2d-unpadded"])
@pytest.mark.parametrize("other", BACKENDS)
def test_a_scan_has_the_same_probabilities_on_its_own_grid(trained_runs, tiny_cohort, tmp_path, kind, other):
    if not find_spec(other):
        pytest.skip(f"{other} is not installed")
    subject = tiny_cohort.subjects[0]
    image, _ = read_subject(subject)
    here = predict_volume(load_run(trained_runs[kind], "float32").segmenter, image).array
    assert here.shape == image.array.shape
    assert here.std() > 0.005  # so that there is something to disagree on
    command = [sys.executable, "-c", PREDICT, trained_runs[kind], subject.image, tmp_path / "there.npy"]
    done = subprocess.run(command, env=os.environ | {"KERAS_BACKEND": other}, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, [other]), done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "there.npy"), here, atol=1e-6 if other == backend() else 1e-4)
