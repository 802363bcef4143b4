"""Widgets: the figures of :mod:`femur_lib.figures` with sliders. Each is preceded by a static figure in the course.

They draw into an Image widget: unlike an Output one, it sends no messages that papermill could wait for.
"""

from dataclasses import replace
from functools import lru_cache

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np

from femur_lib.figures import grey_limits, png, show_anatomy, show_change, show_slice
from femur_lib.phantom.body import lay_out
from femur_lib.phantom.field import Field
from femur_lib.phantom.painting import paint
from femur_lib.phantom.parameters import Person
from femur_lib.phantom.scanner import RECEIVING, steps_of
from femur_lib.scores.overlap import overlap
from femur_lib.volumes import Volume, to_stack

AXES = {"coronal": 2, "sagittal": 1, "axial": 0}


def picture_widget() -> widgets.Image:
    """A picture in its own size. Else a box would stretch it to the page's width, and the sliders scroll away."""
    return widgets.Image(format="png", layout=widgets.Layout(align_self="flex-start", max_width="100%"))


def plane(stack: np.ndarray, name: str, number: int) -> np.ndarray:
    """One picture of a stack in a direction of ``AXES``, as radiologists see it.

    Coronal and axial: the patient's right on the left. Axial: the front up. Sagittal: the front on the left.
    """
    cut = np.take(stack, number, AXES[name])
    return cut.T if name == "axial" else cut


def slice_viewer(image: Volume, truth: Volume | None = None, predicted: Volume | None = None) -> widgets.Widget:
    """A slider through a scan in any of three directions, with contours that can be switched off."""
    stack = to_stack(image)
    masks = [None if m is None else to_stack(m).array for m in (truth, predicted)]
    limits, spacing = grey_limits(stack.array), stack.spacing_mm
    direction = widgets.ToggleButtons(options=list(AXES), description="plane")
    number = widgets.IntSlider(description="slice", continuous_update=True)
    contours = widgets.Checkbox(value=True, description="contours")
    output = picture_widget()

    def fit(change=None) -> None:
        size = stack.array.shape[AXES[direction.value]]
        number.max = size - 1
        number.value = size // 2

    def draw(change=None) -> None:
        here = direction.value, number.value
        cuts = [None if m is None or not contours.value else plane(m, *here) for m in masks]
        row_mm, column_mm, slice_mm = spacing
        aspects = {"coronal": row_mm / column_mm, "sagittal": row_mm / slice_mm, "axial": slice_mm / column_mm}
        figure, ax = plt.subplots(figsize=(5.5, 5.5), layout="constrained")
        show_slice(ax, plane(stack.array, *here), *cuts, limits=limits, aspect=aspects[direction.value])
        output.value = png(figure, 80)

    fit()
    direction.observe(fit, "value")
    for control in (direction, number, contours):
        control.observe(draw, "value")
    draw()
    return widgets.VBox([direction, widgets.HBox([number, contours]), output])


def threshold_viewer(image: Volume, truth: Volume, probability: Volume, start: float = 0.5) -> widgets.Widget:
    """A slider for the threshold: the mask it makes, and its Dice, precision and recall over the whole scan."""
    stack, true, p = to_stack(image), to_stack(truth).array, to_stack(probability).array
    limits = grey_limits(stack.array)
    k = int(true.sum((0, 1)).argmax())
    slider = widgets.FloatSlider(
        value=start,
        min=0.0,
        max=0.999,
        step=0.001,
        readout_format=".3f",
        description="threshold",
        layout=widgets.Layout(width="100%", max_width="600px"),  # a thousand steps need room
    )
    words, output = widgets.HTML(), picture_widget()

    def draw(change=None) -> None:
        mask = p > slider.value
        s = overlap(true, mask)
        words.value = f"Dice <b>{s['dice']:.3f}</b>, precision {s['precision']:.3f}, recall {s['recall']:.3f}"
        figure, ax = plt.subplots(figsize=(5.5, 5.5), layout="constrained")
        show_slice(
            ax,
            stack.array[..., k],
            true[..., k],
            mask[..., k],
            limits=limits,
            aspect=stack.spacing_mm[0] / stack.spacing_mm[1],
        )
        output.value = png(figure, 80)

    slider.observe(draw, "value")
    draw()
    return widgets.VBox([slider, words, output])


def scan_steps_viewer(person: Person, pixels: int = 192, slices: int = 60) -> widgets.Widget:
    """A synthetic scan taken apart, with the scanner's knobs: any slice, after any step, and what that step changed.

    Args:
        person: from :func:`femur_lib.phantom.subject.draw_person`; the knobs begin at her protocol's values.
        pixels: rows, and columns, of the field of view.
        slices: of the field of view, front to back.
    """
    # What lies beyond the field of view takes time to paint, and is painted only where it folds over.
    fields = {beyond: Field(pixels, slices, beyond) for beyond in (False, True)}
    laid_out = lru_cache(lambda beyond: lay_out(person, fields[beyond]))
    painted = lru_cache(maxsize=4)(lambda beyond, k: paint(laid_out(beyond), k))
    middle = int((laid_out(False).marrow_voxels < 0).sum((1, 2)).argmax())
    names = ["anatomy", "signal of fat", "signal of water", "fat + water", "coils", *RECEIVING]

    def knob(name: str, most: float, description: str) -> widgets.FloatSlider:
        value = min(getattr(person.protocol, name), most)
        return widgets.FloatSlider(value=value, min=0, max=most, step=most / 40, description=description)

    number = widgets.IntSlider(value=middle, max=slices - 1, description="slice")
    step = widgets.SelectionSlider(options=names, value="noise", description="up to")
    knobs = {
        "snr": knob("snr", 40, "SNR"),
        "coil_bias": knob("coil_bias", 2, "coil bias"),
        "fold_over": knob("fold_over", 1, "fold-over"),
        "ghost": knob("ghost", 0.4, "ghost"),
    }
    knobs["snr"].min = 2
    shift = widgets.Checkbox(value=person.protocol.chemical_shift > 0, description="chemical shift")
    output = picture_widget()

    def draw(change=None) -> None:
        k = number.value
        chosen = {name: slider.value for name, slider in knobs.items()}
        protocol = replace(person.protocol, **chosen, chemical_shift=float(shift.value))
        beyond = protocol.fold_over > 0
        images = steps_of(painted(beyond, k), fields[beyond], k, protocol, (person.seed, person.number, 5, k))
        images.setdefault("fold-over", images["slab profile"])
        image = images[step.value]
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.8))
        figure.subplots_adjust(0.01, 0.05, 0.99, 0.92, 0.02)
        left.set_title(f"{step.value}, slice {k}")
        right.axis("off")
        if step.value == "anatomy":
            show_anatomy(left, image)
        else:
            show_slice(left, image, limits=(0, 1.4))  # of fatty marrow; the same whatever the knobs say
        if step.value in RECEIVING:
            before = "fat + water" if step.value == "received" else names[names.index(step.value) - 1]
            right.axis("on")
            right.set_title("what this step made brighter (red), darker (blue)")
            show_change(right, image, images[before])
        output.value = png(figure, 80)

    for control in (number, step, shift, *knobs.values()):
        control.observe(draw, "value")
    draw()
    laid_out(True)
    return widgets.VBox([widgets.HBox([number, step, shift]), widgets.HBox(list(knobs.values())), output])
