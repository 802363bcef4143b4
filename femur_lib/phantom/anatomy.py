"""Shapes: a hip as signed distances in millimetres, negative inside.

The frame: origin at the centre of the femoral head, x lateral, y anterior, z superior. It fits a right or a left
hip alike; the scanner mirrors it. Tags: [S] a number read in a source (design notes, morphometry of elderly women),
[A] assumed by us.
"""

from dataclasses import dataclass

import numpy as np

Points = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Hip:
    """What makes one hip differ from another; lengths in mm, angles in degrees."""

    head_radius: float = 21.6  # [S] diameter 43.2 +- 2.2
    neck_shaft_angle: float = 125.0  # [S] +- 5
    anteversion: float = 10.0  # [S] true 16.4, feet turned in
    offset: float = 41.0  # [S] head centre to shaft axis, 42.9 +- 6.8
    neck_radius: float = 14.0  # [S] 30.6 high, 25 deep, split [A]
    shaft_radius: float = 13.6  # [A]
    cortex: float = 1.0  # [A] scales every cortical thickness
    joint_space: float = 3.8  # [S] +- 0.6
    fat_over_trochanter: float = 34.0  # [S] +- 11
    distal_cut: float = 20.0  # [A] where the mask ends, below the lesser trochanter
    turn: float = 0.0  # [A] rotation of the whole hip in the coronal plane
    place: tuple[float, float, float] = (
        -17.0,
        0.0,
        24.0,
    )  # [A] head centre from the centre of the field of view


def draw_hip(rng: np.random.Generator, fracture: bool) -> Hip:
    """A hip drawn at random; those of women with a fragility fracture have thinner cortices [A]."""

    def near(mean: float, sd: float, spread: float = 2.0) -> float:
        return float(mean + sd * np.clip(rng.standard_normal(), -spread, spread))

    head = near(21.6, 0.9)
    size = head / 21.6
    return Hip(
        head_radius=head,
        neck_shaft_angle=near(125, 5),
        anteversion=near(10, 5),
        offset=near(41 * size, 3),
        neck_radius=near(13.8 * size, 0.5),
        shaft_radius=near(13.6 * size, 0.6),
        cortex=near(0.88 if fracture else 1.0, 0.08),
        joint_space=near(3.8, 0.6),
        fat_over_trochanter=near(34, 9),
        distal_cut=near(20, 3),
        turn=near(0, 4),
        place=(near(-17, 3), near(0, 3), near(27, 2.5)),
    )


def points(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], hip: Hip) -> Points:
    """Coordinates of every voxel of a stack (rows, columns, slices) in the hip's frame, columns growing laterally.

    Three arrays that broadcast against each other.
    """
    z, x, y = (((n - 1) / 2 - np.arange(n)) * s for n, s in zip(shape, spacing_mm, strict=True))
    x = -x[None, :, None] - hip.place[0]  # columns grow laterally
    z = z[:, None, None] - hip.place[2]  # rows grow downwards
    y = y[None, None, :] - hip.place[1]  # slices go from the front to the back
    c, s = float(np.cos(np.deg2rad(hip.turn))), float(np.sin(np.deg2rad(hip.turn)))
    shape = np.broadcast_shapes(x.shape, y.shape, z.shape)
    x, z = c * x + s * z, c * z - s * x
    a, b, d = (np.broadcast_to(v, shape).astype(np.float32) for v in (x, y, z))
    return a, b, d


def smooth_union(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Both shapes, with a fillet of about ``k`` mm where they meet (polynomial smooth minimum)."""
    h = np.clip(0.5 + (b - a) / (2 * k), 0, 1)
    return b + (a - b) * h - k * h * (1 - h)


def without(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """The first shape less the second, edges rounded by about ``k`` mm."""
    return -smooth_union(-a, b, k)


def sphere(p: Points, centre, radius: float) -> np.ndarray:
    """Distance to a sphere."""
    return np.sqrt(sum((a - float(c)) ** 2 for a, c in zip(p, centre, strict=True))) - radius


def capsule(p: Points, start, end, start_radius: float, end_radius: float) -> np.ndarray:
    """Distance to a rod with round ends whose radius changes evenly along it (exact for equal radii)."""
    start, axis = np.asarray(start, float), np.subtract(end, start)
    along = sum((a - float(s)) * float(d) for a, s, d in zip(p, start, axis, strict=True)) / float(axis @ axis)
    along = np.clip(along, 0, 1)
    squared = sum((a - float(s) - along * float(d)) ** 2 for a, s, d in zip(p, start, axis, strict=True))
    return np.sqrt(squared) - (start_radius + along * (end_radius - start_radius))


def ellipsoid(p: Points, centre, radii) -> np.ndarray:
    """Distance, near the surface, to an ellipsoid along the frame's axes."""
    q = [(a - float(c)) / float(r) for a, c, r in zip(p, centre, radii, strict=True)]
    length = np.sqrt(sum(a**2 for a in q))
    slope = np.sqrt(sum((a / float(r)) ** 2 for a, r in zip(q, radii, strict=True))) + np.float32(1e-6)
    return length * (length - 1) / slope


@dataclass(frozen=True)
class Landmarks:
    """Where things are, in the hip's frame (mm)."""

    neck_base: np.ndarray
    lateral: np.ndarray
    anterior: np.ndarray
    greater_trochanter: np.ndarray
    lesser_trochanter: np.ndarray


def landmarks(hip: Hip) -> Landmarks:
    """Axes and landmarks that follow from the parameters; the shaft runs along -z."""
    version, angle = np.deg2rad(hip.anteversion), np.deg2rad(hip.neck_shaft_angle)
    lateral = np.array([np.cos(version), -np.sin(version), 0.0])
    anterior = np.array([np.sin(version), np.cos(version), 0.0])
    up = np.array([0.0, 0.0, 1.0])
    neck = np.sin(angle) * lateral + np.cos(angle) * up
    base = hip.offset / np.sin(angle) * neck
    return Landmarks(
        neck_base=base,
        lateral=lateral,
        anterior=anterior,
        greater_trochanter=base + 9 * up + 8 * lateral - 4 * anterior,
        lesser_trochanter=base - 22 * up - 13 * lateral - 9 * anterior,
    )


def femur(p: Points, hip: Hip) -> np.ndarray:
    """Distance to the outer (periosteal) surface of the femur."""
    mark = landmarks(hip)
    base, size, up = mark.neck_base, hip.head_radius / 21.6, np.array([0.0, 0.0, 1.0])
    neck = capsule(p, 0.2 * base, base, hip.neck_radius, hip.neck_radius + 2)
    shaft = capsule(p, base - 6 * up, base - 150 * up, hip.shaft_radius + 2.5, hip.shaft_radius)
    bone = smooth_union(neck, shaft, 9)
    bone = smooth_union(bone, ellipsoid(p, mark.greater_trochanter, np.array([11, 14, 16]) * size), 6)
    bone = smooth_union(bone, ellipsoid(p, mark.lesser_trochanter, np.array([8.5, 8, 10.5]) * size), 6)
    fossa = base + 17 * up - 6 * mark.lateral - 11 * mark.anterior
    bone = without(bone, sphere(p, fossa, 7), 4)
    return smooth_union(bone, sphere(p, (0, 0, 0), hip.head_radius), 3)


def cortex_mm(p: Points, hip: Hip) -> np.ndarray:
    """Thickness of the cortex: about 1 mm on the head, 1.5 on neck and trochanters, over 4 down the shaft [A]."""
    below = landmarks(hip).neck_base[2] - p[2]
    shaft = np.clip((below + 5) / 50, 0, 1) ** 2 * (3 - 2 * np.clip((below + 5) / 50, 0, 1))
    from_head = np.clip((np.sqrt(sum(a**2 for a in p)) - hip.head_radius) / 15, 0, 1)
    return hip.cortex * (0.9 + 0.6 * from_head + 2.8 * shaft)


def mask(p: Points, hip: Hip) -> np.ndarray:
    """The paper's mask: inside the cortex ("trabecular border"), above a cut below the lesser trochanter."""
    inside = femur(p, hip) + cortex_mm(p, hip)
    return (inside < 0) & (p[2] > landmarks(hip).lesser_trochanter[2] - hip.distal_cut)


def pelvis(p: Points, hip: Hip) -> np.ndarray:
    """Distance to the pelvic bone: a cup over the head, joined to ilium, ischium and pubis."""
    r = hip.head_radius + hip.joint_space
    cup = sphere(p, (-2, 0, 2), r + 7)
    opening = np.array([0.60, 0.22, -0.77])  # the cup looks down, outwards and forwards (inclination 40 degrees)
    cup = np.maximum(cup, sum(a * float(n) for a, n in zip(p, opening, strict=True)) - 4)
    bone = smooth_union(cup, capsule(p, (2, -4, r + 4), (6, -16, r + 75), 10, 8), 9)
    bone = smooth_union(bone, capsule(p, (-14, -20, -0.6 * r), (-24, -28, -58), 11, 13), 7)
    bone = smooth_union(bone, capsule(p, (-22, 12, -2), (-74, 30, -20), 9, 8), 7)
    return np.maximum(bone, -sphere(p, (0, 0, 0), r))


MUSCLES = (  # start, end, radii [A]
    ((18, -6, 80), (46, -6, 12), 17, 9),
    ((-20, 26, 72), (-8, 32, 2), 15, 12),
    ((-8, 32, 2), (22, -6, -45), 12, 7),
    ((-46, 26, -26), (22, 4, -70), 12, 12),
    ((-44, 4, -58), (8, 0, -120), 17, 18),
    ((68, 2, -50), (66, 4, -140), 12, 16),
    ((44, 30, -25), (40, 28, -140), 13, 17),
    ((28, 44, 40), (36, 50, -110), 11, 14),
    ((-34, 6, -32), (34, -16, -20), 9, 6),
    ((24, -50, 45), (62, -34, -40), 24, 18),
    ((-16, -38, -60), (6, -40, -120), 14, 15),
    ((-74, -8, 20), (-74, -10, -20), 22, 20),
)


def muscles(p: Points) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest muscle, and how much further the second nearest is: small in the fat planes between."""
    nearest = second = np.full_like(p[0], 1e3)
    for start, end, a, b in MUSCLES:
        d = capsule(p, start, end, a, b)
        second = np.minimum(second, np.maximum(nearest, d))
        nearest = np.minimum(nearest, d)
    return nearest, second - nearest


def skin(p: Points, hip: Hip) -> np.ndarray:
    """Distance to the skin: an ellipse about the midline of the body, a given layer of fat over the trochanter."""
    mark = landmarks(hip)
    middle = -88.0
    half_width = mark.greater_trochanter[0] + 11 - middle + hip.fat_over_trochanter
    radius = np.sqrt(((p[0] - middle) / half_width) ** 2 + ((p[1] + 6) / 108) ** 2)
    return (radius - 1) * 108
