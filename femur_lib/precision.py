"""What a network computes in: float32, or numbers half as wide where the device is faster at them.

Whatever is chosen, weights, logits, softmax and loss are float32; only the convolutions and what lies between them
change (Keras's mixed policies). Seconds of a training step, of 3D networks but for the last, by
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
=========================  ============================  =======  ==============

No GPU was at hand: what is chosen there follows from what its tensor cores are made for, not from a table of ours.
"""

import sys
from pathlib import Path

from femur_lib.architecture import Architecture

PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
FEWEST_MAPS = 16  # of a network that gains by half-width numbers on a GPU's tensor cores, or on AMX
FEWEST_MAPS_AVX512 = 4  # whose instructions for them take whatever there is


def resolve(precision: str, architecture: Architecture) -> str:
    """The Keras policy to use: ``precision`` itself, or for "auto" the fastest that this machine does well.

    A GPU whose tensor cores know bfloat16 (compute capability from 8.0) takes it; an older one with tensor cores (from
    7.0) float16, for which Keras scales the loss; a CPU takes bfloat16 if it has instructions for it. Other machines
    take float32, as do networks of too few maps to gain: below 16, or below 4 on a CPU without AMX.

    Raises:
        ValueError: no such precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision != "auto":
        return precision
    capabilities = gpu_capabilities()
    if capabilities:
        weakest, fewest = min(capabilities), FEWEST_MAPS
        fastest = "mixed_bfloat16" if weakest >= (8, 0) else "mixed_float16" if weakest >= (7, 0) else "float32"
    else:
        instructions = cpu_bfloat16()
        fewest = FEWEST_MAPS if instructions == "amx_bf16" else FEWEST_MAPS_AVX512
        fastest = "mixed_bfloat16" if instructions else "float32"
    return fastest if architecture.features >= fewest else "float32"


def gpu_capabilities() -> list[tuple[int, int]]:
    """The compute capability of each GPU that TensorFlow sees; of one that does not tell, (0, 0)."""
    import tensorflow as tf

    details = (tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU"))
    return [detail.get("compute_capability", (0, 0)) for detail in details]


def cpu_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU's fastest instructions for bfloat16, by Linux's name; "" if it has none or the system does not tell."""
    if sys.platform != "linux" or not cpuinfo.is_file():
        return ""
    flags = cpuinfo.read_text().split()
    return next((name for name in ("amx_bf16", "avx512_bf16") if name in flags), "")
