"""The field of view, and how shapes are carried from a coarse grid to its pixels.

Distances to surfaces are smooth, so we compute them on a coarse grid of 1.25 mm and interpolate. The interpolation is
exact: distances are multiples of 1/128 and weights multiples of 1/32, so that every product and every sum fits a
float32 without rounding, in whatever order a machine adds. Masks are therefore the same on every machine, unless a
distance itself, before it is rounded, falls on the other side of a half: that was one pixel of an expert's mask in 40
women at 512 pixels.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from femur_lib.phantom.shapes import Points

FIELD_OF_VIEW_MM = (119.808, 119.808, 90.0)  # rows, columns, slices: 512 x 0.234 mm and 60 x 1.5 mm (paper, Dataset)
COARSE = 96  # cells of the coarse grid across this field of view
BEYOND = 0.3125  # of the field of view, on each side: as far as what wraps round comes from
Box = tuple[slice, slice]  # rows and columns


@dataclass(frozen=True)
class Field:
    """A field of view, by default the paper's, divided into pixels and slices; arrays are (slices, rows, columns).

    Attributes:
        pixels: rows, and columns, across the field of view.
        slices: from front to back.
        beyond: whether arrays also hold what lies to the left and right of the field of view.
        view_mm: how much it covers (rows, columns, slices); rows and columns cover the same.
    """

    pixels: int
    slices: int
    beyond: bool = False
    view_mm: tuple[float, float, float] = FIELD_OF_VIEW_MM

    @property
    def pixel_mm(self) -> float:
        """Width of a pixel."""
        return self.view_mm[0] / self.pixels

    @property
    def slice_mm(self) -> float:
        """Distance from one slice to the next."""
        return self.view_mm[2] / self.slices

    @property
    def coarse(self) -> int:
        """Cells of the coarse grid across the field of view: in a wider one as many more."""
        return min(self.pixels, round(COARSE * self.view_mm[0] / FIELD_OF_VIEW_MM[0]))

    def margin(self, pixels: int) -> int:
        """Columns beyond the field of view on each side, on a grid with so many pixels across it."""
        return round(pixels * BEYOND) if self.beyond else 0

    @property
    def core(self) -> slice:
        """The columns that lie in the field of view."""
        margin = self.margin(self.pixels)
        return slice(margin, margin + self.pixels)

    def axes_mm(self, pixels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centres of slices (front to back), rows (top to bottom) and columns (medial to lateral) of such a grid.

        They are millimetres from the centre of the field of view, and grow to the front, upwards and laterally.
        """
        margin = self.margin(pixels)
        y = ((self.slices - 1) / 2 - np.arange(self.slices)) * self.slice_mm
        z = ((pixels - 1) / 2 - np.arange(pixels)) * (self.view_mm[0] / pixels)
        x = (np.arange(-margin, pixels + margin) - (pixels - 1) / 2) * (self.view_mm[1] / pixels)
        return y, z, x

    def points(self, pixels: int, place: tuple[float, float, float]) -> Points:
        """Coordinates x, y, z of such a grid's points, counted from a place; three arrays that broadcast."""
        y, z, x = self.axes_mm(pixels)
        return (
            (x - place[0]).astype(np.float32)[None, None, :],
            (y - place[1]).astype(np.float32)[:, None, None],
            (z - place[2]).astype(np.float32)[None, :, None],
        )

    def weights(self, pixels: int) -> tuple[np.ndarray, np.ndarray]:
        """Matrices that carry a coarse slice to such a grid: (rows, coarse) and (coarse, columns)."""
        rows = interpolation(pixels, self.coarse)
        columns = interpolation(pixels, self.coarse, self.margin(pixels), self.margin(self.coarse))
        return rows, columns.T

    def enlarged(self, coarse: np.ndarray, pixels: int = 0, box: Box | None = None) -> np.ndarray:
        """One coarse slice on such a grid (0 pixels: the field's own), or a box of it."""
        rows, columns = self.weights(pixels or self.pixels)
        if box:
            rows, columns = rows[box[0]], columns[:, box[1]]
        return rows @ coarse @ columns

    def box_around(self, distances: np.ndarray, reach: float, pixels: int = 0) -> Box | None:
        """Rows and columns, on such a grid, of all that lies within ``reach`` of a coarse slice's surfaces."""
        near, scale = distances < reach, (pixels or self.pixels) / self.coarse
        if not near.any():
            return None

        def span(found: np.ndarray, cells: int) -> slice:
            first, last = max(0, found[0] - 1), min(cells, found[-1] + 2)
            return slice(int(first * scale), int(np.ceil(last * scale)))

        rows, columns = (span(np.flatnonzero(near.any(1 - axis)), near.shape[axis]) for axis in (0, 1))
        return rows, columns


@lru_cache(maxsize=16)
def interpolation(fine: int, coarse: int, fine_margin: int = 0, coarse_margin: int = 0) -> np.ndarray:
    """Linear interpolation between the centres of coarse cells: a matrix (fine, coarse), margins on both sides."""
    place = (np.arange(-fine_margin, fine + fine_margin) + 0.5) * coarse / fine - 0.5 + coarse_margin
    place = np.round(place * 32) / 32
    first = np.clip(np.floor(place).astype(int), 0, coarse + 2 * coarse_margin - 2)
    weight = place - first
    matrix = np.zeros((len(place), coarse + 2 * coarse_margin), np.float32)
    matrix[np.arange(len(place)), first] = 1 - weight
    matrix[np.arange(len(place)), first + 1] += weight
    return matrix


def exact(distance: np.ndarray) -> np.ndarray:
    """Distances rounded so that interpolating them is exact; far from the surface they stop at 60."""
    return (np.rint(np.clip(distance, -60, 60) * 128) / 128).astype(np.float32)


def voxel_widths(distance: np.ndarray, field: Field) -> np.ndarray:
    """How many millimetres of the way across a surface one voxel takes: its width seen along the surface's normal.

    A surface that is oblique to thick slices is blurred over more millimetres: that is the partial volume effect.
    """
    cell = field.view_mm[0] / field.coarse
    slopes = np.gradient(distance, field.slice_mm, cell, cell)
    sizes = (field.slice_mm, field.pixel_mm, field.pixel_mm)
    return sum(np.abs(g) * np.float32(s) for g, s in zip(slopes, sizes, strict=True)) + np.float32(0.05)
