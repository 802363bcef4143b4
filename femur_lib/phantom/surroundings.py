"""What lies around the femur: pelvis, joint, muscles, vessels, bladder and skin.

All numbers are assumed, except the cup's angles, which have a source. The pelvis has a frame of its own: the hip's,
turned by the pelvic tilt about the head's centre. Muscles run between this frame and the femur's.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from femur_lib.phantom.femur import UP, femur_frame, landmarks
from femur_lib.phantom.parameters import Hip
from femur_lib.phantom.shapes import (
    Points,
    along,
    capsule,
    common,
    ellipsoid,
    smooth_step,
    smooth_union,
    sphere,
    without,
)

MIDLINE_MM = -88.0  # where the body's middle lies in the hip's frame


def pelvis_frame(hip: Hip) -> np.ndarray:
    """Rows: the axes of the pelvis in the hip's frame."""
    return Rotation.from_euler("x", hip.pelvic_tilt, degrees=True).as_matrix()


# ---- The joint


def joint_radius(hip: Hip) -> float:
    """Radius of the bony socket (mm): that of the head, and the joint space."""
    return hip.head_diameter / 2 + hip.joint_space


def rim_plane(hip: Hip) -> tuple[np.ndarray, float]:
    """The plane of the socket's rim in the pelvis's frame: its outward normal, and its distance from the head's centre.

    It is inclined by 40 degrees [S] and turned by 20 to the front [A]; the centre-edge angle says where it passes.
    """
    inclined, turned = np.deg2rad(40), np.deg2rad(20)
    normal = np.array([np.sin(inclined) * np.cos(turned), np.sin(inclined) * np.sin(turned), -np.cos(inclined)])
    edge = np.deg2rad(hip.centre_edge_angle)
    return normal, joint_radius(hip) * float(np.array([np.sin(edge), 0, np.cos(edge)]) @ normal)


def socket_fossa(p: Points, hip: Hip) -> np.ndarray:
    """Distance to the hollow in the socket's floor, which holds fat and the ligament of the head."""
    return sphere(p, joint_radius(hip) * np.array([-0.84, -0.04, -0.46]), 9.5)


def labrum(p: Points, hip: Hip) -> np.ndarray:
    """Distance to the lip around the socket, a ring on the rim."""
    normal, height = rim_plane(hip)
    radius = joint_radius(hip)
    up = along(p, normal)
    across = np.sqrt(np.clip(sum(a**2 for a in p) - up**2, 0, None))
    return np.sqrt((across - float(np.sqrt(radius**2 - height**2))) ** 2 + (up - (height + 1)) ** 2) - 2.3


# ---- The pelvic bone


def pelvis(p: Points, hip: Hip) -> np.ndarray:
    """Distance to the pelvic bone in its own frame: cup, ilium, ischium, pubis and their rami.

    Only the cup ends at the plane of the rim: if the whole bone did, ischium and pubis would be cut away.
    """
    radius = joint_radius(hip)
    normal, height = rim_plane(hip)
    cup = common(sphere(p, (-1.5, 0, 2), radius + 6.5), along(p, normal) - height, 2)
    ilium = smooth_union(
        capsule(p, (0, -1, radius + 8), (3, -14, radius + 75), 12, 7),
        capsule(p, (-12, -8, radius + 3), (-12, -22, radius + 75), 10, 9),
        10,
    )
    bone = smooth_union(cup, ilium, 8)
    bone = smooth_union(bone, capsule(p, (-17, -20, -0.6 * radius), (-25, -29, -56), 10.5, 12.5), 6)  # ischium
    bone = smooth_union(bone, capsule(p, (-27, 12, -3), (-74, 30, -20), 8.5, 7.5), 6)  # pubis
    rami = smooth_union(
        capsule(p, (-26, -26, -60), (-60, 8, -54), 8, 5.5), capsule(p, (-74, 30, -20), (-60, 8, -54), 7, 5.5), 4
    )
    bone = smooth_union(bone, rami, 5)
    return without(bone, smooth_union(sphere(p, (0, 0, 0), radius), socket_fossa(p, hip), 2), 1)


def pelvic_cortex_mm(p: Points, hip: Hip) -> np.ndarray:
    """Thickness of the pelvis's cortex: 1.2 to 1.9 mm, and thickest around the socket."""
    return 1.2 + 0.7 * smooth_step(-sphere(p, (0, 0, 0), joint_radius(hip)), -8, -2)


# ---- Muscles


@dataclass(frozen=True)
class Muscle:
    """A rod between two points, each in the pelvis's frame or (lateral, anterior, down) from the base of the neck."""

    name: str
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    start_radius: float
    end_radius: float
    on_femur: tuple[bool, bool] = (False, True)


MUSCLES = (
    Muscle("gluteus medius", (14, -8, 80), (8, 0, -22), 20, 9),
    Muscle("gluteus minimus", (6, 6, 62), (9, 6, -15), 10, 6),
    Muscle("iliopsoas above the hip", (-20, 26, 72), (-5, 34, 2), 16, 13, (False, False)),
    Muscle("iliopsoas below", (-5, 34, 2), (-17, -8, 26), 13, 8),
    Muscle("pectineus", (-46, 26, -28), (-16, 0, 43), 12, 10),
    Muscle("adductor longus and brevis", (-44, 6, -60), (-26, 0, 110), 18, 19),
    Muscle("vastus lateralis", (27, 4, 18), (27, 6, 110), 13, 18, (True, True)),
    Muscle("vastus intermedius", (0, 27, 18), (0, 27, 110), 13, 18, (True, True)),
    Muscle("vastus medialis", (-20, 16, 48), (-22, 14, 110), 8, 14, (True, True)),
    Muscle("rectus femoris", (24, 44, 42), (34, 50, -110), 12, 15, (False, False)),
    Muscle("obturator externus", (-36, 8, -36), (0, -17, -3), 10, 7),
    Muscle("obturator internus", (-43, -4, 30), (-42, -14, -34), 8, 9, (False, False)),
    Muscle("quadratus femoris", (-14, -36, -42), (0, -22, 8), 8, 8),
    Muscle("gluteus maximus", (24, -56, 40), (22, -34, 30), 24, 20),
    Muscle("biceps femoris", (0, -36, 10), (0, -38, 110), 14, 20, (True, True)),
    Muscle("tensor fasciae latae", (46, 34, 52), (26, 16, 40), 10, 7),
    Muscle("sartorius", (0, 58, 40), (-24, 52, -100), 8, 9, (False, False)),
    Muscle("semitendinosus", (-16, -38, -66), (4, -44, -110), 13, 15, (False, False)),
    Muscle("adductor magnus", (-30, -30, -40), (-40, -12, 110), 10, 18),
)


def muscle_courses(hip: Hip, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Start and end of every muscle in the hip's frame, each moved by up to 4 mm, so that no two women are alike."""
    mark, of_femur, of_pelvis = landmarks(hip), femur_frame(hip), pelvis_frame(hip)

    def point(where: tuple[float, float, float], on_femur: bool) -> np.ndarray:
        shift = rng.uniform(-4, 4, 3)
        if not on_femur:
            return of_pelvis.T @ (np.array(where) + shift)
        lateral, anterior, down = where
        return of_femur.T @ (mark.neck_base + lateral * mark.lateral + anterior * mark.anterior - down * UP + shift)

    return [(point(m.start, m.on_femur[0]), point(m.end, m.on_femur[1])) for m in MUSCLES]


def nearest_muscle(p: Points, courses: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, ...]:
    """Distance to the nearest muscle (hip's frame), how much further away the second is, and the nearest one's number.

    In the planes of fat between two muscles the second is hardly further away.
    """
    shape = np.broadcast_shapes(*(a.shape for a in p))
    nearest, second = np.full((2, *shape), 1e3, np.float32)
    which = np.zeros(shape, np.uint8)
    for number, (muscle, (start, end)) in enumerate(zip(MUSCLES, courses, strict=True)):
        d = capsule(p, start, end, muscle.start_radius, muscle.end_radius)
        which[d < nearest] = number
        second = np.minimum(second, np.maximum(nearest, d))
        nearest = np.minimum(nearest, d)
    return nearest, second - nearest, which


# ---- Vessels, bladder, skin


def vessels(p: Points) -> np.ndarray:
    """Distance to the femoral artery and vein and a branch around the neck, in the hip's frame."""
    artery = capsule(p, (-22, 46, 60), (-14, 36, -60), 4.2, 4.2)
    vein = capsule(p, (-32, 44, 60), (-24, 34, -60), 5, 5)
    return np.minimum(np.minimum(artery, vein), capsule(p, (-14, 36, -40), (18, 12, -62), 2.2, 2.2))


def bladder(p: Points) -> np.ndarray:
    """Distance to the bladder, in the hip's frame."""
    return ellipsoid(p, (-64, 14, 24), ((1, 0, 0), (0, 1, 0), (0, 0, 1)), (17, 26, 20))


def skin_and_fascia(p: Points, hip: Hip) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the skin and to the fascia under its fat: ellipses around the midline, narrower at the waist."""
    to_trochanter = float((femur_frame(hip).T @ landmarks(hip).neck_base)[0]) + 19.5 - MIDLINE_MM
    waist = -0.10 * np.clip(p[2] + 20, -80, 80)

    def ellipse(half_width: float, half_depth: float) -> np.ndarray:
        radius = np.sqrt(((p[0] - MIDLINE_MM) / half_width) ** 2 + ((p[1] + 6) / half_depth) ** 2)
        return (radius - 1) * min(half_width, half_depth) - waist

    return ellipse(to_trochanter + hip.soft_tissue, 108), ellipse(to_trochanter + 6 + 0.10 * hip.soft_tissue, 90)
