"""A slice being painted."""

from dataclasses import dataclass
from types import EllipsisType

import numpy as np

from femur_lib.phantom.field import Field

Where = tuple[np.ndarray, ...] | EllipsisType


@dataclass(frozen=True)
class Canvas:
    """A slice being painted: the brightness of fat and of water at every pixel, (rows, columns)."""

    fat: np.ndarray
    water: np.ndarray

    @classmethod
    def blank(cls, rows: int, columns: int) -> "Canvas":
        """Nothing painted yet: air."""
        return cls(*np.zeros((2, rows, columns), np.float32))

    def cover(
        self,
        share: np.ndarray,
        fat: np.ndarray | float = 0.0,
        water: np.ndarray | float = 0.0,
        where: Where = ...,
    ) -> None:
        """Paint a tissue over a share (0 to 1) of each pixel, or of the pixels ``where`` names."""
        self.fat[where] += share * (fat - self.fat[where])
        self.water[where] += share * (water - self.water[where])

    def part(self, box: tuple[slice, slice]) -> "Canvas":
        """A rectangle of this canvas; what is painted there is painted here."""
        return Canvas(self.fat[box], self.water[box])


def box_of(distances: np.ndarray, reach: float, field: Field, pixels: int) -> tuple[slice, slice] | None:
    """Rows and columns, on a grid of that many pixels, of all within ``reach`` of a coarse slice's surfaces."""
    rows, columns = np.flatnonzero((distances < reach).any(1)), np.flatnonzero((distances < reach).any(0))
    if not rows.size:
        return None
    scale = pixels / field.coarse

    def span(found: np.ndarray, cells: int) -> slice:
        first, last = max(0, found[0] - 1), min(cells, found[-1] + 2)
        return slice(int(first * scale), int(np.ceil(last * scale)))

    return span(rows, distances.shape[0]), span(columns, distances.shape[1])
