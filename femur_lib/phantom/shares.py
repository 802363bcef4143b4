"""A woman painted once, to be scanned in many ways: how much of each kind of tissue there is at every point.

A painted slice is a sum over tissues, of how bright each one is times its share of the pixel. Painting the shares
takes seconds; after that, the same woman under another contrast is a sum of a few arrays.
"""

from dataclasses import dataclass, replace

import numpy as np

from femur_lib.phantom.body import Body
from femur_lib.phantom.field import Field
from femur_lib.phantom.painting import paint_bones, paint_soft_tissue
from femur_lib.phantom.parameters import DIFFICULTIES, Person
from femur_lib.phantom.subject import draw_person, stream

# Tissues that get their brightness together. What is always equally bright, such as the skin, comes after the last.
KINDS = (
    ("fatty marrow",),
    ("red marrow",),
    ("subcutaneous fat",),
    ("muscle",),
    ("cartilage",),
    ("fluid", "cyst"),
    ("blood",),
    ("capsule", "calcification"),
)
VIEW_MM = (192.0, 192.0, 144.0)  # of what is painted (rows, columns, slices): more than a scan of one hip shows
PIXELS, SLICES = 144, 48
WHOLE_FEMUR_MM = 1e3  # where the mask ends below the lesser trochanter: at the image's edge


@dataclass(frozen=True)
class Shares:
    """One painted woman, lateral to the right whatever her side.

    Attributes:
        shares: (kinds + 1, slices, rows, columns), float16.
        labels: exact labels, uint8 (slices, rows, columns); 1 goes down to the field's edge.
    """

    shares: np.ndarray
    labels: np.ndarray


def draw_varied_person(seed: int, k: int) -> Person:
    """A woman who may be unlike those of a cohort: how she lies, her marrow, her cortex and her fat vary more widely.

    Her mask has no lower end, and an artefact card (cyst) is dealt more often.
    """
    rng = stream(seed, k, 6)
    difficulty = replace(
        DIFFICULTIES["hard"],
        position_mm=8.0,
        rotation_degrees=10.0,
        red_marrow=0.45,
        marbling=float(rng.uniform(0.04, 0.30)),
        cortex=float(rng.uniform(0.6, 1.2)),
        pelvic_marrow_similarity=float(rng.uniform(0.3, 1.0)),
        trabecular_contrast=float(rng.uniform(0.2, 0.8)),
    )
    person = draw_person(seed, k, difficulty)
    hip = replace(
        person.hip,
        soft_tissue=float(rng.uniform(15, 75)),
        greater_trochanter=float(rng.uniform(0.78, 1.08)),
        # Feet are tied together in the paper's protocol. Elsewhere they fall outwards, and knees lie on a cushion.
        anteversion=float(rng.uniform(0, 45)),
        flexion=float(rng.uniform(-22, 8)),
        abduction=float(rng.uniform(-8, 12)),
        distal_cut=WHOLE_FEMUR_MM,
    )
    return replace(person, hip=hip)


def paint_shares(person: Person, pixels: int = PIXELS, slices: int = SLICES) -> Shares:
    """Paint a woman as shares of tissues; about five seconds.

    Each kind in turn is bright and all others are dark, in pictures that are painted at once.
    """
    field = Field(pixels, slices, view_mm=VIEW_MM)
    body = Body(person, field)
    body.bright = {name: np.array([[[name in kind]] for kind in (*KINDS, ())], np.float32) for name in body.bright}
    shares = np.empty((len(KINDS) + 1, slices, pixels, pixels), np.float16)
    labels = np.empty((slices, pixels, pixels), np.uint8)
    for k in range(slices):
        canvas = paint_soft_tissue(body, k, pixels)
        labels[k] = paint_bones(body, k, canvas).exact
        picture = canvas.fat + canvas.water
        picture[:-1] -= picture[-1]  # what is bright in every picture belongs to none of the kinds
        shares[:, k] = picture
    return Shares(shares, labels)
