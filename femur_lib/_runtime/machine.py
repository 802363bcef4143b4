"""The machine that computes: its devices, its memory, and the precision that suits it.

What a network computes in is float32, or numbers half as wide where the device is faster at them. Whatever is chosen,
weights, logits, softmax and loss are float32; only the convolutions and what lies between them change (Keras's mixed
policies). Seconds of a training step, of 3D networks where nothing else is said, measured with
``benchmarks/precision.py`` or by hand:

=========================  ============================  =======  ==============
machine                    network, size                 float32  mixed_bfloat16
=========================  ============================  =======  ==============
2 cores with AMX           F 32, 256 x 256 x 48          19       6.6 to 8.4
2 cores with AMX           F 16, 144 x 192 x 24          1.8      0.9
2 cores with AMX           F 8, 144 x 192 x 24           as fast  no gain
2 cores, AVX2 alone        F 8, 96 x 96 x 24             0.41     6.4
1 core, AVX-512 with bf16  F 4, 72 x 72 x 32             0.117    0.090
1 core, AVX-512 with bf16  2D, F 8, 8 of 144 x 144       0.142    0.092
2 busy cores with AMX      2D, F 8, 8 of 128 x 128       0.206    0.149
2 busy cores with AMX      2D, F 4, 8 of 128 x 128       0.079    0.066
NVIDIA H200 (JAX)          F 32, 256 x 256 x 48          --       0.040
=========================  ============================  =======  ==============

For older GPUs the choice follows from what their tensor cores are built for, not from a table of ours.
"""

import importlib.metadata
import importlib.util
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import joblib

from femur_lib._runtime.errors import DataError

BACKENDS = ("tensorflow", "jax", "torch")
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
_onednn_is_the_users = False
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
FEWEST_MAPS = 16  # that gain from half-width numbers on a GPU's tensor cores, or in 3D on AMX
FEWEST_MAPS_CPU = 4  # the same in 2D on AMX, and for AVX-512's instructions
LARGEST_COPY = 2**29  # bytes
MOST_FILES = 10_240  # open at a time; macOS allows no more
HOPELESS = 4  # times the memory of the machine: no swap space helps any more


def set_environment() -> None:
    """Set what a backend reads from the environment when it starts; a value that the user has set stays.

    The backend is TensorFlow where it is installed, else JAX, else PyTorch. TensorFlow's oneDNN kernels are on by
    default only where the CPU has certain instructions. On other x86 machines a 3D training step takes several times as
    long without them (``benchmarks/training_step.py``), so we ask for them; :func:`avoid_onednn_where_it_hangs` takes
    that back for large 2D networks. Where fewer cores are allotted than the machine has, TensorFlow is told so. JAX
    would take three quarters of a GPU's memory at once; here it takes what it needs.
    """
    global _onednn_is_the_users
    _onednn_is_the_users = ONEDNN in os.environ
    if "KERAS_BACKEND" not in os.environ:
        os.environ["KERAS_BACKEND"] = next((name for name in BACKENDS if importlib.util.find_spec(name)), BACKENDS[0])
    os.environ.setdefault(ONEDNN, "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if joblib.cpu_count() < (os.cpu_count() or 1):  # TensorFlow would start a thread for each core of the machine
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(joblib.cpu_count()))
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def backend() -> str:
    """The Keras backend in use: "tensorflow", "jax" or "torch"."""
    from femur_lib._runtime.backend import keras

    return keras.backend.backend()


def avoid_onednn_where_it_hangs(dimensions: int, features: int, rows: int, columns: int) -> None:
    """Switch oneDNN off for a 2D network on large slices, if TensorFlow has not started yet; warn if it has.

    On a CPU without AVX-512 oneDNN's 2D convolution unrolls the image first. Once that copy is large (between 0.7 and
    0.8 GB on two AMD cores: 128 maps of 424 x 424 pixels) it does not finish in minutes what TensorFlow's own
    convolution does in half a second.
    """
    unrolled = 9 * 2 * features * rows * columns * 4  # the first convolution after the last concatenation
    if dimensions == 3 or unrolled <= LARGEST_COPY or _onednn_is_the_users or has_avx512():
        return
    if "tensorflow" not in sys.modules:
        os.environ[ONEDNN] = "0"
    elif os.environ.get(ONEDNN) != "0":
        warnings.warn(
            f"on this CPU a 2D network with {features} maps may hang on slices of {rows} x {columns} pixels. "
            f"Start again with the environment variable {ONEDNN}=0.",
            RuntimeWarning,
            stacklevel=2,
        )


def has_avx512(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU has AVX-512; True where the system does not tell, so that TensorFlow's own choice stands."""
    return not cpuinfo.is_file() or "avx512f" in cpuinfo.read_text().split()


def choose_precision(precision: str, features: int, dimensions: int) -> str:
    """The Keras policy to compute in: ``precision`` itself, or for "auto" the fastest that this machine does well.

    A GPU whose tensor cores know bfloat16 (compute capability 8.0 and above) takes it; an older one with tensor cores
    (7.0 and above) takes float16, for which the optimiser scales the loss; a CPU takes bfloat16 if it has instructions
    for it. Every other machine takes float32, and so does a network with too few maps to gain: fewer than 16, or fewer
    than 4 on a CPU (in 3D only on one without AMX).

    Args:
        precision: one of ``PRECISIONS``.
        features: F, the network's initial feature maps.
        dimensions: of the network, 2 or 3.

    Raises:
        ValueError: no such precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision != "auto":
        return precision
    capabilities = gpu_capabilities()
    if capabilities:
        weakest, fewest = min(capabilities), FEWEST_MAPS
        fastest = "mixed_bfloat16" if weakest >= (8, 0) else "mixed_float16" if weakest >= (7, 0) else "float32"
    else:
        instructions = cpu_bfloat16()
        fewest = FEWEST_MAPS if instructions == "amx_bf16" and dimensions == 3 else FEWEST_MAPS_CPU
        fastest = "mixed_bfloat16" if instructions else "float32"
    return fastest if features >= fewest else "float32"


def gpu_capabilities() -> list[tuple[int, int]]:
    """The compute capability of each GPU that the backend sees; (0, 0) for one that does not tell."""
    name = backend()
    if name == "jax":
        import jax

        told = [
            str(getattr(device, "compute_capability", "0.0")) for device in jax.devices() if device.platform == "gpu"
        ]
        return [(int(major), int(minor)) for major, _, minor in (text.partition(".") for text in told)]
    if name == "torch":
        import torch

        return [torch.cuda.get_device_capability(n) for n in range(torch.cuda.device_count())]
    import tensorflow as tf

    details = (tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU"))
    return [detail.get("compute_capability", (0, 0)) for detail in details]


def cpu_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Linux's name of the CPU's fastest instructions for bfloat16; "" if there are none or the system does not tell."""
    if sys.platform != "linux" or not cpuinfo.is_file():
        return ""
    flags = cpuinfo.read_text().split()
    return next((name for name in ("amx_bf16", "avx512_bf16") if name in flags), "")


def allow_many_files() -> None:
    """Raise the limit of files that this process may have open, as far as its user may; Windows has none.

    Each scan in a training's cache is two of them, for its arrays are read as needed. Systems begin with 256 or 1024.
    """
    try:
        import resource
    except ImportError:
        return
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if most == resource.RLIM_INFINITY else min(most, MOST_FILES)
    if now != resource.RLIM_INFINITY and now < wanted:
        with suppress(OSError, ValueError):  # the system's own limit is lower still: what there is must do
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def prepare(deterministic: bool = False) -> None:
    """Let the backend take GPU memory as it needs it; if asked, make every run alike to the last bit.

    As many files may be open as the system allows (:func:`allow_many_files`).

    Determinism holds for the rest of the process. A GPU that TensorFlow already uses keeps the memory it has. On a CPU
    JAX is deterministic by itself; on a GPU it reads ``XLA_FLAGS=--xla_gpu_deterministic_ops=true`` when it starts.
    """
    allow_many_files()
    name = backend()
    if name == "torch" and deterministic:
        import torch

        torch.use_deterministic_algorithms(True)
    if name != "tensorflow":
        return
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # already in use
            break
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def devices() -> list[str]:
    """Names of the devices that the backend computes on."""
    name = backend()
    if name == "jax":
        import jax

        return [f"{device.platform}:{device.id} {device.device_kind}" for device in jax.devices()]
    if name == "torch":
        import torch

        return [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())] or ["cpu"]
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices()]


def versions() -> dict[str, str]:
    """What the numbers of a run depend on besides the data."""
    import femur_lib

    installed = {name: importlib.metadata.version(name) for name in ("keras", "numpy")}
    return {
        "femur_lib": femur_lib.__version__,
        "python": platform.python_version(),
        **installed,
        backend(): __import__(backend()).__version__,
        "machine": f"{platform.system()} {platform.machine()}, {joblib.cpu_count()} cores",
    }


def side_by_side(function: Callable, items: Sequence) -> Iterator:
    """What a function gives for each item, in their order; where there are cores to spare, of several at once.

    They share this process, so the memory of up to eight is needed together; on fewer than four cores of one.
    """
    workers = max(1, min(8, joblib.cpu_count() // 2))
    jobs = (joblib.delayed(function)(item) for item in items)
    return joblib.Parallel(n_jobs=workers, backend="threading", return_as="generator", pre_dispatch="n_jobs")(jobs)


def machine_bytes() -> int:
    """The memory that this process may use: the machine's, or less where a container or a cluster allots less."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # Windows
        import psutil

        physical = int(psutil.virtual_memory().total)
    return min([physical, *allotted_bytes()])


def allotted_bytes(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """The limits of memory of this process's control group and of those above it; none where Linux sets none."""
    limits = []
    for line in groups.read_text().splitlines() if groups.is_file() else ():
        _, controllers, name = line.split(":", 2)
        if controllers not in ("", "memory"):  # version 2 has one group for all, version 1 one for each
            continue
        top, file = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        group = top / name.strip("/")
        for level in (group, *group.parents):
            if (level / file).is_file() and (text := (level / file).read_text().strip()) != "max":
                limits.append(int(text))
            if level == top:
                break
    return limits


def peak_bytes() -> int | None:
    """The most memory that this process has held since it began; None on Windows, which does not tell."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count from what the parent process held
        kib = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(kib)
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def refuse_hopeless(name: str, needed: int, available: int) -> None:
    """Raise a DataError if the least memory of a network is a multiple of what the machine has."""
    if needed > HOPELESS * available:
        raise DataError(
            f"{name} needs at least {needed / 1e9:.3g} GB of memory, and this machine has {available / 1e9:.1f}.",
            "Choose fewer features or levels, or a smaller grid.",
        )


def warn_if_too_large(name: str, needed: int, available: int) -> None:
    """Warn if a network needs more memory than the machine has."""
    if needed > available:
        warnings.warn(
            f"{name} needs at least {needed / 1e9:.1f} GB, and this machine has {available / 1e9:.1f}: expect it to be "
            "killed. Choose fewer features or levels, a smaller grid, or a smaller batch.",
            RuntimeWarning,
            stacklevel=2,
        )
