"""Widgets: the figures of :mod:`femur_lib.plotting` with sliders. In the course a static figure comes before each.

They draw into an Image widget: unlike an Output widget it sends no messages that papermill could wait for.
"""

from collections.abc import Callable

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np

from femur_lib.metrics.overlap import overlap
from femur_lib.plotting import grey_limits, png, show_slice
from femur_lib.volumes import Volume, to_stack

AXES = {"coronal": 2, "sagittal": 1, "axial": 0}


def picture_widget() -> widgets.Image:
    """A picture in its own size. A box would stretch it to the page's width, and push the sliders out of sight."""
    return widgets.Image(format="png", layout=widgets.Layout(align_self="flex-start", max_width="100%"))


def redraw(draw: Callable[[], None], *controls: widgets.Widget) -> None:
    """Draw now, and again whenever the value of a control changes."""
    for control in controls:
        control.observe(lambda change: draw(), "value")
    draw()


def plane(stack: np.ndarray, name: str, number: int) -> np.ndarray:
    """One picture of a stack in a direction of ``AXES``, as radiologists see it.

    Coronal and axial pictures have the patient's right on the left; axial ones have the front above, and sagittal ones
    have it on the left.
    """
    cut = np.take(stack, number, AXES[name])
    return cut.T if name == "axial" else cut


def _slice_png(image: np.ndarray, *masks: np.ndarray | None, limits: tuple[float, float], aspect: float) -> bytes:
    figure, ax = plt.subplots(figsize=(5.5, 5.5), layout="constrained")
    show_slice(ax, image, *masks, limits=limits, aspect=aspect)
    return png(figure, 80)


def slice_viewer(image: Volume, truth: Volume | None = None, predicted: Volume | None = None) -> widgets.Widget:
    """A slider through a scan in any of three directions, with contours that can be switched off."""
    stack = to_stack(image)
    masks = [None if m is None else to_stack(m).array for m in (truth, predicted)]
    limits, (row_mm, column_mm, slice_mm) = grey_limits(stack.array), stack.spacing_mm
    aspects = {"coronal": row_mm / column_mm, "sagittal": row_mm / slice_mm, "axial": slice_mm / column_mm}
    direction = widgets.ToggleButtons(options=list(AXES), description="plane")
    number = widgets.IntSlider(description="slice", continuous_update=True)
    contours = widgets.Checkbox(value=True, description="contours")
    output = picture_widget()

    def fit() -> None:
        size = stack.array.shape[AXES[direction.value]]
        number.max = size - 1
        number.value = size // 2

    def draw() -> None:
        here = direction.value, number.value
        cuts = [None if m is None or not contours.value else plane(m, *here) for m in masks]
        output.value = _slice_png(plane(stack.array, *here), *cuts, limits=limits, aspect=aspects[direction.value])

    redraw(fit, direction)
    redraw(draw, direction, number, contours)
    return widgets.VBox([direction, widgets.HBox([number, contours]), output])


def threshold_viewer(image: Volume, truth: Volume, probability: Volume, start: float = 0.5) -> widgets.Widget:
    """A slider for the threshold: the mask it makes, and its Dice, precision and recall over the whole scan."""
    stack, true, p = to_stack(image), to_stack(truth).array, to_stack(probability).array
    limits, aspect = grey_limits(stack.array), stack.spacing_mm[0] / stack.spacing_mm[1]
    k = int(true.sum((0, 1)).argmax())
    slider = widgets.FloatSlider(
        value=start, min=0.0, max=0.999, step=0.001, readout_format=".3f", description="threshold",
        layout=widgets.Layout(width="100%", max_width="600px"),  # a thousand steps need room
    )  # fmt: skip
    words, output = widgets.HTML(), picture_widget()

    def draw() -> None:
        mask = p > slider.value
        s = overlap(true, mask)
        words.value = f"Dice <b>{s['dice']:.3f}</b>, precision {s['precision']:.3f}, recall {s['recall']:.3f}"
        output.value = _slice_png(stack.array[..., k], true[..., k], mask[..., k], limits=limits, aspect=aspect)

    redraw(draw, slider)
    return widgets.VBox([slider, words, output])
