"""What the machine decides: kernels, precision, memory. The user's own choice always stays."""

import os
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

from femur_lib._runtime import machine
from femur_lib._runtime.machine import (
    ONEDNN,
    avoid_onednn_where_it_hangs,
    choose_precision,
    cpu_bfloat16,
    has_avx512,
    side_by_side,
    warn_if_too_large,
)
from femur_lib.cohort import read_subject
from femur_lib.inference import segment
from femur_lib.metrics.overlap import overlap
from femur_lib.runs import load_run

# --- the environment


def environment_after_import(**given: str) -> list[str]:
    """What a fresh process holds in three variables once the library has been imported."""
    names = (ONEDNN, "TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND")
    code = f"import os, sys, femur_lib; print(*(os.environ.get(n) for n in {names}), 'tensorflow' in sys.modules)"
    environment = {k: v for k, v in os.environ.items() if k not in names} | given
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout.split()


def test_the_environment_is_set_before_a_backend_starts():
    onednn, messages, backend, tensorflow_was_imported = environment_after_import()
    assert (onednn, messages, tensorflow_was_imported) == ("1", "2", "False")
    assert backend in machine.BACKENDS


def test_a_value_that_the_user_has_set_stays():
    given = {ONEDNN: "0", "TF_CPP_MIN_LOG_LEVEL": "0", "KERAS_BACKEND": "jax"}
    assert environment_after_import(**given) == ["0", "0", "jax", "False"]


@pytest.mark.parametrize(
    ("installed", "chosen"),
    [(("tensorflow", "torch"), "tensorflow"), (("torch", "jax"), "jax"), (("torch",), "torch"), ((), "tensorflow")],
)
def test_the_backend_is_the_first_that_is_installed(monkeypatch, installed, chosen):
    monkeypatch.setattr(machine, "_onednn_is_the_users", False)
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: name in installed or None)
    for name in (ONEDNN, "TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND", "XLA_PYTHON_CLIENT_PREALLOCATE"):
        monkeypatch.delenv(name, raising=False)
    machine.set_environment()
    assert os.environ["KERAS_BACKEND"] == chosen


# --- oneDNN

LARGE = {"dimensions": 2, "features": 64, "rows": 512, "columns": 512}


@pytest.fixture
def old_cpu(monkeypatch):
    """A CPU without AVX-512, before TensorFlow was imported."""
    monkeypatch.setattr(machine, "has_avx512", lambda: False)
    monkeypatch.setattr(machine, "_onednn_is_the_users", False)
    monkeypatch.setenv(ONEDNN, "1")
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)


def test_a_large_2d_network_on_an_old_cpu_does_without_onednn(old_cpu):
    avoid_onednn_where_it_hangs(**LARGE)
    assert os.environ[ONEDNN] == "0"


@pytest.mark.parametrize(
    "other",
    [{"dimensions": 3, "features": 32, "rows": 256, "columns": 256}, LARGE | {"features": 8, "rows": 96, "columns": 96},
     LARGE | {"features": 32, "rows": 256, "columns": 256}],
    ids=str,
)  # fmt: skip
def test_3d_networks_and_small_2d_ones_keep_it(old_cpu, other):
    avoid_onednn_where_it_hangs(**other)
    assert os.environ[ONEDNN] == "1"


@pytest.mark.parametrize(("name", "value"), [("_onednn_is_the_users", True), ("has_avx512", lambda: True)])
def test_the_users_own_choice_and_a_newer_cpu_keep_it(old_cpu, monkeypatch, name, value):
    monkeypatch.setattr(machine, name, value)
    avoid_onednn_where_it_hangs(**LARGE)
    assert os.environ[ONEDNN] == "1"


def test_once_tensorflow_has_started_there_is_a_warning(old_cpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", machine)
    with pytest.warns(RuntimeWarning, match=f"64 maps may hang on slices of 512 x 512 pixels.*{ONEDNN}=0"):
        avoid_onednn_where_it_hangs(**LARGE)


def test_what_the_cpu_can_do_is_read_off_its_list(tmp_path):
    cpu = tmp_path / "cpuinfo"
    for flags, avx512, bfloat16 in (
        ("fpu avx2 avx512f avx512_bf16 amx_bf16 amx_tile", True, "amx_bf16"),
        ("fpu avx512_bf16 avx512f", True, "avx512_bf16"),
        ("fpu avx2 amx_bf16_not", False, ""),
    ):
        cpu.write_text(f"flags\t: {flags}\n")
        assert (has_avx512(cpu), cpu_bfloat16(cpu)) == (avx512, bfloat16)
    assert has_avx512(tmp_path / "none")  # where the system does not tell, TensorFlow decides
    assert cpu_bfloat16(tmp_path / "none") == ""


# --- precision


@pytest.mark.parametrize(
    ("gpus", "cpu", "features", "dimensions", "chosen"),
    [
        ([(9, 0)], "", 32, 3, "mixed_bfloat16"),
        ([(8, 0)], "amx_bf16", 16, 3, "mixed_bfloat16"),
        ([(7, 5)], "", 32, 3, "mixed_float16"),
        ([(6, 1)], "", 32, 3, "float32"),
        ([(9, 0), (7, 0)], "", 32, 3, "mixed_float16"),  # the weakest of several
        ([(0, 0)], "", 32, 3, "float32"),  # a device that does not tell
        ([(9, 0)], "", 8, 3, "float32"),
        ([(9, 0)], "amx_bf16", 8, 2, "float32"),
        ([(6, 1)], "avx512_bf16", 32, 3, "float32"),
        ([], "amx_bf16", 32, 3, "mixed_bfloat16"),
        ([], "amx_bf16", 8, 3, "float32"),
        ([], "amx_bf16", 8, 2, "mixed_bfloat16"),
        ([], "amx_bf16", 2, 2, "float32"),
        ([], "avx512_bf16", 8, 3, "mixed_bfloat16"),
        ([], "avx512_bf16", 2, 3, "float32"),
        ([], "", 32, 3, "float32"),
    ],
)
def test_auto_goes_by_the_device_and_the_size_of_the_network(monkeypatch, gpus, cpu, features, dimensions, chosen):
    monkeypatch.setattr(machine, "gpu_capabilities", lambda: gpus)
    monkeypatch.setattr(machine, "cpu_bfloat16", lambda: cpu)
    assert choose_precision("auto", features, dimensions) == chosen
    assert choose_precision("float32", features, dimensions) == "float32"  # what is asked for by name is taken


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision must be one of auto, float32"):
        choose_precision("float64", 32, 3)


@pytest.mark.parametrize("kind", ["3d", "2d", "2d-unpadded"])
def test_dice_of_both_precisions_agrees_to_a_thousandth(trained_runs, tiny_cohort, kind):
    scores, probabilities = [], []
    for policy in ("float32", "mixed_bfloat16"):
        segmenter = load_run(trained_runs[kind], policy).segmenter
        pairs = [(read_subject(s)[1], segment(segmenter, read_subject(s)[0])) for s in tiny_cohort.subjects]
        probabilities.append(np.stack([p.array for _, (p, _) in pairs]))
        scores.append(np.mean([overlap(truth.array, mask.array)["dice"] for truth, (_, mask) in pairs]))
    assert scores[0] > 0.8  # a network that has learnt
    assert abs(scores[0] - scores[1]) < 1e-3
    assert np.abs(probabilities[0] - probabilities[1]).max() > 1e-6  # it did compute otherwise


# --- memory


@pytest.mark.parametrize(("cores", "at_once"), [(1, 1), (3, 1), (4, 2), (64, 8)])
def test_items_go_side_by_side_where_there_are_cores_and_answer_in_order(monkeypatch, cores, at_once):
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    lock, busy, most = threading.Lock(), 0, 0

    def slow_first(n: int) -> int:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.1 if n == 0 else 0.02)
        with lock:
            busy -= 1
        return n * n

    assert list(side_by_side(slow_first, range(16))) == [n * n for n in range(16)]
    assert most == at_once


def test_what_goes_wrong_with_one_item_is_raised(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 16)
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(lambda n: 1 / (n - 5), range(10)))


def test_a_network_too_large_for_the_machine_is_warned_of():
    with pytest.warns(RuntimeWarning, match=r"3d-f32-l4 needs at least 6\.0 GB, and this machine has 4\.0"):
        warn_if_too_large("3d-f32-l4", 6_000_000_000, 4_000_000_000)
    with warnings.catch_warnings(action="error"):
        warn_if_too_large("3d-f32-l4", 4, 4)


def test_the_memory_of_the_machine_is_more_than_this_process_has_held():
    assert 2**20 < machine.peak_bytes() < machine.machine_bytes()


# --- open files


def limits_of_files_after(before: str) -> str:
    """The soft limit of a fresh process once the machine was prepared, and its hard limit."""
    code = f"import resource as r\nfrom femur_lib._runtime.machine import allow_many_files\n{before}\n"
    code += "allow_many_files()\nprint(*r.getrlimit(r.RLIMIT_NOFILE))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_as_many_files_may_be_open_as_the_system_allows():
    assert limits_of_files_after("r.setrlimit(r.RLIMIT_NOFILE, (64, 500))") == "500 500"
    endless = "r.getrlimit = lambda what: (64, r.RLIM_INFINITY); r.setrlimit = lambda what, to: print(*to)"
    assert limits_of_files_after(endless).startswith(f"{machine.MOST_FILES} ")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize(
    "before",
    [
        "def no(*_): raise ValueError\nr.setrlimit(r.RLIMIT_NOFILE, (64, 500)); r.setrlimit = no",
        "import sys; r.setrlimit(r.RLIMIT_NOFILE, (64, 500)); sys.modules['resource'] = None",
    ],
    ids=["refused", "Windows"],
)
def test_a_limit_that_cannot_be_raised_stays(before):
    assert limits_of_files_after(before) == "64 500"


# --- what is allotted


def test_the_memory_is_what_a_container_or_a_cluster_allots(tmp_path, monkeypatch):
    def group(path: str, file: str, limit: str) -> None:
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
        (tmp_path / path / file).write_text(f"{limit}\n")

    group("job/step", "memory.max", "max")
    group("job", "memory.max", "4000000000")
    group("", "memory.max", "8000000000")
    (tmp_path / "of").write_text("0::/job/step\n")
    assert machine.allotted_bytes(tmp_path / "of", tmp_path) == [4 * 10**9, 8 * 10**9]
    group("memory/slurm", "memory.limit_in_bytes", "2000000000")  # the older kind
    (tmp_path / "of").write_text("9:name=systemd:/x\n5:cpu,cpuacct:/slurm\n3:memory:/slurm\n")
    assert machine.allotted_bytes(tmp_path / "of", tmp_path) == [2 * 10**9]
    assert machine.allotted_bytes(tmp_path / "none", tmp_path) == []
    monkeypatch.setattr(machine, "allotted_bytes", lambda: [2 * 10**6, 10**6])
    assert machine.machine_bytes() == 10**6


def test_tensorflow_is_told_of_the_cores_that_are_allotted(monkeypatch):
    monkeypatch.setattr(machine, "_onednn_is_the_users", False)  # these two are put back afterwards
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "")
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    for cores, told in ((64, "2"), (2, None)):
        monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        machine.set_environment()
        assert os.environ.get("TF_NUM_INTRAOP_THREADS") == told
