"""The field of view, and shapes carried from a coarse grid to the pixels.

Distances to surfaces are smooth, so they are computed on a coarse grid of 1.25 mm and interpolated. The interpolation
is exact arithmetic: distances are multiples of 1/128, weights of 1/32, so that every product and sum fits a float32
without rounding, whatever order a machine adds in. Masks are then the same on any machine but where the distances
themselves, computed before rounding, fall on either side of a half: one pixel of an expert's mask in 40 women at 512.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from femur_lib.phantom.shapes import Points

FIELD_OF_VIEW_MM = (119.808, 119.808, 90.0)  # rows, columns, slices: 512 x 0.234 mm and 60 x 1.5 mm (paper, Dataset)
COARSE = 96  # cells of the coarse grid across the field of view
BEYOND = 0.3125  # of the field of view, on each side, where what wraps round comes from


@dataclass(frozen=True)
class Field:
    """Pixels and slices that divide the paper's field of view; arrays are (slices, rows, columns).

    ``beyond``: also what lies to the left and right of the field of view.
    """

    pixels: int
    slices: int
    beyond: bool = False

    @property
    def pixel_mm(self) -> float:
        """Width of a pixel."""
        return FIELD_OF_VIEW_MM[0] / self.pixels

    @property
    def slice_mm(self) -> float:
        """Distance from one slice to the next."""
        return FIELD_OF_VIEW_MM[2] / self.slices

    @property
    def coarse(self) -> int:
        """Cells of the coarse grid across the field of view."""
        return min(self.pixels, COARSE)

    def margin(self, pixels: int) -> int:
        """Columns beyond the field of view on each side, on a grid of that many pixels across it."""
        return round(pixels * BEYOND) if self.beyond else 0

    def axes_mm(self, pixels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centres of slices (front to back), rows (top to bottom) and columns (medial to lateral) on such a grid.

        Millimetres from the centre of the field of view, growing to the front, upwards and laterally.
        """
        margin = self.margin(pixels)
        y = ((self.slices - 1) / 2 - np.arange(self.slices)) * self.slice_mm
        z = ((pixels - 1) / 2 - np.arange(pixels)) * (FIELD_OF_VIEW_MM[0] / pixels)
        x = (np.arange(-margin, pixels + margin) - (pixels - 1) / 2) * (FIELD_OF_VIEW_MM[1] / pixels)
        return y, z, x

    def points(self, pixels: int, place: tuple[float, float, float]) -> Points:
        """Coordinates x, y, z of a grid's points from a place, sparse."""
        y, z, x = self.axes_mm(pixels)
        return (
            (x - place[0]).astype(np.float32)[None, None, :],
            (y - place[1]).astype(np.float32)[:, None, None],
            (z - place[2]).astype(np.float32)[None, :, None],
        )

    def weights(self, pixels: int) -> tuple[np.ndarray, np.ndarray]:
        """Matrices that carry a coarse slice to a grid of that many pixels: (rows, coarse), (coarse, columns)."""
        rows = interpolation(pixels, self.coarse)
        columns = interpolation(pixels, self.coarse, self.margin(pixels), self.margin(self.coarse))
        return rows, columns.T

    def enlarged(self, coarse: np.ndarray, pixels: int = 0, box: tuple[slice, slice] | None = None) -> np.ndarray:
        """One coarse slice on a grid of that many pixels (0: the field's own), or a box of it (rows, columns)."""
        rows, columns = self.weights(pixels or self.pixels)
        if box:
            rows, columns = rows[box[0]], columns[:, box[1]]
        return rows @ coarse @ columns


@lru_cache(maxsize=16)
def interpolation(fine: int, coarse: int, fine_margin: int = 0, coarse_margin: int = 0) -> np.ndarray:
    """Linear interpolation between the centres of coarse cells, (fine, coarse) with the margins on both sides."""
    place = (np.arange(-fine_margin, fine + fine_margin) + 0.5) * coarse / fine - 0.5 + coarse_margin
    place = np.round(place * 32) / 32
    first = np.clip(np.floor(place).astype(int), 0, coarse + 2 * coarse_margin - 2)
    weight = place - first
    matrix = np.zeros((len(place), coarse + 2 * coarse_margin), np.float32)
    matrix[np.arange(len(place)), first] = 1 - weight
    matrix[np.arange(len(place)), first + 1] += weight
    return matrix


def exact(distance: np.ndarray) -> np.ndarray:
    """Rounded so that interpolating it is exact; far from a surface, cut off at 60."""
    return (np.rint(np.clip(distance, -60, 60) * 128) / 128).astype(np.float32)


def voxel_widths(distance: np.ndarray, field: Field) -> np.ndarray:
    """How many mm of the way across a surface one voxel takes: its box seen along the surface's normal.

    A surface that is oblique to thick slices is blurred over more millimetres: partial volume.
    """
    cell = FIELD_OF_VIEW_MM[0] / field.coarse
    slopes = np.gradient(distance, field.slice_mm, cell, cell)
    sizes = (field.slice_mm, field.pixel_mm, field.pixel_mm)
    return sum(np.abs(g) * np.float32(s) for g, s in zip(slopes, sizes, strict=True)) + np.float32(0.05)
