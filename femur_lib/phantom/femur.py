"""The proximal femur: its frame, landmarks, surface, cortex, the end of its mask, and its trabeculae.

The *hip's frame* has its origin at the centre of the head, x lateral, y anterior, z superior. It fits a left hip as
well as a right one, because the scan is mirrored in the end. The *femur's frame* is the hip's, turned so that z runs up
the shaft. Lengths are in millimetres; numbers without a source are assumed (``parameters`` has those with one).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.spatial.transform import Rotation

from femur_lib.phantom.parameters import Hip, Protocol
from femur_lib.phantom.shapes import Points, along, common, ellipsoid, smooth_step, smooth_union, sphere, without

UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Landmarks:
    """Points (mm) and directions in the femur's frame, origin at the centre of the head."""

    neck: np.ndarray  # along the neck, from the head to its base
    lateral: np.ndarray
    anterior: np.ndarray
    neck_length: float
    neck_base: np.ndarray  # where the neck's axis meets the shaft's
    greater_trochanter: np.ndarray  # its tip
    lesser_trochanter: np.ndarray  # the centre of its base


@lru_cache(maxsize=8)
def landmarks(hip: Hip) -> Landmarks:
    """Where the landmarks lie, by the parameters; the shaft runs along -z through the neck's base."""
    version, angle = np.deg2rad(hip.anteversion), np.deg2rad(hip.neck_shaft_angle)
    lateral = np.array([np.cos(version), -np.sin(version), 0.0])
    anterior = np.array([np.sin(version), np.cos(version), 0.0])
    neck = np.sin(angle) * lateral + np.cos(angle) * UP
    length = float(hip.offset / np.sin(angle))
    base = length * neck

    # We slide the tip of the greater trochanter sideways until it is as far from the head's centre as was drawn. It has
    # to stay on the shaft, so it may not get quite so far.
    tip = base + 23.2 * UP - 3.3 * lateral - 4 * anterior
    slide = np.clip(_slide(tip, lateral, hip.greater_trochanter * hip.head_diameter), -6, 6)

    # The lesser one slides down the shaft; its tip is 5 mm medial of its centre.
    back = np.deg2rad(hip.lesser_trochanter_version)
    out = -np.cos(back) * lateral - np.sin(back) * anterior
    lesser = base + 14.5 * out
    down = _slide(lesser - 5 * lateral, -UP, hip.lesser_trochanter * hip.head_diameter)
    return Landmarks(neck, lateral, anterior, length, base, tip + slide * lateral, lesser - down * UP)


def _slide(point: np.ndarray, direction: np.ndarray, distance: float) -> float:
    """How far to move a point along a unit vector until it is so far from the origin (0 if it never is)."""
    half = float(point @ direction)
    inside = half**2 - float(point @ point) + distance**2
    return -half + float(np.sqrt(inside)) if inside > 0 else 0.0


def femur_frame(hip: Hip) -> np.ndarray:
    """Rows: the femur's axes in the hip's frame (abduction in the coronal, flexion in the sagittal plane)."""
    return Rotation.from_euler("yx", [-hip.abduction, hip.flexion], degrees=True).as_matrix()


def hip_frame(protocol: Protocol) -> np.ndarray:
    """Rows: the hip's axes in the scanner's frame (x lateral, y anterior, z superior)."""
    return Rotation.from_euler("xyz", protocol.turn, degrees=True).as_matrix()


def in_scanner(point: np.ndarray, hip: Hip, protocol: Protocol) -> np.ndarray:
    """Where a point of the femur's frame lies in the scanner: mm lateral, front and up from the field's centre."""
    return np.asarray(protocol.place) + hip_frame(protocol).T @ femur_frame(hip).T @ np.asarray(point)


def surface(p: Points, hip: Hip) -> np.ndarray:
    """Distance to the femur's outer (periosteal) surface, in its own frame."""
    mark = landmarks(hip)
    base, neck, lateral, anterior = mark.neck_base, mark.neck, mark.lateral, mark.anterior
    radius, length = hip.head_diameter / 2, mark.neck_length
    t = along(p, neck)  # along the neck from the head's centre
    down = float(base[2]) - p[2]  # below the neck's base, along the shaft
    sideways, forwards = along(p, lateral) - float(base @ lateral), along(p, anterior) - float(base @ anterior)

    height, depth = neck_half_widths(t, hip)
    upwards = along(p, np.cross(neck, anterior))
    tube = (np.sqrt((upwards / height) ** 2 + (along(p, anterior) / depth) ** 2) - 1) * np.minimum(height, depth)
    tube = common(tube, np.maximum(-t, t - (length + 2)), 2)
    shaft = np.sqrt(sideways**2 + (1.06 * forwards) ** 2) - shaft_radius(down, hip)
    shaft = common(shaft, -(down + 8), 6)
    bone = smooth_union(tube, shaft, 7)

    # The greater trochanter leans 30 degrees inwards: its tip stands over the fossa.
    lean = np.deg2rad(30)
    long = np.cos(lean) * UP - np.sin(lean) * lateral
    greater = ellipsoid(
        p,
        mark.greater_trochanter - 17.5 * long,
        (np.cos(lean) * lateral + np.sin(lean) * UP, anterior, long),
        (13, 16.5, 17.5),
    )
    bone = smooth_union(bone, greater, 6)
    high, wide = hip.lesser_trochanter_height / 14.2, hip.lesser_trochanter_width / 21.5
    lesser = ellipsoid(p, mark.lesser_trochanter, (lateral, anterior, UP), (8.5 * high, 8 * high, 10.5 * wide))
    bone = smooth_union(bone, lesser, 8)
    fossa = mark.greater_trochanter - 4 * UP - 5 * lateral - 10 * anterior
    bone = without(bone, sphere(p, fossa, 7), 4)

    fovea = 1.13 * radius * np.array([-0.93, -0.15, -0.34])  # the root of the head's ligament: medial, a little behind
    head = without(sphere(p, (0, 0, 0), radius), sphere(p, fovea, 5.2), 1.5)
    if hip.alpha_angle > 60:  # a cam: in front and above, the head's round goes on too far
        alpha = np.deg2rad(hip.alpha_angle)
        side = np.cross(neck, anterior) * np.sin(0.9) + anterior * np.cos(0.9)
        bump = (radius - 4.5) * (np.cos(alpha) * neck + np.sin(alpha) * side)
        bone = smooth_union(bone, sphere(p, bump, 5.5 + 0.05 * (hip.alpha_angle - 60)), 3)
    return smooth_union(head, bone, 3)


def neck_half_widths(t: np.ndarray, hip: Hip) -> tuple[np.ndarray, np.ndarray]:
    """Half the neck's height and half its depth (mm) at ``t`` mm along its axis: an ellipse that flares at the base."""
    share = t / landmarks(hip).neck_length
    flare, collar = smooth_step(share, 0.5, 1.05), smooth_step(-share, -0.42, -0.12)
    return hip.neck_height / 2 + 4 * flare + collar, hip.neck_depth / 2 + 3 * flare + collar


def shaft_radius(down: np.ndarray, hip: Hip) -> np.ndarray:
    """Radius of the shaft (mm), ``down`` mm below the neck's base: it narrows from the trochanters."""
    return hip.shaft_radius + 6.0 * np.exp(-np.clip(down + 4, 0, None) / 20)


def cortex_mm(p: Points, hip: Hip) -> np.ndarray:
    """Thickness of the cortex (mm), in the femur's frame.

    It is 0.9 on the head, from 0.8 above the neck to 1.5 (at its base 3.0) below it, 1.1 on the greater trochanter, and
    5.4 on the shaft 45 mm below the neck's base, where it is 0.8 thicker medially. Their order is [S] PMC7336874, their
    values are [A].
    """
    mark = landmarks(hip)
    t = along(p, mark.neck)
    share, down = t / mark.neck_length, float(mark.neck_base[2]) - p[2]
    below = np.clip(-along(p, np.cross(mark.neck, mark.anterior)) / neck_half_widths(t, hip)[0], -1, 1)
    neck = 1.9 + 1.1 * below
    neck = neck * (1 + (hip.superior_neck_cortex - 1) * np.clip(-below, 0, 1))
    medial = np.clip(-(along(p, mark.lateral) - hip.offset) / shaft_radius(down, hip), -1, 1)
    shaft = 1.2 + 4.2 * smooth_step(down, -6, 46) + 0.8 * medial * smooth_step(down, 0, 20)
    on_neck = smooth_step(share, 0.28, 0.5) * (1 - smooth_step(down, -8, 6))
    on_head = 1 - smooth_step(share, 0.25, 0.5)
    on_shaft = smooth_step(down, -10, 8) * (1 - on_head)
    rest = 1 - on_head - on_shaft
    thickness = on_head * 0.9 + on_shaft * shaft + rest * (on_neck * neck + (1 - on_neck) * 1.1)
    return np.clip(thickness * hip.cortex, 0.5, 8)


def cut_level(hip: Hip, protocol: Protocol) -> float:
    """Where the mask ends: mm above the field's centre. The cut follows the rows of the image, as a reader's does."""
    return float(in_scanner(landmarks(hip).lesser_trochanter, hip, protocol)[2]) - hip.distal_cut


@dataclass(frozen=True)
class Trabeculae:
    """The two systems of trabeculae at some points: polar coordinates around their foci (mm, radians), and shares."""

    compressive_radius: np.ndarray
    compressive_angle: np.ndarray
    compressive: np.ndarray  # share; 1 in the band that carries the head's load
    tensile_radius: np.ndarray
    tensile_angle: np.ndarray
    bone_fraction: np.ndarray  # BV/TV


def trabeculae(p: Points, hip: Hip) -> Trabeculae:
    """The trabecular systems and the bone volume fraction (BV/TV), in the femur's frame.

    The compressive system consists of rays from a focus below the calcar through the head; the tensile one of arcs
    around a medial, lower centre, from the fovea over the neck to the trochanter. BV/TV: 0.05 in Ward's triangle, 0.17
    in the head, 0.09 more in the compressive and 0.07 more in the tensile system, and nearly 0 in the canal [A].
    """
    mark = landmarks(hip)
    base, lateral = mark.neck_base, mark.lateral
    share, down = along(p, mark.neck) / mark.neck_length, float(base[2]) - p[2]

    def polar(focus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        side, up = along(p, lateral) - float(focus @ lateral), p[2] - float(focus[2])
        return np.hypot(side, up), np.arctan2(side, up)

    lesser_down = float(base[2] - mark.lesser_trochanter[2])
    focus = base - (lesser_down + 34) * UP - 9 * lateral
    radius, angle = polar(focus)
    towards_head = float(np.arctan2(-focus @ lateral - 2, -focus[2] + 0.15 * hip.head_diameter))
    compressive = np.exp(-(((angle - towards_head) * (60 / 9)) ** 2))
    centre = base - 0.80 * mark.neck_length * mark.neck - 52 * UP - 2 * lateral
    arc_radius, arc_angle = polar(centre)
    through = base + 4 * np.cross(mark.neck, mark.anterior) - 14 * mark.neck - centre
    arc = float(np.hypot(through @ lateral, through[2]))
    tensile = np.exp(-(((arc_radius - arc) / 7) ** 2)) * (1 - smooth_step(down, 20, 45))

    head = 1 - smooth_step(share, 0.35, 0.75)
    load = 0.12 * head + 0.09 * compressive * (1 - smooth_step(down, 10, 40))
    fraction = load + hip.ward_fraction * (0.05 + 0.07 * tensile)
    fraction = fraction * hip.bone_fraction * (1 - 0.95 * smooth_step(down, 12, 48))
    band = np.exp(-(((angle - towards_head) * (60 / 12)) ** 2))
    return Trabeculae(radius, angle, band, arc_radius, arc_angle, fraction)


def red_marrow(p: Points, hip: Hip) -> np.ndarray:
    """Share of red marrow, in the femur's frame: it lies in the neck and the intertrochanteric region only [S]."""
    mark = landmarks(hip)
    share, down = along(p, mark.neck) / mark.neck_length, float(mark.neck_base[2]) - p[2]
    where = smooth_step(share, 0.35, 0.7) * (1 - smooth_step(down, 30, 55)) * smooth_step(down, -20, -6)
    return hip.red_marrow * where


# What a mask may fill: the central 48 of 60 slices, and the field of view except its outer 3 mm.
ROOM_MM = ((-57.0, 57.0), (-35.0, 35.0), (-57.0, 57.0))


def recentred(hip: Hip, protocol: Protocol) -> tuple[float, float, float]:
    """The head's place, moved by no more than it takes for the field of view to hold the femur down to the cut.

    A technologist does the same. A femur that does not fit is put in the middle.
    """
    mark = landmarks(hip)
    lowest = np.array([mark.neck_base[0], mark.neck_base[1], mark.lesser_trochanter[2] - hip.distal_cut])
    balls = (  # centre and radius
        (np.zeros(3), hip.head_diameter / 2 + 1),
        (mark.greater_trochanter - 10 * UP, 12.0),
        (mark.neck_base + 4 * mark.lateral, hip.shaft_radius + 5),
        (mark.lesser_trochanter, 8.0),
        (lowest, hip.shaft_radius),
    )
    reach = np.array([(in_scanner(c, hip, protocol) - r, in_scanner(c, hip, protocol) + r) for c, r in balls])
    first, last = reach[:, 0].min(0), reach[:, 1].max(0)
    first[2] = cut_level(hip, protocol)
    low, high = np.transpose(ROOM_MM)
    into_room = np.maximum(0, low - first) - np.maximum(0, last - high)
    to_middle = (low + high - first - last) / 2
    x, y, z = protocol.place + np.where(last - first > high - low, to_middle, into_room)
    return float(x), float(y), float(z)
