"""What a network sees of a scan: slices, resampled in-plane, on one grey scale; and the way back.

The paper keeps the central 48 of 60 slices, and resamples each from 512 x 512 to 256 x 256 for 3D networks (Dataset).
So is a network *trained*. Once trained, it answers for every slice of a scan (:func:`femur_lib.inference.segment`).
Probabilities, not masks, are brought back to the scan's own grid, so that masks are made and scored there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nibabel.processing import fwhm2sigma
from scipy import ndimage

from femur_lib._runtime.errors import DataError
from femur_lib.volumes import Volume, central_slices, to_stack

AIR = 0.5  # of the brightness of a scan's body: slices that are darker show mostly air


@dataclass(frozen=True)
class Grid:
    """How a network sees a scan: ``rows`` x ``columns`` after resampling; it is trained on the central ``slices``.

    The paper: 512 x 512 x 48 for 2D networks and 256 x 256 x 48 for 3D ones.
    """

    rows: int
    columns: int
    slices: int


def to_grid(stack: np.ndarray, grid: Grid, every_slice: bool = False) -> np.ndarray:
    """What a network sees of a stack: its central slices, resampled by cubic splines, z-scored; float32.

    With ``every_slice`` it is the whole stack, on the same grey scale (:func:`reference_slices`).

    Raises:
        DataError: all voxels of those slices have one value.
    """
    if not every_slice:
        stack = stack[..., central_slices(stack.shape[2], grid.slices)]
    resampled = resample_in_plane(np.asarray(stack, np.float32), grid.rows, grid.columns)
    return z_score(resampled, resampled[..., reference_slices(resampled, grid.slices)])


def reference_slices(stack: np.ndarray, wanted: int) -> slice:
    """The ``wanted`` slices of a stack that are most like what training showed.

    Their mean and standard deviation set the grey scale of the whole stack. Those of all slices would depend on how
    much a scan shows in front of the hip and behind it. They are the central ones, as in training, unless some of
    these show air, because the body does not lie in the middle of the scan: then they are the central ones of the body.

    >>> body_then_air = np.repeat([[[5.0, 0.0]]], [6, 9], axis=2)
    >>> reference_slices(body_then_air, 4)
    slice(1, 5, None)
    """
    central = central_slices(stack.shape[2], wanted)
    if stack.shape[2] <= wanted:
        return central
    brightness = stack.mean((0, 1), dtype=np.float64) - stack.min()
    body = np.flatnonzero(brightness >= AIR * np.sort(brightness)[-wanted:].mean())
    if body[0] <= central.start and central.stop <= body[-1] + 1:
        return central
    first = int(np.clip((body[0] + body[-1] + 1 - wanted) // 2, 0, stack.shape[2] - wanted))
    return slice(first, first + wanted)


def mask_to_grid(stack: np.ndarray, grid: Grid) -> np.ndarray:
    """The mask that goes with :func:`to_grid`; uint8, 0 and 1.

    It is resampled linearly and cut at one half; a pixel of which exactly half is covered counts as femur. Unlike
    nearest neighbour, this does not shift the border.
    """
    stack = stack[..., central_slices(stack.shape[2], grid.slices)].astype(np.float32)
    return (resample_in_plane(stack, grid.rows, grid.columns, order=1) >= 0.5).astype(np.uint8)


def from_grid(probability: np.ndarray, stack_shape: tuple[int, ...]) -> np.ndarray:
    """Bring probabilities from the network's grid back to the stack they came from, by linear interpolation.

    If there are fewer slices than in the stack, they are its central ones, and the others get probability 0.
    Probabilities are interpolated rather than masks, so that a threshold is applied on the scan's own grid (the paper
    scores against the original 512 x 512 masks).
    """
    rows, columns, slices = stack_shape
    out = np.zeros((rows, columns, slices), np.float32)
    out[..., central_slices(slices, probability.shape[2])] = resample_in_plane(probability, rows, columns, order=1)
    return out


def resample_in_plane(stack: np.ndarray, rows: int, columns: int, order: int = 3) -> np.ndarray:
    """Resample every slice to ``rows`` x ``columns`` by spline interpolation.

    The image's *extent* is kept (the outer edges of the corner pixels stay where they are), so a factor of two puts
    each new pixel's centre in the middle of its four old ones. Order 3 is the paper's bicubic spline; 0 is nearest
    neighbour; 1 is linear, for probabilities.
    """
    if stack.shape[:2] == (rows, columns):
        return stack
    factors = rows / stack.shape[0], columns / stack.shape[1]
    out = np.empty((rows, columns, stack.shape[2]), stack.dtype)
    for k in range(stack.shape[2]):
        out[..., k] = ndimage.zoom(stack[..., k], factors, order=order, mode="nearest", grid_mode=True)
    return out


def with_slices_of(volume: Volume, mm: float) -> Volume:
    """The stack of a scan, resampled to slices of about ``mm``; its depth is kept, as its extent in-plane is.

    Thinner slices are blurred before, so that a new one shows what a slice of its thickness would have shown.
    """
    stack = to_stack(volume)
    array = np.asarray(stack.array, np.float32)
    slices = max(1, round(array.shape[2] * stack.spacing_mm[2] / mm))
    thicker = array.shape[2] / slices
    if thicker > 1:
        array = ndimage.gaussian_filter1d(array, fwhm2sigma(np.sqrt(thicker**2 - 1)), axis=2, mode="nearest")
    affine = stack.affine.copy()
    affine[:, 2] *= thicker
    affine[:, 3] = stack.affine @ (0, 0, (thicker - 1) / 2, 1)  # where the first new slice has its middle
    return Volume(resample_slices(array, slices, order=3), affine)


def resample_slices(stack: np.ndarray, slices: int, order: int = 1) -> np.ndarray:
    """Resample a stack to so many slices as :func:`resample_in_plane` does in-plane: the depth is kept."""
    return ndimage.zoom(stack, (1, 1, slices / stack.shape[2]), order=order, mode="nearest", grid_mode=True)


def z_score(array: np.ndarray, part: np.ndarray | None = None) -> np.ndarray:
    """Subtract the volume's mean and divide by its standard deviation (float32). The paper is silent on grey levels.

    Mean and standard deviation are those of ``part`` where it is given.

    Raises:
        DataError: every voxel (of the part) has the same value.
    """
    array = np.asarray(array, np.float32)
    part = array if part is None else part
    if part.min() == part.max():
        raise DataError("The slices that the network would see have the same value in every voxel.", "Check the scan.")
    return (array - part.mean()) / part.std()


def grid_spacing_mm(volume: Volume, grid: Grid) -> tuple[float, float, float]:
    """Millimetres between the voxels that a network sees of a scan, once its stack is resampled to the grid."""
    stack = to_stack(volume)
    rows, columns, slices = stack.spacing_mm
    return rows * stack.array.shape[0] / grid.rows, columns * stack.array.shape[1] / grid.columns, slices


def three_slices(stack: np.ndarray, k: int) -> np.ndarray:
    """Slice ``k`` with its neighbours as channels, (rows, columns, 3); the first and the last slice repeat themselves.

    The paper's 2D network takes "three consecutive slices and the segmentation mask from the center slice".
    """
    last = stack.shape[2] - 1
    return stack[..., [max(0, k - 1), k, min(last, k + 1)]]


def padded_size(size: Sequence[int], multiples: Sequence[int]) -> tuple[int, ...]:
    """The size that :func:`pad_to_multiple` gives."""
    return tuple(-(-n // m) * m for n, m in zip(size, multiples, strict=True))


def pad_to_multiple(array: np.ndarray, multiples: Sequence[int]) -> np.ndarray:
    """Mirror the ends of the leading axes outwards until each is a multiple; :func:`unpad` is the way back."""
    widths = []
    for n, multiple in zip(array.shape, multiples, strict=False):
        extra = -n % multiple
        widths.append((extra // 2, extra - extra // 2))
    widths += [(0, 0)] * (array.ndim - len(widths))
    return np.pad(array, widths, mode="symmetric")


def unpad(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Cut the middle of the given shape out of the leading axes."""
    starts = [(n - m) // 2 for n, m in zip(array.shape, shape, strict=False)]
    return array[tuple(slice(s, s + m) for s, m in zip(starts, shape, strict=True))]
