"""What a mask tells about a femur: head, neck-shaft angle, offset, volume, and the bone in its marrow.

The mask is the paper's: *trabecular* bone, inside the cortex ("the trabecular border of bone", Methods, Dataset). So a
head is measured without its cortex, and comes out about 2 mm smaller than a surgeon would measure it. All places are
millimetres in the affine's frame (RAS), so that axis order, flips and oblique slices do not matter.

Lengths and angles are three-dimensional. A radiograph shows projections of them, which depend on how the leg lay.
"""

from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine
from scipy import ndimage, optimize

from femur_lib import volumes
from femur_lib._runtime.errors import DataError
from femur_lib.inference import largest_component
from femur_lib.volumes import Volume, to_stack

EXPECTED_CUT = "inferior"  # every hip scan ends somewhere along the shaft
ENOUGH_OF_A_SPHERE = 0.5  # share of a sphere's surface that the mask's border must follow for it to be called a head
STARTS = 4  # the deepest places are the head and the trochanters, in any order
SHAFT_MM = 15  # the least length of shaft that gives it an axis
HEAD_CORE = 0.8  # bone is measured within this share of the head's radius, away from cortex and joint
MEASURES = ("head_diameter_mm", "neck_shaft_angle_degrees", "offset_mm", "volume_cm3", "bone_fraction")


@dataclass(frozen=True)
class Sphere:
    """The femoral head: centre (3,) and radius in mm. The mask's border follows ``covered``, a share of its surface."""

    centre_mm: np.ndarray
    radius_mm: float
    covered: float

    @property
    def diameter_mm(self) -> float:
        """Twice the radius."""
        return 2 * self.radius_mm


@dataclass(frozen=True)
class Axis:
    """A line: a point (3,) in mm, and a unit vector (3,) along it that points upwards."""

    point_mm: np.ndarray
    up: np.ndarray

    def distance_mm(self, place_mm: np.ndarray) -> float:
        """The shortest distance from a place to the line."""
        return float(np.linalg.norm(np.cross(place_mm - self.point_mm, self.up)))


cut_by = volumes.faces_touched  # where a mask touches the image's border, the femur may go on


def volume_cm3(mask: Volume) -> float:
    """Volume of a whole femur in cm³.

    Raises:
        DataError: the mask is empty, or the image cuts it elsewhere than at its lower end. What is left is then not the
            volume of a proximal femur.
    """
    _not_empty(mask)
    cut = _unexpected_cuts(mask)
    if cut:
        raise DataError(
            f"The femur is cut by the image's {' and '.join(cut)} border; one cut at its lower end alone was expected.",
            "Leave its volume out, or scan again with a larger field of view.",
        )
    return volumes.volume_cm3(mask)


def _unexpected_cuts(mask: Volume) -> list[str]:
    return [face for face in cut_by(mask) if face != EXPECTED_CUT]


def border_points(mask: Volume) -> np.ndarray:
    """Places (N, 3) in mm midway between two neighbouring voxels of which exactly one is in the mask.

    Only neighbours along the two finer axes count, because across thick slices the border may lie anywhere within a
    slice. Where the image ends, the bone does not, so the image's own border gives no places.
    """
    places = []
    for axis in np.argsort(mask.spacing_mm, kind="stable")[:2]:
        index = np.argwhere(np.diff(mask.array.astype(np.int8), axis=int(axis))).astype(float)
        index[:, axis] += 0.5
        places.append(index)
    return np.asarray(apply_affine(mask.affine, np.concatenate(places)))


def fit_head(mask: Volume) -> Sphere:
    """The sphere that the femoral head follows, without its cortex.

    From each of the places deepest inside the mask, centre and radius are fitted to the border by robust least squares
    (Cauchy loss), so that neck and fovea, which leave the sphere, hardly count. Of these fits, the head is the one that
    the border follows over the largest share of its surface.

    Raises:
        DataError: the mask is empty, or the border follows no sphere over half of its surface.
    """
    _not_empty(mask)
    border, depth = border_points(mask), _depth(mask)
    reach = [2 * round(6 / mm) + 1 for mm in depth.spacing_mm]
    peak, peaks = ndimage.label(depth.array == ndimage.maximum_filter(depth.array, reach))
    deepest = ndimage.maximum_position(depth.array, peak, range(1, peaks + 1))
    deepest = sorted(deepest, key=lambda index: -depth.array[index])[:STARTS]
    starts = [Sphere(apply_affine(depth.affine, index), depth.array[index] + 1, 0) for index in deepest]
    head = max((_fit_sphere(border, start) for start in starts), key=lambda sphere: sphere.covered)
    if head.covered < ENOUGH_OF_A_SPHERE:
        raise DataError(
            f"The mask has no round head: its border follows the best sphere over {head.covered:.0%} of its surface; "
            f"at least {ENOUGH_OF_A_SPHERE:.0%} was expected.",
            "Look at the mask.",
        )
    return head


def _fit_sphere(border: np.ndarray, start: Sphere) -> Sphere:
    centre, radius = start.centre_mm, start.radius_mm
    for within in (4, 2, 2):
        near = border[np.abs(np.linalg.norm(border - centre, axis=1) - radius) < within]
        if len(near) < 20:
            return start

        def off(p: np.ndarray, near: np.ndarray = near) -> np.ndarray:
            return np.linalg.norm(near - p[:3], axis=1) - p[3]

        *centre, radius = optimize.least_squares(off, [*centre, radius], loss="cauchy", f_scale=0.4).x
    away = border - centre
    distance = np.linalg.norm(away, axis=1)
    away = away[np.abs(distance - radius) < 1]
    # Patches of equal area: equal steps of height and of longitude.
    height, longitude = away[:, 2] / np.linalg.norm(away, axis=1), np.arctan2(away[:, 1], away[:, 0])
    patches = np.histogram2d(height, longitude, bins=(8, 16), range=((-1, 1), (-np.pi, np.pi)))[0]
    return Sphere(np.array(centre), float(radius), float((patches > 0).mean()))


def shaft_axis(mask: Volume, head: Sphere) -> Axis:
    """The line through the centres of the largest circles that fit into the shaft's sections.

    There is one section for each row of the stack, from the lower end up to the widest section, between the
    trochanters. We take inscribed circles rather than centroids because the lesser trochanter, a bump on one side,
    would draw a centroid towards it. A proximal femur has little shaft, so this line, and all that depends on it, is
    the least certain of these measures.

    Raises:
        DataError: there is less than ``SHAFT_MM`` of femur below the head.
    """
    depth = _sections(mask)
    lowest_of_head = apply_affine(np.linalg.inv(depth.affine), head.centre_mm)[0] + head.radius_mm / depth.spacing_mm[0]
    rows = [row for row in np.flatnonzero((depth.array > 0).any((1, 2))) if row > lowest_of_head]
    circles = []
    for row in rows[-2::-1]:  # upwards, from the second
        inside = ndimage.distance_transform_edt(np.pad(depth.array[row] > 0, 1))[1:-1, 1:-1]
        circles.append((row, *np.argwhere(inside > inside.max() - 1).mean(0), inside.max()))
    if len(circles) < SHAFT_MM:
        raise DataError(
            f"The mask has {len(circles)} mm of femur below the head; at least {SHAFT_MM} mm were expected.",
            "Leave angle and offset out, or scan again with more of the shaft.",
        )
    circle = np.array(circles)
    widest = max(int(circle[:, 3].argmax()), SHAFT_MM - 1)
    centres = apply_affine(depth.affine, circle[: widest + 1, :3])
    up = np.linalg.svd(centres - centres.mean(0))[2][0]
    return Axis(centres.mean(0), up * np.sign(up[2]))


def neck_direction(mask: Volume, head: Sphere, shaft: Axis) -> np.ndarray:
    """Unit vector (3,) from the head's centre to the centre of the neck's narrowest section.

    Sections are taken at right angles to the direction found so far, which they improve; this is done four times.
    (Bonneau et al. 2012, PMC3482355, also find the neck's axis from successive sections.)
    """
    depth = _depth(mask)
    to_voxel, step = np.linalg.inv(depth.affine), np.arange(-25.0, 26.0)
    foot = shaft.point_mm + shaft.up * ((head.centre_mm - shaft.point_mm) @ shaft.up)
    neck = _unit(foot - 0.7 * shaft.distance_mm(head.centre_mm) * shaft.up - head.centre_mm)  # 125 degrees
    for _ in range(4):
        across = _unit(np.cross(neck, (0, 1, 0)))
        plane = step[:, None, None] * across + step[None, :, None] * np.cross(neck, across)
        sections = []
        for t in np.arange(0.6, 1.8, 0.07) * head.radius_mm:
            places = head.centre_mm + t * neck + plane
            found = ndimage.map_coordinates(depth.array, apply_affine(to_voxel, places).T, order=1, cval=-9).T > 0
            piece = ndimage.label(found)[0]
            if piece[25, 25]:  # where the direction pierces the section
                here = places[piece == piece[25, 25]]
                sections.append((len(here), here.mean(0)))
        if sections:
            neck = _unit(min(sections, key=lambda s: s[0])[1] - head.centre_mm)
    return neck


def neck_shaft_angle_degrees(neck: np.ndarray, shaft: Axis) -> float:
    """The angle between neck and shaft, about 125 degrees in adults."""
    return float(np.rad2deg(np.arccos(np.clip(neck @ shaft.up, -1, 1))))


def marrow_brightness(image: Volume, mask: Volume) -> np.ndarray:
    """The grey level that marrow with little bone would have at every voxel, an array of the image's shape.

    Surface coils receive less from the depth of the body, so one grey level for all voxels would be wrong. We fit a
    plane to the logarithm of the mask's inner voxels, and then, five times, to those above the last plane: the
    bright ones are marrow.
    """
    inner = ndimage.binary_erosion(mask.array) & (image.array > 0)
    inner = inner if inner.any() else mask.array & (image.array > 0)
    places, grey = _with_one(apply_affine(mask.affine, np.argwhere(inner))), np.log(image.array[inner])
    chosen = np.ones(len(grey), bool)
    for _ in range(6):
        plane = np.linalg.lstsq(places[chosen], grey[chosen])[0]
        chosen = grey >= places @ plane
    everywhere = np.moveaxis(np.indices(image.array.shape), 0, -1)
    return np.exp(_with_one(apply_affine(mask.affine, everywhere)) @ plane)


def bone_fraction(image: Volume, mask: Volume, head: Sphere) -> float:
    """Apparent bone fraction of the head: how much darker it is than marrow, 0 (marrow) to 1 (no signal).

    It is the mean of 1 - signal / :func:`marrow_brightness` within ``HEAD_CORE`` of the head's radius. Bone gives no
    signal and marrow does, so a voxel that holds both is dark in proportion. We call it *apparent* because bone also
    makes the signal of the marrow beside it decay faster. Trabeculae are finer than a voxel, so no voxel is called bone
    or marrow; with smaller voxels it is usual to count those below a threshold. Hotca et al. 2015 (PMC4363130; 3 T
    FLASH scans of the hip, like the paper's) find it repeatable to 2.5 % once uneven brightness is corrected.

    Raises:
        DataError: image and mask differ in shape, or no voxel of the mask lies in the head's core.
    """
    if image.array.shape != mask.array.shape:
        raise DataError(
            f"The mask has the shape {mask.array.shape}; that of the image, {image.array.shape}, was expected.",
            "Resample one onto the other.",
        )
    places = apply_affine(mask.affine, np.argwhere(mask.array))
    core = np.zeros(mask.array.shape, bool)
    core[mask.array] = np.linalg.norm(places - head.centre_mm, axis=1) < HEAD_CORE * head.radius_mm
    if not core.any():
        raise DataError("The mask has no voxel in the core of the head; some were expected.", "Look at the mask.")
    return float(1 - (image.array[core] / marrow_brightness(image, mask)[core]).mean())


def measure(mask: Volume, image: Volume | None = None) -> dict[str, float | str]:
    """Every measure of a mask's largest piece, for one row of a table.

    Returns:
        ``MEASURES``, NaN where one cannot be taken (the mask is empty, the head is not round, there is no image; for
        the volume, the image cuts the femur elsewhere than below), and ``cut_by``, the faces of the image that cut the
        femur although they should not, as text.
    """
    mask = Volume(largest_component(mask.array.astype(bool)), mask.affine)
    row: dict[str, float | str] = dict.fromkeys(MEASURES, float("nan"))
    row["cut_by"] = " ".join(_unexpected_cuts(mask))
    try:
        if not row["cut_by"]:
            row["volume_cm3"] = volume_cm3(mask)
        head = fit_head(mask)
        row["head_diameter_mm"] = head.diameter_mm
        if image is not None:
            row["bone_fraction"] = bone_fraction(image, mask, head)
        shaft = shaft_axis(mask, head)
        row["offset_mm"] = shaft.distance_mm(head.centre_mm)
        row["neck_shaft_angle_degrees"] = neck_shaft_angle_degrees(neck_direction(mask, head, shaft), shaft)
    except DataError:
        pass  # the measures taken by then are in the row
    return row


def _not_empty(mask: Volume) -> None:
    if not mask.array.any():
        raise DataError("The mask is empty; a femur was expected.", "Look at the scan, or lower the threshold.")


def _depth(mask: Volume) -> Volume:
    """How many mm each voxel of the mask, and of 5 mm around it, lies inside (negative: outside); smoothed by 1 mm."""
    margin = [int(np.ceil(5 / mm)) for mm in mask.spacing_mm]
    array = np.pad(mask.array, [(m, m) for m in margin])
    found = ndimage.find_objects(array.astype(np.uint8))[0]
    box = tuple(slice(s.start - m, s.stop + m) for s, m in zip(found, margin, strict=True))
    array, spacing = array[box], mask.spacing_mm
    depth = ndimage.distance_transform_edt(array, spacing) - ndimage.distance_transform_edt(~array, spacing)
    affine = mask.affine.copy()
    affine[:3, 3] = apply_affine(mask.affine, [s.start - m for s, m in zip(box, margin, strict=True)])
    return Volume(ndimage.gaussian_filter(depth, [1 / mm for mm in spacing]).astype(np.float32), affine)


def _sections(mask: Volume) -> Volume:
    """:func:`_depth` as a stack whose rows are 1 mm apart, on pixels of 0.5 mm."""
    stack = to_stack(_depth(mask))
    array = ndimage.zoom(stack.array, np.divide(stack.spacing_mm, (1, 0.5, 0.5)), order=1)
    steps = (np.array(stack.array.shape) - 1) / (np.array(array.shape) - 1)
    return Volume(array, stack.affine @ np.diag([*steps, 1]))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _with_one(places: np.ndarray) -> np.ndarray:
    return np.concatenate([places / 50, np.ones((*places.shape[:-1], 1))], -1)
