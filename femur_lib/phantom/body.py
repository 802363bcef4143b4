"""One subject laid out on the coarse grid: all that her slices are painted from."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from femur_lib.phantom import femur, surroundings, texture
from femur_lib.phantom.femur import femur_frame, hip_frame
from femur_lib.phantom.field import FIELD_OF_VIEW_MM, Field, exact, voxel_widths
from femur_lib.phantom.parameters import Hip, Person
from femur_lib.phantom.shapes import along, smooth_step, turned
from femur_lib.phantom.subject import stream
from femur_lib.phantom.surroundings import pelvis_frame


@dataclass(frozen=True)
class Body:
    """One subject on the coarse grid, (slices, rows, columns): what every slice is painted from.

    The fields that end in ``_voxels`` are distances in voxels (:func:`femur_lib.phantom.field.voxel_widths`) and
    exact; the others are in mm, or smooth noise with standard deviation 1.
    """

    person: Person
    field: Field
    femur: np.ndarray
    femur_voxels: np.ndarray
    marrow_voxels: np.ndarray  # the femur inside its cortex: the mask's border
    rater_voxels: np.ndarray  # the same, as an expert sees it
    pelvis_voxels: np.ndarray
    pelvic_marrow_voxels: np.ndarray
    muscle: np.ndarray
    muscle_gap: np.ndarray
    muscle_number: np.ndarray
    muscle_slopes: np.ndarray  # of each muscle's fibres in the image, radians
    cloud: np.ndarray
    septa: np.ndarray
    cut_mm: float  # the mask's lower end, above the centre of the field of view
    rater_cut_mm: float
    origins: np.ndarray  # where each texture begins, mm
    lesion: tuple[np.ndarray, ...]  # the cyst's centre and its foci's (x, y, z, radius), in the femur's frame


def lay_out(person: Person, field: Field) -> Body:
    """Evaluate a subject's shapes on the coarse grid.

    Args:
        person: from :func:`femur_lib.phantom.subject.draw_person`.
        field: where and how finely.
    """
    hip, protocol = person.hip, person.protocol
    in_hip = turned(field.points(field.coarse, protocol.place), hip_frame(protocol))
    in_femur, in_pelvis = turned(in_hip, femur_frame(hip)), turned(in_hip, pelvis_frame(hip))
    rng = stream(person.seed, person.number, 3)
    # Noise has a place in mm, so that a subject is the same at every size: room for the field and what lies beyond.
    axes = field.axes_mm(field.coarse)
    room = (FIELD_OF_VIEW_MM[2] / 2, FIELD_OF_VIEW_MM[0] / 2, FIELD_OF_VIEW_MM[1] * 0.82)

    def noise(*knots_mm: float) -> np.ndarray:
        return texture.smooth_field(rng, axes, room, knots_mm)

    wobble = noise(15, 13, 13)
    bone = femur.surface(in_femur, hip)
    radius = hip.head_diameter / 2
    # No two bones are alike: 0.35 mm to and fro, but none on the head, whose size is known.
    bone = bone + 0.35 * wobble * smooth_step(along(in_femur, femur.landmarks(hip).neck), 0.5 * radius, radius)
    marrow = bone + femur.cortex_mm(in_femur, hip)
    rater = marrow + person.rater_border_mm * noise(3, 8.5, 8.5)
    pelvis = surroundings.pelvis(in_pelvis, hip) + 0.3 * wobble
    pelvis = np.maximum(pelvis, 1.0 - bone)  # at least 1 mm from the femur
    courses = surroundings.muscle_courses(hip, rng)
    muscle, gap, which = surroundings.nearest_muscle(in_hip, courses)
    courses_in_image = [hip_frame(protocol).T @ (end - start) for start, end in courses]
    cloud = noise(18, 20, 20)
    width, pelvic_width = voxel_widths(bone, field), voxel_widths(pelvis, field)
    cut = femur.cut_level(hip, protocol)
    rater_cut = cut - person.rater_cut_mm
    above = axes[1][None, :, None]
    return Body(
        person=person,
        field=field,
        femur=bone,
        femur_voxels=exact(bone / width),
        marrow_voxels=exact(_one_piece(marrow / width, above > cut)),
        rater_voxels=exact(_one_piece(rater / width, above > rater_cut)),
        pelvis_voxels=exact(pelvis / pelvic_width),
        pelvic_marrow_voxels=exact((pelvis + surroundings.pelvic_cortex_mm(in_pelvis, hip)) / pelvic_width),
        muscle=muscle + 2.0 * cloud,
        muscle_gap=gap + 0.8 * cloud,
        muscle_number=which,
        muscle_slopes=np.array([np.arctan2(-c[2], c[0]) for c in courses_in_image], np.float32),
        cloud=cloud,
        septa=noise(12, 7, 7),
        cut_mm=cut,
        rater_cut_mm=rater_cut,
        origins=rng.uniform(0, 500, (6, 3)).astype(np.float32),
        lesion=_lesion(hip, rng),
    )


def _one_piece(distance: np.ndarray, above: np.ndarray) -> np.ndarray:
    """The distance with islands filled in: a lesser trochanter's marrow can part from the shaft's at the cut."""
    piece, pieces = ndimage.label((distance < 0) & above, np.ones((3, 3, 3)))
    if pieces > 1:
        largest = 1 + np.argmax(np.bincount(piece.ravel())[1:])
        distance = np.where((piece > 0) & (piece != largest), 1.0, distance)
    return distance


def _lesion(hip: Hip, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """A cyst somewhere along the neck, and calcified foci round it."""
    mark = femur.landmarks(hip)
    across = np.cross(mark.neck, mark.anterior)
    centre = rng.uniform(0.45, 0.9) * mark.neck_base + rng.uniform(-4, 3) * across + rng.uniform(-3, 3) * mark.anterior
    foci = [
        np.append(centre + 1.3 * hip.cyst_radius * rng.standard_normal(3), rng.uniform(1.5, 4))
        for _ in range(int(rng.integers(4, 7)))
    ]
    return (centre, *foci)
