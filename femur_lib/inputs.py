"""What of a stack goes into a network at once: three slices, or a volume of a size that poolings divide."""

from collections.abc import Sequence

import numpy as np


def three_slices(stack: np.ndarray, k: int) -> np.ndarray:
    """Slice ``k`` with its neighbours as channels, (rows, columns, 3); the ends repeat themselves."""
    last = stack.shape[2] - 1
    return stack[..., [max(0, k - 1), k, min(last, k + 1)]]


def padded_size(size: Sequence[int], multiples: Sequence[int]) -> tuple[int, ...]:
    """The size that :func:`pad_to_multiple` gives."""
    return tuple(-(-n // m) * m for n, m in zip(size, multiples, strict=True))


def pad_to_multiple(array: np.ndarray, multiples: Sequence[int]) -> np.ndarray:
    """Mirror the ends of leading axes outwards until each is a multiple; :func:`unpad` is the way back."""
    widths = []
    for n, multiple in zip(array.shape, multiples, strict=False):
        extra = -n % multiple
        widths.append((extra // 2, extra - extra // 2))
    widths += [(0, 0)] * (array.ndim - len(widths))
    return np.pad(array, widths, mode="symmetric")


def unpad(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Cut the middle of the given shape out of leading axes."""
    starts = [(n - m) // 2 for n, m in zip(array.shape, shape, strict=False)]
    return array[tuple(slice(s, s + m) for s, m in zip(starts, shape, strict=True))]
