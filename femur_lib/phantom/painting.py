"""From shapes to a picture: every slice is painted like a canvas, soft tissue first and bones last, with their labels.

What lies deeper is painted later, over what is there already. Fat and water are painted apart, because the scanner
shifts fat against water (chemical shift).
"""

from dataclasses import dataclass
from types import EllipsisType
from typing import Any

import numpy as np

from femur_lib.phantom import femur, surroundings, texture
from femur_lib.phantom.body import Body
from femur_lib.phantom.femur import femur_frame, hip_frame
from femur_lib.phantom.field import Box
from femur_lib.phantom.shapes import Points, along, band, occupancy, sphere, turned
from femur_lib.phantom.surroundings import pelvis_frame
from femur_lib.phantom.tissue import bone_attenuation

LABELS = {1: "femur within its cortex, above the cut", 2: "rest of the femur", 3: "pelvis"}
FINE_ENOUGH = 256  # pixels for soft tissue; for twice as many, it is painted at half the resolution
Where = tuple[np.ndarray, ...] | EllipsisType


@dataclass(frozen=True)
class Canvas:
    """A slice being painted: the brightness of fat and of water at every pixel, (rows, columns).

    With an axis in front, several pictures are painted at once that differ in how bright tissues are.
    """

    fat: np.ndarray
    water: np.ndarray

    @classmethod
    def blank(cls, *shape: int) -> "Canvas":
        """Air: nothing has been painted yet. The shape ends with rows and columns."""
        return cls(*np.zeros((2, *shape), np.float32))

    def cover(
        self,
        share: np.ndarray,
        fat: np.ndarray | float = 0.0,
        water: np.ndarray | float = 0.0,
        where: Where = ...,
    ) -> None:
        """Paint a tissue over a share (0 to 1) of each pixel, or of each pixel of ``where``."""
        at: Any = where if where is ... else (..., *where)
        for canvas, colour in ((self.fat, np.asarray(fat)), (self.water, np.asarray(water))):
            if where is not ... and colour.ndim == 3:
                colour = colour[:, 0]  # (pictures, 1, pixels): of several pictures at once
            canvas[at] += share * (colour - canvas[at])

    def part(self, box: Box) -> "Canvas":
        """A rectangle of this canvas: what is painted there is painted here."""
        return Canvas(self.fat[(..., *box)], self.water[(..., *box)])


@dataclass(frozen=True)
class Labels:
    """The truth of one slice, (rows, columns): exact labels (uint8, ``LABELS``) and the mask as an expert drew it."""

    exact: np.ndarray
    rater: np.ndarray


def paint(body: Body, k: int) -> tuple[Canvas, Labels]:
    """Slice ``k`` from the front, lateral to the right: its brightness before coils and noise, and its labels."""
    pixels = body.field.pixels
    if pixels >= 2 * FINE_ENOUGH and pixels % 2 == 0:
        half = paint_soft_tissue(body, k, pixels // 2)
        canvas = Canvas(*(_doubled(_doubled(image).T).T for image in (half.fat, half.water)))
    else:
        canvas = paint_soft_tissue(body, k, pixels)
    return canvas, paint_bones(body, k, canvas)


def _doubled(image: np.ndarray) -> np.ndarray:
    """Twice as many rows, interpolated linearly between the centres of pixels."""
    padded = np.pad(image, ((1, 1), (0, 0)), mode="edge")
    double = np.empty((2 * len(image), image.shape[1]), np.float32)
    double[0::2] = 0.75 * image + 0.25 * padded[:-2]
    double[1::2] = 0.75 * image + 0.25 * padded[2:]
    return double


# ---- Soft tissue


def paint_soft_tissue(body: Body, k: int, pixels: int) -> Canvas:
    """Paint slice ``k`` with everything except bone.

    Where each tissue of ``body.bright`` has several values, (pictures, 1, 1), so many pictures are painted at once.
    """
    hip, protocol, field, bright = body.person.hip, body.person.protocol, body.field, body.bright
    x, y, z = field.points(pixels, protocol.place)
    p = turned((x[0], y[k], z[0]), hip_frame(protocol))
    canvas = Canvas.blank(*np.shape(bright["muscle"])[:-2], *p[0].shape)
    edge = max(0.5, 1.1 * field.view_mm[0] / pixels)  # mm over which a border of soft tissue fades
    cloud, septa, gap, muscle = (
        field.enlarged(coarse[k], pixels) for coarse in (body.cloud, body.septa, body.muscle_gap, body.muscle)
    )

    # Fat under the skin and between the muscles, with septa; then the skin.
    skin, fascia = surroundings.skin_and_fascia(p, hip)
    fascia = fascia + 1.5 * cloud
    within = occupancy(skin, edge)
    walls = 0.55 * band(septa, 0.07) * np.clip(0.3 + cloud, 0, 1)
    canvas.cover(within, fat=bright["subcutaneous fat"] * (1 - walls) * (1 + 0.04 * cloud))
    canvas.cover(within * band(skin + 1, 0.9), water=0.25)

    # Muscle, with fat between its fibres.
    inside = occupancy(fascia, edge)
    fibres = _fibres(body, k, pixels)
    share = np.clip((gap - 0.5) * 0.8, 0, 1) * np.clip((7 - muscle) / 2, 0, 1) * inside
    marbling = np.clip(hip.marbling * (1 + 0.8 * fibres + 0.9 * cloud), 0, 0.9)
    canvas.cover(
        share, fat=marbling * bright["subcutaneous fat"], water=(1 - marbling) * bright["muscle"] * (1 + 0.05 * fibres)
    )
    canvas.cover(np.clip(2.6 * inside * (1 - inside), 0, 0.8))  # the fascia: a thin dark line

    for distance, tissue in (
        (surroundings.bladder(p), bright["fluid"]),
        (surroundings.vessels(p), 0.9 * bright["blood"]),
    ):
        if distance.min() < 2:
            canvas.cover(occupancy(distance, edge), water=tissue)
    box = field.box_around(body.femur[k], 8, pixels)
    if box:
        bone = field.enlarged(body.femur[k], pixels, box)
        _joint(body, canvas.part(box), bone, (p[0][box], p[1][box], p[2][box]), edge)
    return canvas


def _fibres(body: Body, k: int, pixels: int) -> np.ndarray:
    """Streaks along the course of each muscle."""
    field = body.field
    ratio = field.coarse / pixels
    row = np.minimum((np.arange(pixels) * ratio).astype(int), field.coarse - 1)
    column = np.minimum((np.arange(pixels + 2 * field.margin(pixels)) * ratio).astype(int), body.femur.shape[2] - 1)
    number = body.muscle_number[k][row][:, column]
    slope = body.muscle_slopes[number]
    y, z, x = field.axes_mm(pixels)
    down, side = (-z).astype(np.float32)[:, None], x.astype(np.float32)[None, :]
    cos, sin = np.cos(slope), np.sin(slope)
    # Strands of muscle are twice as wide and three times as long as trabeculae.
    across, lengthwise = (down * cos - side * sin) / 2, (side * cos + down * sin) / 3
    a, b, c = body.origins[0]
    return texture.at(body.strands, across + a + 4.3 * number, lengthwise + b, y[k] + c)


def _joint(body: Body, canvas: Canvas, bone: np.ndarray, in_hip: Points, edge: float) -> None:
    """Capsule, synovial fluid, labrum, and two layers of cartilage with a line of fluid between them."""
    hip, bright = body.person.hip, body.bright
    p = turned(in_hip, pelvis_frame(hip))
    normal, height = surroundings.rim_plane(hip)
    in_cup = np.clip((height - along(p, normal)) * 0.6 + 0.5, 0, 1)
    t = along(turned(in_hip, femur_frame(hip)), femur.landmarks(hip).neck)
    length, radius = femur.landmarks(hip).neck_length, hip.head_diameter / 2
    socket = sphere(p, (0, 0, 0), surroundings.joint_radius(hip))

    def between(start: float, end: float) -> np.ndarray:
        return np.clip((t - start) * 0.3, 0, 1) * np.clip((end - t) * 0.3, 0, 1) * (1 - in_cup)

    neck = between(-0.35 * radius, 0.95 * length)
    canvas.cover(0.85 * np.clip(1.6 - np.abs(bone - 3.6), 0, 1) * neck, water=bright["capsule"] * 1.5)
    canvas.cover(0.8 * np.clip(2.2 - bone, 0, 1) * between(-0.35 * radius, 0.8 * length), water=1.1 * bright["fluid"])
    lip = surroundings.labrum(p, hip)
    if lip.min() < 2:
        canvas.cover(occupancy(lip, edge), water=bright["capsule"] * 1.6)
    # Cartilage covers the head where it bears load, and the socket except its floor. A shell all round would draw a
    # ring around the head where there is none.
    bearing = np.clip((0.30 * radius - t) * 0.4, 0, 1)
    on_head = np.clip((0.47 * hip.joint_space - bone) * 2, 0, 1) * bearing
    in_socket = np.clip(-2 * socket, 0, 1) * in_cup
    floor = np.clip(1 - surroundings.socket_fossa(p, hip), 0, 1) * (socket > -1.2) * in_cup
    gap = band(bone - 0.5 * hip.joint_space, 0.35) * in_cup
    canvas.cover(
        np.maximum(on_head, in_socket) * (1 - floor),
        water=bright["cartilage"] + gap * (bright["fluid"] - bright["cartilage"]),
    )


# ---- Bones


def paint_bones(body: Body, k: int, canvas: Canvas) -> Labels:
    """Paint pelvis and femur over slice ``k`` at full resolution, and say where they are."""
    field = body.field
    shape = canvas.fat.shape[-2:]
    exact, rater = np.zeros(shape, np.uint8), np.zeros(shape, bool)
    above = field.axes_mm(field.pixels)[1][:, None]

    def fine(coarse: np.ndarray) -> np.ndarray:
        return field.enlarged(coarse[k], box=box)

    box = field.box_around(body.pelvis_voxels[k], 1)
    if box:
        part, surface = canvas.part(box), fine(body.pelvis_voxels)
        exact[box][surface < 0] = 3
        part.cover(occupancy(surface, 1))
        _pelvic_marrow(body, k, part, box, occupancy(fine(body.pelvic_marrow_voxels), 1), fine(body.septa))
    box = field.box_around(np.minimum(body.femur_voxels, body.rater_voxels)[k], 1)
    if box:
        part, surface, marrow = canvas.part(box), fine(body.femur_voxels), fine(body.marrow_voxels)
        exact[box][surface < 0] = 2
        exact[box][(marrow < 0) & (above[box[0]] > body.cut_mm)] = 1
        rater[box] = (fine(body.rater_voxels) < 0) & (above[box[0]] > body.rater_cut_mm)
        part.cover(occupancy(surface, 1))
        _femoral_marrow(body, k, part, box, occupancy(marrow, 1), fine(body.cloud))
    return Labels(exact[:, field.core], rater[:, field.core])


def _places(body: Body, k: int, box: Box, where: tuple[np.ndarray, ...]) -> Points:
    """Where some pixels of a box of slice ``k`` lie from the head's centre, along the image's axes: side, front, up."""
    x, y, z = body.field.points(body.field.pixels, body.person.protocol.place)
    return x[0, 0, box[1]][where[1]], y[k, 0, 0], z[0, box[0], 0][where[0]]


def _pelvic_marrow(body: Body, k: int, part: Canvas, box: Box, share: np.ndarray, septa: np.ndarray) -> None:
    """Marrow like that of the femur's head, with more red marrow the lower ``pelvic_marrow_similarity`` is."""
    hip, tile = body.person.hip, body.strands
    where = np.nonzero(share > 0.02)
    side, depth, up = _places(body, k, box, where)
    a, b = body.origins[1], body.origins[5]
    grain = texture.at(tile, 0.94 * side - 0.35 * up + a[0], 0.94 * up + 0.35 * side + a[1], depth + a[2])
    grain = 0.6 * grain + 0.6 * texture.at(tile, 0.5 * side + 0.87 * up + b[0], 0.87 * side + b[1], depth + b[2])
    fraction = np.full(grain.shape, 0.17 * hip.bone_fraction, np.float32)
    local = fraction * np.exp(hip.trabecular_contrast * grain - 0.5 * hip.trabecular_contrast**2)
    red = np.clip(0.2 + 0.6 * (1 - hip.pelvic_marrow_similarity) + 0.15 * septa[where], 0.05, 0.95)
    _mixed_marrow(body, part, where, share[where], bone_attenuation(fraction, local), red)


def _femoral_marrow(body: Body, k: int, part: Canvas, box: Box, share: np.ndarray, cloud: np.ndarray) -> None:
    """Marrow between trabeculae; and cyst, calcified foci and metal, where there are any."""
    hip, tile, bright = body.person.hip, body.strands, body.bright
    where = np.nonzero(share > 0.02)
    side, depth, up = _places(body, k, box, where)
    p = turned(turned((side, depth, up), hip_frame(body.person.protocol)), femur_frame(hip))
    bone = femur.trabeculae(p, hip)
    a, b, c = body.origins[2:5]
    # Angles become lengths of arcs: 60 and 45 mm are about the radii at which the strands lie.
    rays = texture.at(tile, 60 * bone.compressive_angle + a[0], bone.compressive_radius + a[1], depth + a[2])
    arcs = texture.at(tile, bone.tensile_radius + b[0], 45 * bone.tensile_angle + b[1], depth + b[2])
    grain = texture.at(tile, 0.8 * side + 0.6 * up + c[0], 0.8 * up + c[1], depth + c[2])
    strands = bone.compressive * rays + (1 - bone.compressive) * 0.8 * arcs + 0.45 * grain
    local = bone.bone_fraction * np.exp(hip.trabecular_contrast * strands - 0.7 * hip.trabecular_contrast**2)
    red = np.clip(femur.red_marrow(p, hip) * np.clip(0.7 + 0.45 * cloud[where], 0, 1.4), 0, 1)
    _mixed_marrow(body, part, where, share[where], bone_attenuation(bone.bone_fraction, local), red)
    if hip.cyst_radius:
        centre, *foci = body.lesion
        edge = sphere(p, centre, hip.cyst_radius) + 1.2 * cloud[where]
        part.cover(share[where] * occupancy(edge, 0.6), water=bright["cyst"], where=where)
        dark = np.clip(1.3 - np.abs(edge), 0, 1) * 0.9
        for focus in foci:
            dark = np.maximum(dark, 0.92 * occupancy(sphere(p, focus[:3], focus[3]), 0.8))
        part.cover(share[where] * dark, water=bright["calcification"], where=where)
    if hip.metal_radius:
        part.cover(occupancy(sphere(p, femur.landmarks(hip).neck_base, hip.metal_radius), 2), where=where)


def _mixed_marrow(
    body: Body, part: Canvas, where: tuple[np.ndarray, ...], share: np.ndarray, bone: np.ndarray, red: np.ndarray
) -> None:
    """Cover some pixels with marrow that is part fatty, part red; half of red marrow is fat."""
    fatty, mixed = body.bright["fatty marrow"], body.bright["red marrow"]
    part.cover(share, bone * fatty * (1 - 0.5 * red), bone * red * (mixed - 0.5 * fatty), where)
