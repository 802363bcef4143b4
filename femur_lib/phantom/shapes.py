"""Solid shapes as signed distances: millimetres from a surface, negative inside.

Distances can be combined. The smaller of two is the distance to both shapes together, and a *smooth* minimum joins
them with a fillet, as bone grows into bone (I. Quilez, "Distance functions",
https://iquilezles.org/articles/distfunctions).
"""

from collections.abc import Sequence

import numpy as np

# Coordinates x, y, z in mm: three arrays that broadcast against each other.
Points = tuple[np.ndarray, np.ndarray, np.ndarray]
Vector = Sequence[float] | np.ndarray


def along(p: Points, direction: Vector) -> np.ndarray:
    """How far each point lies along a direction (dot product)."""
    # Python's own floats: a NumPy float64 scalar would turn whole float32 arrays into float64.
    a, b, c = (float(d) for d in direction)
    return p[0] * a + p[1] * b + p[2] * c


def turned(p: Points, rotation: np.ndarray) -> Points:
    """The same points in the frame whose axes are the rows of ``rotation``."""
    x, y, z = (along(p, row) for row in rotation)
    return x, y, z


def smooth_step(value: np.ndarray, start: float, end: float) -> np.ndarray:
    """0 before ``start``, 1 after ``end``, an S-shaped rise between."""
    t = np.clip((value - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def smooth_union(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Both shapes, with a fillet of about ``k`` mm where they meet (polynomial smooth minimum)."""
    h = np.clip(0.5 + (b - a) / (2 * k), 0, 1)
    return b + (a - b) * h - k * h * (1 - h)


def without(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """What is left of the first shape when the second is cut away, with edges rounded by about ``k`` mm."""
    return -smooth_union(-a, b, k)


def common(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """What two shapes share, with edges rounded by about ``k`` mm."""
    return -smooth_union(-a, -b, k)


def sphere(p: Points, centre: Vector, radius: float) -> np.ndarray:
    """Distance to a sphere."""
    return np.sqrt(sum((a - float(c)) ** 2 for a, c in zip(p, centre, strict=True))) - radius


def capsule(p: Points, start: Vector, end: Vector, start_radius: float, end_radius: float) -> np.ndarray:
    """Distance to a rod with round ends whose radius changes evenly along it (exact where the radii are equal)."""
    start, axis = np.asarray(start, float), np.subtract(end, start)
    t = np.clip((along(p, axis) - float(start @ axis)) / float(axis @ axis), 0, 1)
    squared = sum((a - float(s) - t * float(d)) ** 2 for a, s, d in zip(p, start, axis, strict=True))
    return np.sqrt(squared) - (start_radius + t * (end_radius - start_radius))


def ellipsoid(p: Points, centre: Vector, axes: Sequence[Vector], radii: Sequence[float]) -> np.ndarray:
    """Distance to an ellipsoid with the given orthonormal axes; it is true near the surface only."""
    q = [(along(p, v) - float(np.dot(centre, v))) / float(r) for v, r in zip(axes, radii, strict=True)]
    length = np.sqrt(sum(a**2 for a in q))
    slope = np.sqrt(sum((a / float(r)) ** 2 for a, r in zip(q, radii, strict=True))) + 1e-6
    return length * (length - 1) / slope


def occupancy(distance: np.ndarray, width: np.ndarray | float) -> np.ndarray:
    """How much of a voxel lies inside a surface: it falls from 1 to 0 over ``width`` mm (partial volume)."""
    return np.clip(0.5 - distance / width, 0, 1)


def band(distance: np.ndarray, half_width: float) -> np.ndarray:
    """A thin layer: 1 on a surface, falling evenly to 0 at ``half_width`` mm on either side."""
    return np.clip(1 - np.abs(distance) / half_width, 0, 1)
