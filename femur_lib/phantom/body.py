"""One woman laid out on the coarse grid: everything that her slices are painted from."""

from typing import Any

import numpy as np
from scipy import ndimage

from femur_lib.phantom import femur, surroundings, texture
from femur_lib.phantom.femur import femur_frame, hip_frame
from femur_lib.phantom.field import Field, exact, voxel_widths
from femur_lib.phantom.parameters import Hip, Person
from femur_lib.phantom.shapes import along, smooth_step, turned
from femur_lib.phantom.subject import stream
from femur_lib.phantom.surroundings import pelvis_frame
from femur_lib.phantom.tissue import signals


class Body:
    """One woman on the coarse grid, (slices, rows, columns): her shapes, evaluated, and the noise that goes with them.

    What ends in ``_voxels`` are distances in voxels (:func:`femur_lib.phantom.field.voxel_widths`), rounded so that
    interpolating them is exact. The other arrays are distances in mm, or smooth noise with standard deviation 1.
    """

    def __init__(self, person: Person, field: Field) -> None:
        self.person, self.field = person, field
        hip, protocol = person.hip, person.protocol
        in_hip = turned(field.points(field.coarse, protocol.place), hip_frame(protocol))
        in_femur, in_pelvis = turned(in_hip, femur_frame(hip)), turned(in_hip, pelvis_frame(hip))
        rng = stream(person.seed, person.number, 3)
        # Noise has its place in mm, so that she is the same at every size. It fills the field and what lies beyond.
        axes = field.axes_mm(field.coarse)
        view = field.view_mm
        room = (view[2] / 2, view[0] / 2, view[1] * 0.82)

        def noise(*knots_mm: float) -> np.ndarray:
            return texture.smooth_field(rng, axes, room, knots_mm)

        wobble = noise(15, 13, 13)
        radius = hip.head_diameter / 2
        # No two bones are alike: the surface goes 0.35 mm to and fro, except on the head, whose size is known.
        off_the_head = smooth_step(along(in_femur, femur.landmarks(hip).neck), 0.5 * radius, radius)
        self.femur = femur.surface(in_femur, hip) + 0.35 * wobble * off_the_head
        marrow = self.femur + femur.cortex_mm(in_femur, hip)
        rater = (self.femur if person.whole_femur else marrow) + person.rater_border_mm * noise(3, 8.5, 8.5)
        pelvis = surroundings.pelvis(in_pelvis, hip) + 0.3 * wobble
        pelvis = np.maximum(pelvis, 1.0 - self.femur)  # at least 1 mm from the femur
        courses = surroundings.muscle_courses(hip, rng)
        muscle, gap, self.muscle_number = surroundings.nearest_muscle(in_hip, courses)
        in_image = [hip_frame(protocol).T @ (end - start) for start, end in courses]
        self.muscle_slopes = np.array([np.arctan2(-c[2], c[0]) for c in in_image], np.float32)  # of fibres, in radians
        self.cloud = noise(18, 20, 20)
        self.muscle, self.muscle_gap = muscle + 2.0 * self.cloud, gap + 0.8 * self.cloud
        # The lower ends of the two masks, in mm above the centre of the field of view.
        self.cut_mm = femur.cut_level(hip, protocol)
        self.rater_cut_mm = -np.inf if person.whole_femur else self.cut_mm - person.rater_cut_mm
        above = axes[1][None, :, None]
        width, pelvic_width = voxel_widths(self.femur, field), voxel_widths(pelvis, field)
        self.femur_voxels = exact(self.femur / width)
        # The femur inside its cortex, which is the border of the mask; and the same border as an expert sees it.
        self.marrow_voxels = exact(_one_piece(marrow / width, above > self.cut_mm))
        self.rater_voxels = exact(_one_piece(rater / width, above > self.rater_cut_mm))
        self.pelvis_voxels = exact(pelvis / pelvic_width)
        self.pelvic_marrow_voxels = exact((pelvis + surroundings.pelvic_cortex_mm(in_pelvis, hip)) / pelvic_width)
        self.septa = noise(12, 7, 7)
        self.origins = rng.uniform(0, 500, (6, 3)).astype(np.float32)  # where each texture begins, in mm
        self.lesion = _lesion(hip, rng)
        self.bright: dict[str, Any] = signals(protocol.flip_degrees, protocol.muscle_t1_ms)
        self.strands = texture.strands(field.pixel_mm, field.slice_mm)


def _one_piece(distance: np.ndarray, above: np.ndarray) -> np.ndarray:
    """The distance without islands: at the cut, a lesser trochanter's marrow can be parted from the shaft's."""
    piece, pieces = ndimage.label((distance < 0) & above, np.ones((3, 3, 3)))
    if pieces > 1:
        largest = 1 + np.argmax(np.bincount(piece.ravel())[1:])
        distance = np.where((piece > 0) & (piece != largest), 1.0, distance)
    return distance


def _lesion(hip: Hip, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Centre of a cyst along the neck, then the calcified foci around it (x, y, z, radius), in the femur's frame."""
    mark = femur.landmarks(hip)
    across = np.cross(mark.neck, mark.anterior)
    centre = rng.uniform(0.45, 0.9) * mark.neck_base + rng.uniform(-4, 3) * across + rng.uniform(-3, 3) * mark.anterior
    foci = [
        np.append(centre + 1.3 * hip.cyst_radius * rng.standard_normal(3), rng.uniform(1.5, 4))
        for _ in range(int(rng.integers(4, 7)))
    ]
    return (centre, *foci)
