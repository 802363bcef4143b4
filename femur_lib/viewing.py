"""Widgets: the figures of :mod:`femur_lib.figures` with sliders. Each is preceded by a static figure in the course."""

import io

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from femur_lib.figures import grey_limits, show_slice
from femur_lib.scores.overlap import overlap
from femur_lib.volumes import Volume, to_stack

AXES = {"coronal": 2, "sagittal": 1, "axial": 0}


def _png(figure: Figure) -> bytes:
    """A figure as PNG. An Image widget, unlike an Output one, sends no messages that papermill could wait for."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    plt.close(figure)
    return buffer.getvalue()


def slice_viewer(image: Volume, truth: Volume | None = None, predicted: Volume | None = None) -> widgets.Widget:
    """A slider through a scan in any of three directions, with contours that can be switched off."""
    stack = to_stack(image)
    masks = [None if m is None else to_stack(m).array for m in (truth, predicted)]
    limits, spacing = grey_limits(stack.array), stack.spacing_mm
    direction = widgets.ToggleButtons(options=list(AXES), description="plane")
    number = widgets.IntSlider(description="slice", continuous_update=True)
    contours = widgets.Checkbox(value=True, description="contours")
    output = widgets.Image(format="png")

    def fit(change=None) -> None:
        size = stack.array.shape[AXES[direction.value]]
        number.max = size - 1
        number.value = size // 2

    def draw(change=None) -> None:
        axis = AXES[direction.value]
        take = [None if m is None or not contours.value else np.take(m, number.value, axis) for m in masks]
        down, across = (s for i, s in enumerate(spacing) if i != axis)
        figure, ax = plt.subplots(figsize=(5, 5))
        show_slice(ax, np.take(stack.array, number.value, axis), *take, limits=limits, aspect=down / across)
        output.value = _png(figure)

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
        value=start, min=0.0, max=0.999, step=0.001, readout_format=".3f", description="threshold"
    )
    words, output = widgets.HTML(), widgets.Image(format="png")

    def draw(change=None) -> None:
        mask = p > slider.value
        s = overlap(true, mask)
        words.value = f"Dice <b>{s['dice']:.3f}</b>, precision {s['precision']:.3f}, recall {s['recall']:.3f}"
        figure, ax = plt.subplots(figsize=(5, 5))
        show_slice(
            ax,
            stack.array[..., k],
            true[..., k],
            mask[..., k],
            limits=limits,
            aspect=stack.spacing_mm[0] / stack.spacing_mm[1],
        )
        output.value = _png(figure)

    slider.observe(draw, "value")
    draw()
    return widgets.VBox([slider, words, output])
