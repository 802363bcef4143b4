"""Keras is imported in one place, where its backend's start-up messages do not reach the reader."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest


def in_fresh_process(code: str, **environment: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "KERAS_"))} | environment
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed")
def test_tensorflow_talks_and_our_import_of_it_does_not():
    assert in_fresh_process("import tensorflow", TF_CPP_MIN_LOG_LEVEL="0").stderr
    quiet = in_fresh_process("import femur_lib.unet, sys; assert 'tensorflow' in sys.modules")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_errors_after_the_import_are_still_shown():
    failed = in_fresh_process("import femur_lib.unet; 1 / 0")
    assert failed.returncode == 1
    assert failed.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_a_backend_that_is_not_installed_is_said():
    assert "no-such-backend" in in_fresh_process("import femur_lib.unet", KERAS_BACKEND="no-such-backend").stderr


def test_a_users_settings_of_keras_change_nothing(tmp_path):
    """keras.json may ask for anything; half of a training's numbers would be of another kind, or it would not start."""
    theirs = {"floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first", "backend": "theano"}
    (tmp_path / "keras.json").write_text(json.dumps(theirs))
    code = """if True:
        from femur_lib._runtime.backend import keras
        from femur_lib.architecture import Architecture
        from femur_lib.unet import unet
        model = unet(Architecture(2, 2, 1))
        print(keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format(), keras.backend.backend())
        print({v.dtype for v in model.variables}, model.output_shape)
    """
    found = [in_fresh_process(code, KERAS_HOME=str(home)).stdout for home in (tmp_path, tmp_path / "none")]
    assert found[0] == found[1]
    assert found[0].startswith("float32 1e-07 channels_last ")


@pytest.mark.parametrize("module", ["_runtime.machine", "config", "evaluation", "runs", "cli", "plotting"])
def test_what_needs_no_network_does_not_import_tensorflow(module):
    """The command line decides about oneDNN before TensorFlow is imported, and answers `--help` at once."""
    code = f"import sys, femur_lib.{module}; sys.exit(bool({{'tensorflow', 'keras'}} & set(sys.modules)))"
    assert in_fresh_process(code).returncode == 0
