"""From a painted slice to what the scanner delivers: coils, chemical shift, slab, fold-over, k-space, noise."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import fft

from femur_lib.phantom.body import Body
from femur_lib.phantom.field import Field
from femur_lib.phantom.painting import Canvas, Labels, paint
from femur_lib.phantom.parameters import Person, Protocol
from femur_lib.phantom.shapes import smooth_step
from femur_lib.phantom.tissue import BANDWIDTH_HZ, FAT_SHIFT_HZ

# Centres of the surface coils, in front, at the side and behind (mm from the field's centre: lateral, front, up) [A].
LOOPS = (
    *((x, 95, z) for x in (-60, 0, 55) for z in (-60, 20, 80)),
    *((110, 30, z) for z in (-60, 20, 80)),
    *((x, -115, z) for x in (-60, 20) for z in (-60, 40)),
)
LOOP_RADIUS_MM = 45.0

# The steps after the coils, in order, and the settings of the protocol that each of them switches on.
RECEIVING: dict[str, tuple[str, ...]] = {
    "received": (),
    "chemical shift": ("chemical_shift",),
    "slab profile": ("slab_profile",),
    "fold-over": ("fold_over",),
    "k-space": ("gibbs", "ghost"),
    "noise": ("snr",),
}

GREY_LEVELS = 200  # of fatty marrow at gain 1: noise then spans several grey levels, as in a scanner's images


def coil_sensitivity(field: Field, exponent: float) -> np.ndarray:
    """How strongly the coils together receive, on the coarse grid (slices, rows, columns); mean 1 within the field.

    It is the root of the sum of squares over the loops. Each loop falls off with the distance d as (r^2 + d^2)^(-3/2),
    which is Biot-Savart on the axis of a loop of radius r. An ``exponent`` of 0 makes a perfectly even coil.
    """
    x, y, z = field.points(field.coarse, (0, 0, 0))
    squares = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), np.float32)
    for a, b, c in LOOPS:
        reach = ((x - a) ** 2 + (y - b) ** 2 + np.float32(LOOP_RADIUS_MM**2)) + (z - c) ** 2
        squares += 1e9 / (reach * reach * reach)
    sensitivity = np.sqrt(squares)
    margin = field.margin(field.coarse)
    within = sensitivity[:, :, margin : margin + field.coarse]
    return ((sensitivity / within.mean()) ** exponent).astype(np.float32)


def chemical_shift(fat: np.ndarray, pixels: int, strength: float = 1.0) -> np.ndarray:
    """Fat where the scanner puts it: 2.1 of 512 rows further down, since it precesses 419 Hz slower than water."""
    rows = strength * FAT_SHIFT_HZ / BANDWIDTH_HZ * pixels / 512
    whole, part = int(rows), np.float32(rows % 1)
    padded = np.pad(fat, ((whole + 1, 0), (0, 0)), mode="edge")
    return (1 - part) * padded[1 : 1 + len(fat)] + part * padded[: len(fat)]


def slab_profile(field: Field, strength: float = 1.0) -> np.ndarray:
    """How strongly each slice is excited: the outer 9 mm on either side (6 of 60 slices) fall off [A]."""
    to_end = field.view_mm[2] / 2 - np.abs(field.axes_mm(field.coarse)[0])
    return (1 - strength * (1 - np.clip(smooth_step(to_end, -3.75, 8.25), 0.3, 1))).astype(np.float32)


def fold(image: np.ndarray, margin: int, strength: float) -> np.ndarray:
    """The field of view, with what lies up to ``margin`` columns beyond it wrapped onto the other side.

    It fades with the distance, because coils receive less from afar; a hard edge would look like no scanner's image.
    """
    image, left, right = image[:, margin:-margin].copy(), image[:, :margin], image[:, -margin:]
    fade = (strength * (0.5 - 0.5 * np.cos(np.pi * (np.arange(margin) + 0.5) / margin))).astype(np.float32)
    image[:, -margin:] += fade * left
    image[:, :margin] += fade[::-1] * right
    return image


def k_space(image: np.ndarray, ghost: float = 0.0, shutter: bool = True) -> np.ndarray:
    """The image after sampling: it rings without the corners of k-space (Gibbs); uneven lines make ghosts."""
    lines = fft.rfft2(image)
    if shutter:
        lines *= _shutter(*image.shape)
    if ghost:
        lines *= (1 + ghost * np.sin(2 * np.pi * np.arange(lines.shape[1]) / 3.7)).astype(np.float32)
    return fft.irfft2(lines, s=image.shape)


@lru_cache(maxsize=2)
def _shutter(rows: int, columns: int) -> np.ndarray:
    vertical, horizontal = fft.fftfreq(rows)[:, None], fft.rfftfreq(columns)[None, :]
    return ((vertical / 0.5) ** 2 + (horizontal / 0.47) ** 2 <= 1).astype(np.float32)


def magnitude(image: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    """Add complex noise of standard deviation 1 / ``snr``, and take the magnitude: the noise becomes Rician."""
    parts = rng.standard_normal((2, *image.shape), np.float32)
    parts /= np.float32(snr)
    parts[0] += image
    np.multiply(parts, parts, out=parts)
    return np.sqrt(parts[0] + parts[1])


@dataclass(frozen=True)
class Scan:
    """Image and truth of one woman, (slices, rows, columns), lateral to the right whatever her side."""

    image: np.ndarray  # int16; fatty marrow under average coils is at GREY_LEVELS times the protocol's gain
    labels: np.ndarray  # uint8, the exact LABELS
    rater: np.ndarray  # bool, the mask as an expert drew it


def field_of(person: Person, pixels: int, slices: int) -> Field:
    """The field of view to paint for a woman: a wider one where something will wrap round."""
    return Field(pixels, slices, beyond=person.protocol.fold_over > 0)


def scan(person: Person, pixels: int, slices: int) -> Scan:
    """Scan one woman: paint every slice and send it through the scanner.

    Args:
        person: from :func:`femur_lib.phantom.subject.draw_person`.
        pixels: rows, and columns, of the field of view.
        slices: number of slices, from front to back.
    """
    field = field_of(person, pixels, slices)
    body = Body(person, field)
    coils, slab = coil_sensitivity(field, person.protocol.coil_bias), slab_profile(field, person.protocol.slab_profile)
    # Half of the time goes into noise, and this is NumPy's fastest generator.
    rng = np.random.Generator(np.random.SFC64((person.seed, person.number, 4, pixels)))
    made = Scan(*(np.empty((slices, pixels, pixels), dtype) for dtype in (np.int16, np.uint8, bool)))
    grey = np.float32(GREY_LEVELS * person.protocol.gain)
    for k in range(slices):
        canvas, labels = paint(body, k)
        received = field.enlarged(coils[k])
        image = acquire(canvas.fat * received, canvas.water * received, field, person.protocol, slab[k], rng)
        made.image[k] = grey * image + np.float32(0.5)
        made.labels[k] = labels.exact
        made.rater[k] = labels.rater
    return made


def acquire(
    fat: np.ndarray, water: np.ndarray, field: Field, protocol: Protocol, slab: float, rng: np.random.Generator
) -> np.ndarray:
    """One slice as scanned, from the fat and water that the coils receive: (rows, columns) of the field of view."""
    image = slab * (water + chemical_shift(fat, field.pixels, protocol.chemical_shift))
    if field.beyond:
        image = fold(image, field.margin(field.pixels), protocol.fold_over)
    if protocol.gibbs or protocol.ghost:
        image = k_space(image, protocol.ghost, protocol.gibbs)
    return magnitude(image, protocol.snr, rng)


def taken_apart(person: Person, k: int, pixels: int, slices: int) -> dict[str, np.ndarray]:
    """What each step adds to slice ``k``, to be looked at: images by the name of the step, in order.

    Each image is the whole scan with the later steps switched off. The last one is therefore the scan itself (except
    that its noise is drawn anew), and two neighbours differ by what one step does.
    """
    field = field_of(person, pixels, slices)
    return steps_of(paint(Body(person, field), k), field, k, person.protocol, (person.seed, person.number, 5, k))


def steps_of(
    painted: tuple[Canvas, Labels], field: Field, k: int, protocol: Protocol, seed: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """The same for a slice that has been painted already, so that settings of the scanner can be tried quickly.

    Args:
        painted: slice ``k``, from :func:`femur_lib.phantom.painting.paint`.
        field: what it was painted over; fold-over needs one that reaches ``beyond``.
        k: number of the slice.
        protocol: only its settings of the scanner count. How the patient lay, and how bright tissues are, has been
            painted.
        seed: of the noise.
    """
    canvas, labels = painted
    bare = replace(
        protocol, snr=float("inf"), chemical_shift=0.0, slab_profile=0.0, gibbs=False, ghost=0.0, fold_over=0.0
    )
    coils = field.enlarged(coil_sensitivity(field, protocol.coil_bias)[k])
    inside = Field(field.pixels, field.slices)
    images = {
        "anatomy": labels.exact,
        "signal of fat": canvas.fat[:, field.core],
        "signal of water": canvas.water[:, field.core],
        "fat + water": (canvas.fat + canvas.water)[:, field.core],
        "coils": coils[:, field.core],
    }
    for name, settings in RECEIVING.items():
        if name == "fold-over" and not protocol.fold_over:
            continue
        switched_on: dict[str, Any] = {setting: getattr(protocol, setting) for setting in settings}
        bare = replace(bare, **switched_on)
        wide, view = (field, slice(None)) if bare.fold_over else (inside, field.core)
        slab = slab_profile(field, bare.slab_profile)[k]
        rng = np.random.default_rng(seed)
        images[name] = acquire((canvas.fat * coils)[:, view], (canvas.water * coils)[:, view], wide, bare, slab, rng)
    return images
