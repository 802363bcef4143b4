"""From shapes to a picture: every slice is painted from back to front, fat and water apart.

Fat and water are kept apart because the scanner shifts fat against water (chemical shift).
"""

import numpy as np

from femur_lib.phantom import femur, surroundings, texture
from femur_lib.phantom.body import Body
from femur_lib.phantom.bones import Labels, paint_bones
from femur_lib.phantom.canvas import Canvas, box_of
from femur_lib.phantom.femur import femur_frame, hip_frame
from femur_lib.phantom.field import FIELD_OF_VIEW_MM, Field
from femur_lib.phantom.parameters import Hip
from femur_lib.phantom.shapes import Points, along, band, occupancy, sphere, turned
from femur_lib.phantom.surroundings import pelvis_frame
from femur_lib.phantom.tissue import signals

FINE_ENOUGH = 256  # pixels: at twice this, soft tissue is painted at half the resolution; its borders need no more


def paint(body: Body, k: int) -> tuple[Canvas, Labels]:
    """Slice ``k`` from the front, lateral to the right: brightness before coils and noise, and its labels."""
    half = body.field.pixels >= 2 * FINE_ENOUGH and body.field.pixels % 2 == 0
    canvas = _soft_tissue(body, k, body.field.pixels // 2 if half else body.field.pixels)
    canvas = _enlarged(canvas, body.field)
    return canvas, paint_bones(body, k, canvas)


def _slice_points(body: Body, k: int, pixels: int) -> Points:
    x, y, z = body.field.points(pixels, body.person.protocol.place)
    return turned((x[0], y[k], z[0]), hip_frame(body.person.protocol))


def _soft_tissue(body: Body, k: int, pixels: int) -> Canvas:
    """Everything but bone, in the order a painter would: what lies deep covers what lies over it."""
    hip, protocol, field = body.person.hip, body.person.protocol, body.field
    bright = signals(protocol.flip_degrees, protocol.muscle_t1_ms)

    def fine(coarse: np.ndarray) -> np.ndarray:
        return field.enlarged(coarse[k], pixels)

    p = _slice_points(body, k, pixels)
    canvas = Canvas.blank(*p[0].shape)
    edge = max(0.5, 1.1 * FIELD_OF_VIEW_MM[0] / pixels)  # mm over which a border of soft tissue fades
    cloud, septa = fine(body.cloud), fine(body.septa)

    # Subcutaneous and intermuscular fat, with septa; skin.
    skin, fascia = surroundings.skin_and_fascia(p, hip)
    fascia = fascia + 1.5 * cloud
    within = occupancy(skin, edge)
    walls = 0.55 * band(septa, 0.07) * np.clip(0.3 + cloud, 0, 1)
    canvas.cover(within, fat=bright["subcutaneous fat"] * (1 - walls) * (1 + 0.04 * cloud))
    canvas.cover(within * band(skin + 1, 0.9), water=0.25)

    # Muscle with fat between its fibres.
    inside = occupancy(fascia, edge)
    fibres = _fibres(body, k, pixels)
    share = np.clip((fine(body.muscle_gap) - 0.5) * 0.8, 0, 1) * np.clip((7 - fine(body.muscle)) / 2, 0, 1) * inside
    marbling = np.clip(hip.marbling * (1 + 0.8 * fibres + 0.9 * cloud), 0, 0.9)
    canvas.cover(
        share, fat=marbling * bright["subcutaneous fat"], water=(1 - marbling) * bright["muscle"] * (1 + 0.05 * fibres)
    )
    canvas.cover(np.clip(2.6 * inside * (1 - inside), 0, 0.8))  # fascia: a thin dark line

    for distance, tissue in (
        (surroundings.bladder(p), bright["fluid"]),
        (surroundings.vessels(p), 0.9 * bright["blood"]),
    ):
        if distance.min() < 2:
            canvas.cover(occupancy(distance, edge), water=tissue)
    box = box_of(body.femur[k], 8, field, pixels)
    if box:
        bone = field.enlarged(body.femur[k], pixels, box)
        _joint(canvas.part(box), bone, (p[0][box], p[1][box], p[2][box]), hip, bright, edge)
    return canvas


def _fibres(body: Body, k: int, pixels: int) -> np.ndarray:
    """Streaks along each muscle's course."""
    field = body.field
    ratio = field.coarse / pixels
    row = np.minimum((np.arange(pixels) * ratio).astype(int), field.coarse - 1)
    column = np.minimum((np.arange(pixels + 2 * field.margin(pixels)) * ratio).astype(int), body.femur.shape[2] - 1)
    number = body.muscle_number[k][row][:, column]
    slope = body.muscle_slopes[number]
    y, z, x = field.axes_mm(pixels)
    down, side = (-z).astype(np.float32)[:, None], x.astype(np.float32)[None, :]
    cos, sin = np.cos(slope), np.sin(slope)
    # Muscle strands are twice as wide and three times as long as trabeculae.
    across, lengthwise = (down * cos - side * sin) / 2, (side * cos + down * sin) / 3
    origin = body.origins[0]
    tile = texture.strands(field.pixel_mm, field.slice_mm)
    return texture.at(tile, across + origin[0] + 4.3 * number, lengthwise + origin[1], y[k] + origin[2])


def _joint(canvas: Canvas, bone: np.ndarray, in_hip: Points, hip: Hip, bright: dict[str, float], edge: float) -> None:
    """Capsule, synovial fluid, labrum, two layers of cartilage with a line of fluid between them."""
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
    # Cartilage covers the head where it bears load, and the socket but for its floor: a shell all round would ring
    # the head in places where there is none.
    bearing = np.clip((0.30 * radius - t) * 0.4, 0, 1)
    on_head = np.clip((0.47 * hip.joint_space - bone) * 2, 0, 1) * bearing
    in_socket = np.clip(-2 * socket, 0, 1) * in_cup
    floor = np.clip(1 - surroundings.socket_fossa(p, hip), 0, 1) * (socket > -1.2) * in_cup
    gap = band(bone - 0.5 * hip.joint_space, 0.35) * in_cup
    canvas.cover(
        np.maximum(on_head, in_socket) * (1 - floor),
        water=bright["cartilage"] + gap * (bright["fluid"] - bright["cartilage"]),
    )


def _enlarged(canvas: Canvas, field: Field) -> Canvas:
    """The canvas at the field's own number of pixels (each doubled, linearly interpolated)."""
    if len(canvas.fat) == field.pixels:
        return canvas
    return Canvas(*(_doubled(_doubled(image).T).T for image in (canvas.fat, canvas.water)))


def _doubled(image: np.ndarray) -> np.ndarray:
    """Twice as many rows, linearly interpolated between the centres of pixels."""
    padded = np.pad(image, ((1, 1), (0, 0)), mode="edge")
    double = np.empty((2 * len(image), image.shape[1]), np.float32)
    double[0::2] = 0.75 * image + 0.25 * padded[:-2]
    double[1::2] = 0.75 * image + 0.25 * padded[2:]
    return double
