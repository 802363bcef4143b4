"""What a network costs, computed before anything is allocated: weights, arithmetic, memory."""

import os
import warnings
from dataclasses import dataclass
from math import prod
from pathlib import Path

from femur_lib.architecture import CHANNELS_2D, Architecture, unpadded_geometry

ADAM = 4  # weights, their gradient, and Adam's two moments


@dataclass(frozen=True)
class Cost:
    """One network on inputs of one size.

    Attributes:
        weights: how many numbers are trained.
        multiplications: of the convolutions, for one input.
        activations: numbers in all layers' outputs, for one input.
        widest: numbers in the largest layer's input and output together.
    """

    weights: int
    multiplications: int
    activations: int
    widest: int

    def training_bytes(self, batch: int = 1, bytes_per_number: int = 4) -> int:
        """Least memory for a training step: every activation is kept for the way back; weights are float32."""
        return 4 * ADAM * self.weights + bytes_per_number * batch * self.activations

    def inference_bytes(self, batch: int = 1, bytes_per_number: int = 4) -> int:
        """Least memory for a prediction: only the copied maps and the layer at work are alive."""
        return 4 * self.weights + bytes_per_number * batch * self.widest


def cost(architecture: Architecture, size: tuple[int, ...]) -> Cost:
    """Count a network's weights, multiplications and activations, layer by layer.

    Args:
        architecture: the network.
        size: of the input, without channels; of a padded network a multiple of ``architecture.size_multiple``.

    Raises:
        ValueError: a size that a padded network's poolings do not divide, or too small for an unpadded one.
    """
    a = architecture
    if len(size) != a.dimensions:
        raise ValueError(f"a size has {a.dimensions} numbers, got {size}")
    if a.padded and any(n % m for n, m in zip(size, a.size_multiple, strict=True)):
        raise ValueError(f"the size is a multiple of {a.size_multiple}, got {size}")
    if not a.padded:
        [unpadded_geometry(n, a.levels) for n in size]  # raises where nothing would come out
    count = _Count(a, list(size))
    maps, copied = CHANNELS_2D if a.dimensions == 2 else 1, []
    for level in range(a.levels):
        wide = a.features * 2**level
        count.convolution(maps, wide, level)
        count.convolution(wide, wide, level)
        copied.append(wide * count.voxels())
        count.kept += copied[-1]
        count.n = [n // k for n, k in zip(count.n, count.kernel(level, 2), strict=True)]
        count.store(wide)  # pooled
        maps = wide
    centre = a.features * 2**a.levels
    count.convolution(maps, centre, a.levels)
    before = list(count.n)
    for _ in a.dilation_rates:
        count.n = list(before)
        count.convolution(centre, centre, a.levels)
    maps = centre * len(a.dilation_rates)
    if len(a.dilation_rates) > 1:
        count.store(maps)  # side by side
    for level in reversed(range(a.levels)):
        wide = a.features * 2**level
        count.up_convolution(maps, wide, level)
        if not a.padded:
            count.store(wide)  # the copied map, cropped
        count.store(2 * wide)  # beside the up-sampled one
        count.kept -= copied[level]
        count.convolution(2 * wide, wide, level)
        count.convolution(wide, wide, level)
        maps = wide
    count.convolution(maps, 2, a.levels, width=1, stages=1)
    count.store(2)  # softmax
    return Cost(count.weights, count.multiplications, count.activations, count.widest)


class _Count:
    """The sums so far, and the size ``n`` of the map at hand."""

    def __init__(self, architecture: Architecture, size: list[int]):
        self.a, self.n = architecture, size
        self.weights = self.multiplications = self.activations = self.widest = self.kept = 0

    def voxels(self) -> int:
        return prod(self.n)

    def kernel(self, level: int, width: int) -> list[int]:
        in_plane = [width, width]
        return in_plane if self.a.dimensions == 2 else [*in_plane, 1 if level < self.a.in_plane_levels else width]

    def store(self, maps: int) -> None:
        self.activations += maps * self.voxels()

    def convolution(self, maps_in: int, maps_out: int, level: int, width: int = 3, stages: int = 2) -> None:
        """``stages`` outputs are stored: the convolution's, its normalisation's, its ReLU's."""
        kernel, entered = self.kernel(level, width), maps_in * self.voxels()
        if not self.a.padded:
            self.n = [n - k + 1 for n, k in zip(self.n, kernel, strict=True)]
        self.weights += prod(kernel) * maps_in * maps_out + maps_out
        if self.a.normalisation and stages == 2:
            self.weights += 2 * maps_out
            stages = 3
        self.multiplications += prod(kernel) * maps_in * maps_out * self.voxels()
        self.store(stages * maps_out)
        self.widest = max(self.widest, self.kept + entered + maps_out * self.voxels())

    def up_convolution(self, maps_in: int, maps_out: int, level: int) -> None:
        kernel, entered = self.kernel(level, 2), self.voxels()
        self.n = [n * k for n, k in zip(self.n, kernel, strict=True)]
        self.weights += prod(kernel) * maps_in * maps_out + maps_out
        self.multiplications += prod(kernel) * maps_in * maps_out * entered
        self.store(maps_out)
        self.widest = max(self.widest, self.kept + maps_in * entered + maps_out * self.voxels())


def machine_bytes() -> int:
    """This machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # Windows
        import psutil

        return int(psutil.virtual_memory().total)


def peak_bytes() -> int | None:
    """The most memory that this process has held since it began; None on Windows, which does not tell."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage's number would begin at what the process held that started this one
        kib = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(kib)
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def warn_if_too_large(name: str, needed: int, available: int) -> bool:
    """Warn where a network would need more memory than the machine has; whether it did."""
    if needed <= available:
        return False
    warnings.warn(
        f"{name} needs at least {needed / 1e9:.1f} GB, this machine has {available / 1e9:.1f}: expect it to be killed. "
        "Choose fewer features or levels, a smaller grid, or a smaller batch.",
        RuntimeWarning,
        stacklevel=2,
    )
    return True
