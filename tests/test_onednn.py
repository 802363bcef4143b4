"""Large 2D networks are kept from kernels that do not come back on CPUs without AVX-512."""

import subprocess
import sys

import pytest

import femur_lib
from femur_lib import onednn
from femur_lib.architecture import Architecture
from femur_lib.onednn import avoid_where_it_hangs, has_avx512

LARGE = Architecture(2, 64, 4)


@pytest.fixture
def old_cpu(monkeypatch):
    monkeypatch.setattr(onednn, "has_avx512", lambda: False)
    monkeypatch.setattr(femur_lib, "ONEDNN_IS_THE_USERS", False)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")


def test_before_tensorflow_is_there_it_is_switched_off(old_cpu, monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    avoid_where_it_hangs(LARGE, 512, 512)
    assert onednn.os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"


def test_after_that_there_is_a_warning(old_cpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", onednn)
    with pytest.warns(RuntimeWarning, match="may hang on slices of 512 x 512"):
        avoid_where_it_hangs(LARGE, 512, 512)


@pytest.mark.parametrize(
    ("architecture", "side"),
    [(Architecture(3, 32, 4), 256), (Architecture(2, 8, 2), 96), (Architecture(2, 32, 4), 256)],
)
def test_3d_networks_and_small_2d_ones_keep_it(old_cpu, monkeypatch, architecture, side):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    avoid_where_it_hangs(architecture, side, side)
    assert onednn.os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"


def test_what_the_user_has_set_stays(old_cpu, monkeypatch):
    monkeypatch.setattr(femur_lib, "ONEDNN_IS_THE_USERS", True)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    avoid_where_it_hangs(LARGE, 512, 512)
    assert onednn.os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"


def test_avx512_is_read_off_the_list_of_the_cpu(tmp_path):
    (tmp_path / "new").write_text("flags : avx2 avx512f avx512bw\n")
    (tmp_path / "old").write_text("flags : avx2\n")
    assert has_avx512(tmp_path / "new")
    assert not has_avx512(tmp_path / "old")
    assert has_avx512(tmp_path / "none")  # not known: hands off


def test_the_command_line_decides_before_tensorflow_is_imported():
    """Importing what decides must not import TensorFlow itself."""
    needed = "femur_lib.onednn, femur_lib.experiments, femur_lib.prediction"
    code = f"import sys, {needed}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
