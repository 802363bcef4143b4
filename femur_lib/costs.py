"""What a network costs, computed before anything is allocated: weights, arithmetic, memory."""

import warnings
from dataclasses import dataclass
from math import prod

from femur_lib.networks import CHANNELS_2D, Architecture

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
    """Count a padded network's weights, multiplications and activations, layer by layer.

    Args:
        architecture: a padded network.
        size: of the input, without channels; a multiple of ``architecture.size_multiple``.

    Raises:
        ValueError: an unpadded network, or a size that its poolings do not divide.
    """
    a = architecture
    if not a.padded:
        raise ValueError("costs are counted for padded networks")
    if len(size) != a.dimensions or any(n % m for n, m in zip(size, a.size_multiple, strict=True)):
        raise ValueError(f"the size is a multiple of {a.size_multiple}, got {size}")
    weights = multiplications = activations = widest = copied = 0
    voxels = [list(size)]
    for level in range(a.levels):
        across = 1 if level < a.in_plane_levels else 2
        voxels.append([n // f for n, f in zip(voxels[-1], (2, 2, across), strict=False)])
    counts = [prod(v) for v in voxels]

    def layer(
        maps_in: int, maps_out: int, kernel: int, where: int, stages: int = 2, inputs_at: int | None = None
    ) -> None:
        """Add a convolution; ``stages`` outputs are stored: itself, its normalisation, its ReLU."""
        nonlocal weights, multiplications, activations, widest
        weights += kernel * maps_in * maps_out + maps_out
        inputs_at = where if inputs_at is None else inputs_at
        multiplications += kernel * maps_in * maps_out * min(counts[where], counts[inputs_at])
        if a.normalisation and stages == 2:
            weights += 2 * maps_out
            stages = 3
        activations += stages * maps_out * counts[where]
        widest = max(widest, copied + maps_in * counts[inputs_at] + maps_out * counts[where])

    def kernel(level: int, width: int = 3) -> int:
        flat = width**2
        return flat if a.dimensions == 2 else flat * (1 if level < a.in_plane_levels else width)

    maps = CHANNELS_2D if a.dimensions == 2 else 1
    for level in range(a.levels):
        wide = a.features * 2**level
        layer(maps, wide, kernel(level), level)
        layer(wide, wide, kernel(level), level)
        copied += wide * counts[level]
        activations += wide * counts[level + 1]  # pooled
        maps = wide
    centre = a.features * 2**a.levels
    layer(maps, centre, kernel(a.levels), a.levels)
    for _ in a.dilation_rates:
        layer(centre, centre, kernel(a.levels), a.levels)
    maps = centre * len(a.dilation_rates)
    if len(a.dilation_rates) > 1:
        activations += maps * counts[a.levels]  # side by side
    for level in reversed(range(a.levels)):
        wide = a.features * 2**level
        layer(maps, wide, kernel(level, 2), level, stages=1, inputs_at=level + 1)
        activations += 2 * wide * counts[level]  # with the copied maps
        copied -= wide * counts[level]
        layer(2 * wide, wide, kernel(level), level)
        layer(wide, wide, kernel(level), level)
        maps = wide
    layer(maps, 2, 1, 0, stages=1)
    activations += 2 * counts[0]  # softmax
    return Cost(weights, multiplications, activations, widest)


def machine_bytes() -> int:
    """This machine's memory."""
    import psutil

    return int(psutil.virtual_memory().total)


def warn_if_too_large(name: str, needed: int, available: int) -> bool:
    """Warn where a network would need more memory than the machine has; whether it did."""
    if needed <= available:
        return False
    warnings.warn(
        f"{name} needs at least {needed / 1e9:.1f} GB, this machine has {available / 1e9:.1f}: expect it to be killed. "
        "Choose fewer features or levels, a smaller grid, or a smaller batch.",
        ResourceWarning,
        stacklevel=2,
    )
    return True
