"""A synthetic scan taken apart, step by step: as a figure, and with a slider for each of its causes."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from femur_lib.course.widgets import picture_widget, redraw
from femur_lib.phantom.body import Body
from femur_lib.phantom.field import Field
from femur_lib.phantom.painting import paint
from femur_lib.phantom.parameters import Person
from femur_lib.phantom.scanner import RECEIVING, steps_of
from femur_lib.plotting import PREDICTED, TRUTH, png, show_slice

# The exact labels of a synthetic hip, from 0: colour and meaning.
ANATOMY = (
    ("0.93", "soft tissue, air"),
    (TRUTH, "femur: the mask"),
    ("#0072B2", "rest of the femur"),
    ("#CC79A7", "pelvis"),
)


def show_anatomy(ax: Axes, labels: np.ndarray) -> None:
    """Draw a slice of a synthetic hip's exact labels, (rows, columns), in the colours of ``ANATOMY``."""
    colours = ListedColormap([colour for colour, _ in ANATOMY])
    ax.imshow(labels, cmap=colours, norm=BoundaryNorm(np.arange(len(ANATOMY) + 1) - 0.5, len(ANATOMY)))
    ax.set(xticks=[], yticks=[])


def show_change(ax: Axes, image: np.ndarray, before: np.ndarray) -> None:
    """Draw what a step did to a slice: red is brighter than before, blue is darker. Every picture has its own scale."""
    change = np.asarray(image, float) - before
    most = float(np.percentile(np.abs(change), 99.8))
    ax.set(xticks=[], yticks=[])
    if most < 1e-3:
        ax.imshow(np.zeros_like(change), cmap="RdBu_r", vmin=-1, vmax=1)
        ax.text(0.5, 0.5, "no change\nin this slice", ha="center", va="center", transform=ax.transAxes, fontsize=9)
        return
    ax.imshow(change, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    ax.set_xlabel(f"full colour: ± {most:.2g}", fontsize=8)


def scan_steps(steps: Mapping[str, np.ndarray]) -> Figure:
    """A synthetic scan taken apart (:func:`femur_lib.phantom.scanner.taken_apart`): every step, and what it changed.

    The first row has what there is to receive, and the coils that receive it; the second shows how the scan grows; the
    third what each step changed. All grey pictures share one window. The outer side of the hip is on the right.
    """
    made = [name for name in steps if name in RECEIVING]
    given = [name for name in steps if name not in RECEIVING]
    columns = max(len(made), len(given) + 1)
    figure, axes = plt.subplots(3, columns, figsize=(2.25 * columns, 7.9), layout="constrained")
    for ax in axes.flat:
        ax.axis("off")
    white = float(np.percentile(steps[made[-1]], 98.5))
    for number, name in enumerate([*given, *made], start=1):
        row, column = (0, number - 1) if name in given else (1, number - 1 - len(given))
        ax = axes[row, column]
        ax.axis("on")
        ax.set_title(f"{number}  {name}", fontsize=10)
        if name == "anatomy":
            show_anatomy(ax, steps[name])
            continue
        show_slice(ax, steps[name], limits=(0, white))
        if name == "coils" and np.ptp(steps[name]) > 0.1:
            ax.clabel(ax.contour(steps[name], np.arange(0.4, 3, 0.4), colors=PREDICTED), fontsize=8)
        if name in made:
            before = "fat + water" if name == "received" else made[column - 1]
            axes[2, column].axis("on")
            axes[2, column].set_title(f"{number} less {[*given, *made].index(before) + 1}", fontsize=9)
            show_change(axes[2, column], steps[name], steps[before])
    patches = [Patch(facecolor=colour, edgecolor="0.6", label=label) for colour, label in ANATOMY]
    axes[0, -1].legend(handles=patches, loc="center", frameon=False, title="1  anatomy", fontsize=8)
    axes[2, 0].set_ylabel("red: brighter, blue: darker", fontsize=9)
    return figure


def scan_steps_viewer(person: Person, pixels: int = 192, slices: int = 60) -> widgets.Widget:
    """A synthetic scan taken apart, with knobs for the scanner: any slice, after any step, and what that step changed.

    Args:
        person: from :func:`femur_lib.phantom.subject.draw_person`; the knobs begin at the values of her protocol.
        pixels: rows, and columns, of the field of view.
        slices: number of slices, from front to back.
    """
    # What lies beyond the field of view takes time to paint. It is painted only if it folds over.
    fields = {beyond: Field(pixels, slices, beyond) for beyond in (False, True)}
    laid_out = lru_cache(lambda beyond: Body(person, fields[beyond]))
    painted = lru_cache(maxsize=4)(lambda beyond, k: paint(laid_out(beyond), k))
    middle = int((laid_out(False).marrow_voxels < 0).sum((1, 2)).argmax())
    names = ["anatomy", "signal of fat", "signal of water", "fat + water", "coils", *RECEIVING]

    def knob(name: str, description: str, most: float, least: float = 0) -> widgets.FloatSlider:
        value = min(getattr(person.protocol, name), most)
        return widgets.FloatSlider(value=value, min=least, max=most, step=most / 40, description=description)

    number = widgets.IntSlider(value=middle, max=slices - 1, description="slice")
    step = widgets.SelectionSlider(options=names, value="noise", description="up to")
    knobs = {
        "snr": knob("snr", "SNR", 40, least=2),
        "coil_bias": knob("coil_bias", "coil bias", 2),
        "fold_over": knob("fold_over", "fold-over", 1),
        "ghost": knob("ghost", "ghost", 0.4),
    }
    shift = widgets.Checkbox(value=person.protocol.chemical_shift > 0, description="chemical shift")
    output = picture_widget()

    def draw() -> None:
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
            show_slice(left, image, limits=(0, 1.4))  # in units of fatty marrow; the same whatever the knobs say
        if step.value in RECEIVING:
            before = "fat + water" if step.value == "received" else names[names.index(step.value) - 1]
            right.axis("on")
            right.set_title("what this step made brighter (red) or darker (blue)")
            show_change(right, image, images[before])
        output.value = png(figure, 80)

    redraw(draw, number, step, shift, *knobs.values())
    laid_out(True)  # now, so that the first fold-over does not keep anyone waiting
    return widgets.VBox([widgets.HBox([number, step, shift]), widgets.HBox(list(knobs.values())), output])
