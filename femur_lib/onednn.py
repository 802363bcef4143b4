"""TensorFlow's oneDNN kernels: on where they are fast, off where they do not come back.

``femur_lib`` switches them on (see ``femur_lib/__init__.py``), because 3D networks need them on CPUs without AVX-512.
On such a CPU their 2D convolution unrolls the image first, and once that copy is large (on two AMD cores between 0.7
and 0.8 GB: 128 maps of 424 x 424 pixels) it does not finish in minutes what TensorFlow's own does in half a second.
"""

import os
import sys
import warnings
from pathlib import Path

import femur_lib
from femur_lib.architecture import Architecture

LARGEST_COPY = 2**29  # bytes


def avoid_where_it_hangs(architecture: Architecture, rows: int, columns: int) -> None:
    """Switch oneDNN off for a 2D network on large slices, if TensorFlow has not been imported yet; warn if it has.

    A value of TF_ENABLE_ONEDNN_OPTS that the user has set stays.
    """
    unrolled = 9 * 2 * architecture.features * rows * columns * 4  # the first convolution after the last joining
    if architecture.dimensions == 3 or unrolled <= LARGEST_COPY or femur_lib.ONEDNN_IS_THE_USERS or has_avx512():
        return
    if "tensorflow" not in sys.modules:
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    elif os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0":
        warnings.warn(
            f"on this CPU a 2D network with {architecture.features} maps may hang on slices of {rows} x {columns} "
            "pixels. Start again with the environment variable TF_ENABLE_ONEDNN_OPTS=0.",
            RuntimeWarning,
            stacklevel=2,
        )


def has_avx512(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU has AVX-512; where the system does not tell, TensorFlow's own choice is not interfered with."""
    return not cpuinfo.is_file() or "avx512f" in cpuinfo.read_text().split()
