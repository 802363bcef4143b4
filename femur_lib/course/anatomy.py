"""The parts of a hip, named on a synthetic one."""

from dataclasses import replace
from functools import lru_cache

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from femur_lib.phantom.femur import in_scanner, landmarks
from femur_lib.phantom.parameters import Person
from femur_lib.phantom.scanner import field_of, taken_apart
from femur_lib.phantom.subject import draw_person
from femur_lib.plotting import PREDICTED, TRUTH, show_slice

PIXELS, SLICES = 384, 60


def draw_anatomy(size: tuple[float, float] = (9, 4.6)) -> Figure:
    """One coronal slice of a synthetic left hip, with the names of its parts and the contour of the exact mask.

    Her neck and both trochanters are turned into one slice, which no real hip allows.

    Args:
        size: of the figure, in inches.
    """
    person, image, mask = _slice()
    mark = landmarks(person.hip)
    lateral, up, upwards = mark.lateral, np.array([0.0, 0.0, 1.0]), np.cross(mark.neck, mark.anterior)
    radius, shaft = person.hip.head_diameter / 2, mark.neck_base - 42 * up
    # Where each line ends, in the femur's frame (mm); on the left and on the right of the picture, from top to bottom.
    left = {
        "pelvis": 1.32 * radius * (up - 0.3 * lateral),
        "acetabulum (socket)": 1.17 * radius * np.array([-0.82, 0.0, 0.57]),
        "head": np.array([-0.35 * radius, 0.0, 0.0]),
        "lesser trochanter": mark.lesser_trochanter - 3 * lateral,
        "cortex: the dark rim": shaft - 14.5 * lateral,
    }
    right = {
        "neck": 0.55 * mark.neck_length * mark.neck + 4 * upwards,
        "greater trochanter": mark.greater_trochanter - 15 * up + 6 * lateral,
        "marrow: bright, mostly fat": mark.neck_base - 14 * up + 2 * lateral,
        "shaft": shaft,
    }
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    show_slice(ax, image, mask)
    for names, column, rows, side in (
        (left, -25, (24, 90, 155, 275, 345), "right"),
        (right, PIXELS + 25, (110, 180, 250, 340), "left"),
    ):
        for (name, point), row in zip(names.items(), rows, strict=True):
            line = {"arrowstyle": "-|>", "color": PREDICTED, "linewidth": 1.6, "shrinkA": 2, "shrinkB": 0}
            ax.annotate(name, _pixel(person, point), (column, row), ha=side, va="center", arrowprops=line)
    ax.set(xlim=(-215, PIXELS + 245), frame_on=False)
    figure.suptitle("a synthetic left hip, seen from in front")
    ax.plot([], [], color=TRUTH, label="the mask: marrow inside the cortex, down to an agreed level")
    figure.legend(loc="outside lower center", frameon=False)
    return figure


@lru_cache(maxsize=1)
def _slice() -> tuple[Person, np.ndarray, np.ndarray]:
    """Who is scanned, the slice through the centre of her head, and its exact mask."""
    person = draw_person(seed=0, k=3)
    hip = replace(person.hip, anteversion=0.0, lesser_trochanter_version=0.0, flexion=0.0)
    protocol = replace(person.protocol, turn=(0.0, 0.0, 0.0), snr=30.0, coil_bias=0.3, ghost=0.0, fold_over=0.0)
    person = replace(person, hip=hip, protocol=protocol)
    depths = field_of(person, PIXELS, SLICES).axes_mm(PIXELS)[0]
    k = int(np.abs(depths - in_scanner(np.zeros(3), hip, protocol)[1]).argmin())
    parts = taken_apart(person, k, PIXELS, SLICES)
    return person, parts["noise"], parts["anatomy"] == 1


def _pixel(person: Person, point: np.ndarray) -> tuple[float, float]:
    """Column and row of a point of the femur's frame."""
    lateral, _, up = in_scanner(point, person.hip, person.protocol)
    pixel_mm = field_of(person, PIXELS, SLICES).pixel_mm
    return (PIXELS - 1) / 2 + lateral / pixel_mm, (PIXELS - 1) / 2 - up / pixel_mm
