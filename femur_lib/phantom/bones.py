"""Bones and their marrow, painted over a slice at full resolution."""

from dataclasses import dataclass

import numpy as np

from femur_lib.phantom import femur, texture
from femur_lib.phantom.body import Body
from femur_lib.phantom.canvas import Canvas, box_of
from femur_lib.phantom.femur import femur_frame, hip_frame
from femur_lib.phantom.shapes import Points, occupancy, sphere, turned
from femur_lib.phantom.tissue import bone_attenuation, signals

LABELS = {1: "femur within its cortex, above the cut", 2: "rest of the femur", 3: "pelvis"}


@dataclass(frozen=True)
class Labels:
    """One slice of truth, (rows, columns): exact labels (uint8, ``LABELS``) and the mask as an expert drew it."""

    exact: np.ndarray
    rater: np.ndarray


def paint_bones(body: Body, k: int, canvas: Canvas) -> Labels:
    """Paint pelvis and femur over a slice, at full resolution, and say where they are."""
    field = body.field
    labels = Labels(np.zeros(canvas.fat.shape, np.uint8), np.zeros(canvas.fat.shape, bool))

    def fine(coarse: np.ndarray, box: tuple[slice, slice]) -> np.ndarray:
        return field.enlarged(coarse[k], box=box)

    above = field.axes_mm(field.pixels)[1][:, None]
    box = box_of(body.pelvis_voxels[k], 1, field, field.pixels)
    if box:
        part = canvas.part(box)
        surface = fine(body.pelvis_voxels, box)
        labels.exact[box][surface < 0] = 3
        part.cover(occupancy(surface, 1))
        _pelvic_marrow(part, occupancy(fine(body.pelvic_marrow_voxels, box), 1), fine(body.septa, box), body, k, box)
    box = box_of(np.minimum(body.femur_voxels, body.rater_voxels)[k], 1, field, field.pixels)
    if box:
        part = canvas.part(box)
        surface, marrow = fine(body.femur_voxels, box), fine(body.marrow_voxels, box)
        labels.exact[box][surface < 0] = 2
        labels.exact[box][(marrow < 0) & (above[box[0]] > body.cut_mm)] = 1
        labels.rater[box] = (fine(body.rater_voxels, box) < 0) & (above[box[0]] > body.rater_cut_mm)
        part.cover(occupancy(surface, 1))
        _femoral_marrow(part, occupancy(marrow, 1), fine(body.cloud, box), body, k, box)
    margin = field.margin(field.pixels)
    core = slice(margin, margin + field.pixels)
    return Labels(labels.exact[:, core], labels.rater[:, core])


def _places(body: Body, k: int, box: tuple[slice, slice], where: tuple[np.ndarray, ...]) -> Points:
    """Where some pixels of a box of slice ``k`` lie from the head's centre, along the image's axes: side, front, up."""
    x, y, z = body.field.points(body.field.pixels, body.person.protocol.place)
    return x[0, 0, box[1]][where[1]], y[k, 0, 0], z[0, box[0], 0][where[0]]


def _pelvic_marrow(
    part: Canvas, share: np.ndarray, septa: np.ndarray, body: Body, k: int, box: tuple[slice, slice]
) -> None:
    """Marrow like that of the femur's head, with more red marrow the less ``pelvic_marrow_similarity``."""
    hip, protocol = body.person.hip, body.person.protocol
    bright = signals(protocol.flip_degrees, protocol.muscle_t1_ms)
    where = np.nonzero(share > 0.02)
    side, depth, up = _places(body, k, box, where)
    tile = texture.strands(body.field.pixel_mm, body.field.slice_mm)
    a, b = body.origins[1], body.origins[5]
    grain = texture.at(tile, 0.94 * side - 0.35 * up + a[0], 0.94 * up + 0.35 * side + a[1], depth + a[2])
    grain = 0.6 * grain + 0.6 * texture.at(tile, 0.5 * side + 0.87 * up + b[0], 0.87 * side + b[1], depth + b[2])
    fraction = np.full(grain.shape, 0.17 * hip.bone_fraction, np.float32)
    local = fraction * np.exp(hip.trabecular_contrast * grain - 0.5 * hip.trabecular_contrast**2)
    bone = bone_attenuation(fraction, local)
    red = np.clip(0.2 + 0.6 * (1 - hip.pelvic_marrow_similarity) + 0.15 * septa[where], 0.05, 0.95)
    _mixed_marrow(part, where, share[where], bone, red, bright)


def _femoral_marrow(
    part: Canvas, share: np.ndarray, cloud: np.ndarray, body: Body, k: int, box: tuple[slice, slice]
) -> None:
    """Marrow between trabeculae; cyst, foci and metal, where there are any."""
    hip, protocol = body.person.hip, body.person.protocol
    bright = signals(protocol.flip_degrees, protocol.muscle_t1_ms)
    where = np.nonzero(share > 0.02)
    if not where[0].size:
        return
    places = _places(body, k, box, where)
    p = turned(turned(places, hip_frame(protocol)), femur_frame(hip))
    bone = femur.trabeculae(p, hip)
    tile = texture.strands(body.field.pixel_mm, body.field.slice_mm)
    a, b, c = body.origins[2], body.origins[3], body.origins[4]
    through = places[1]
    # Angles become arcs: 60 and 45 mm are about where the strands are.
    rays = texture.at(tile, 60 * bone.compressive_angle + a[0], bone.compressive_radius + a[1], through + a[2])
    arcs = texture.at(tile, bone.tensile_radius + b[0], 45 * bone.tensile_angle + b[1], through + b[2])
    grain = texture.at(tile, 0.8 * places[0] + 0.6 * places[2] + c[0], 0.8 * places[2] + c[1], through + c[2])
    strands = bone.compressive * rays + (1 - bone.compressive) * 0.8 * arcs + 0.45 * grain
    local = bone.bone_fraction * np.exp(hip.trabecular_contrast * strands - 0.7 * hip.trabecular_contrast**2)
    red = np.clip(femur.red_marrow(p, hip) * np.clip(0.7 + 0.45 * cloud[where], 0, 1.4), 0, 1)
    _mixed_marrow(part, where, share[where], bone_attenuation(bone.bone_fraction, local), red, bright)
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
    part: Canvas,
    where: tuple[np.ndarray, ...],
    share: np.ndarray,
    bone: np.ndarray,
    red: np.ndarray,
    bright: dict[str, float],
) -> None:
    """Cover chosen pixels with marrow that is part fatty, part red; half of red marrow is fat."""
    fat = bone * bright["fatty marrow"] * (1 - 0.5 * red)
    water = bone * red * (bright["red marrow"] - 0.5 * bright["fatty marrow"])
    part.cover(share, fat, water, where)
