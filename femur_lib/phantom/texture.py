"""Randomness with a structure: smooth fields, and the strands of trabecular bone and muscle."""

from functools import lru_cache

import numpy as np
from scipy import fft

# Variance of a sum of cubic B-splines with independent unit weights, averaged over a cell: 151 / 315 along each axis.
_SPLINE_SD = (151 / 315) ** 0.5


def spline_matrix(at_mm: np.ndarray, start_mm: float, end_mm: float, knot_mm: float) -> np.ndarray:
    """Weights (points, knots) of the uniform cubic B-splines that cover the way from start to end."""
    knots = int(np.ceil((end_mm - start_mm) / knot_mm)) + 3
    place = np.clip((at_mm - start_mm) / knot_mm, 0, knots - 3 - 1e-6)
    first = np.floor(place).astype(int)
    w = place - first
    weights = np.zeros((len(at_mm), knots), np.float32)
    splines = ((1 - w) ** 3, 3 * w**3 - 6 * w**2 + 4, -3 * w**3 + 3 * w**2 + 3 * w + 1, w**3)
    for j, spline in enumerate(splines):
        weights[np.arange(len(at_mm)), first + j] = spline / 6
    return weights


def smooth_field(
    rng: np.random.Generator, axes_mm: tuple[np.ndarray, ...], room_mm: tuple[float, ...], knots_mm: tuple[float, ...]
) -> np.ndarray:
    """Smooth noise with mean 0 and a standard deviation of about 1.

    It depends on the place in mm alone: sampled more finely, or over more of the same room, it is the same field.

    Args:
        rng: where the weights come from.
        axes_mm: where to sample, along each of three axes.
        room_mm: half the length of the room that it fills around 0, along each axis.
        knots_mm: distance of the splines' knots along each axis; features are about as long.
    """
    matrices = [spline_matrix(a, -r, r, k) for a, r, k in zip(axes_mm, room_mm, knots_mm, strict=True)]
    weights = rng.standard_normal([m.shape[1] for m in matrices], np.float32)
    field = np.tensordot(matrices[0], weights, 1)
    field = np.matmul(np.matmul(matrices[1], field), matrices[2].T)
    return field / np.float32(_SPLINE_SD**3)


# One tile of strands: through slices, across strands, along them. It is periodic, so that every millimetre has a value.
TILE = (32, 512, 256)
TILE_MM = (1.5, 0.117, 0.3)


@lru_cache(maxsize=2)
def strands(pixel_mm: float, slice_mm: float) -> np.ndarray:
    """A tile of noise with strands about 0.9 mm apart; standard deviation 1 at the paper's resolution.

    The difference of two Gaussians, of 0.20 and 0.55 mm, makes the band that passes across the strands; along them
    1.1 mm pass. A voxel averages what is finer than itself, so each resolution has its own tile, from the same noise.
    """
    noise = fft.rfftn(np.random.default_rng(7).standard_normal(TILE, np.float32))
    through = fft.fftfreq(TILE[0], TILE_MM[0])[:, None, None]
    across = fft.fftfreq(TILE[1], TILE_MM[1])[None, :, None]
    lengthwise = fft.rfftfreq(TILE[2], TILE_MM[2])[None, None, :]

    def gauss(frequency: np.ndarray, sd_mm: float) -> np.ndarray:
        return np.exp(-2 * (np.pi * sd_mm * frequency) ** 2)

    def tile(pixel: float, slab: float) -> np.ndarray:
        box, box_through = pixel / 3.46, slab / 3.46  # sd of a box as wide as a voxel
        passed = gauss(across, float(np.hypot(0.20, box))) - 0.85 * gauss(across, float(np.hypot(0.55, box)))
        passed = passed * gauss(lengthwise, 1.1) * gauss(through, float(np.hypot(0.6, box_through)))
        return fft.irfftn(noise * passed.astype(np.float32), TILE)

    return (tile(pixel_mm, slice_mm) / tile(0.234, 1.5).std()).astype(np.float32)


def at(tile: np.ndarray, across_mm: np.ndarray, along_mm: np.ndarray, through_mm: float) -> np.ndarray:
    """The tile's value at places in mm; it repeats without end."""
    i = (across_mm * np.float32(1 / TILE_MM[1])).astype(np.int32) & (TILE[1] - 1)
    j = (along_mm * np.float32(1 / TILE_MM[2])).astype(np.int32) & (TILE[2] - 1)
    return tile[int(through_mm / TILE_MM[0]) % TILE[0]].ravel()[i * TILE[2] + j]
