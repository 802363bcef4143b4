"""The course's figures, one function each. All take stacks or volumes as read, and return a matplotlib figure."""

import base64
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from femur_lib.files import whole
from femur_lib.phantom.scanner import RECEIVING
from femur_lib.scores.surfaces import TOLERANCE_MM
from femur_lib.volumes import Volume, to_stack

# Blue and orange stay apart for every kind of colour vision (Okabe and Ito).
TRUTH, PREDICTED = "#56B4E9", "#E69F00"
SCORES = {
    "dice": "Dice",
    "precision": "precision",
    "recall": "recall",
    "asd_mm": "ASD [mm]",
    "msd_mm": "MSD [mm]",
    "hd95_mm": "HD95 [mm]",
    "nsd": f"NSD ({TOLERANCE_MM:g} mm)",
}
# A synthetic hip's exact labels, from 0: colour and meaning.
ANATOMY = (
    ("0.93", "soft tissue, air"),
    (TRUTH, "femur: the mask"),
    ("#0072B2", "rest of the femur"),
    ("#CC79A7", "pelvis"),
)


def png(figure: Figure, dpi: int = 90) -> bytes:
    """A figure as PNG, for a widget or a page; closes it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format="png", metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def data_uri(picture: bytes) -> str:
    """A PNG as the address of an image within a page."""
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def save(figure: Figure, path: str | os.PathLike, dpi: int = 90) -> Path:
    """Write a figure as PNG, whole or not at all, and close it."""
    path = Path(path)
    with whole(path) as half_written:
        half_written.write_bytes(png(figure, dpi))
    return path


def grey_limits(stack: np.ndarray) -> tuple[float, float]:
    """Black and white points that leave out the darkest and brightest hundredth of the voxels."""
    low, high = np.percentile(stack, [1, 99])
    return float(low), float(high)


def show_slice(
    ax: Axes,
    image: np.ndarray,
    truth: np.ndarray | None = None,
    predicted: np.ndarray | None = None,
    *,
    limits: tuple[float, float] | None = None,
    aspect: float = 1.0,
) -> None:
    """Draw one slice, (rows, columns), with contours of masks; ``aspect`` is row spacing over column spacing."""
    low, high = limits or grey_limits(image)
    ax.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
    for mask, colour in ((truth, TRUTH), (predicted, PREDICTED)):
        if mask is not None and mask.any():
            ax.contour(mask, [0.5], colors=colour, linewidths=1.2)
    ax.set_xticks([])
    ax.set_yticks([])


def _legend(figure: Figure, truth: bool, predicted: bool) -> None:
    lines = [Line2D([], [], color=TRUTH, label="manual")] * truth
    lines += [Line2D([], [], color=PREDICTED, label="predicted")] * predicted
    if lines:
        figure.legend(handles=lines, loc="outside lower center", ncols=2, frameon=False)


def slices_with_mask(mask: np.ndarray, count: int) -> list[int]:
    """``count`` slice numbers spread evenly over those that a mask touches (over all, if it is empty)."""
    touched = np.flatnonzero(mask.any((0, 1)))
    first, last = (touched[0], touched[-1]) if touched.size else (0, mask.shape[2] - 1)
    return [round(k) for k in np.linspace(first, last, count + 2)[1:-1]]


def overlay_page(image: Volume, predicted: Volume | None, truth: Volume | None, title: str = "") -> Figure:
    """Three coronal slices and one sagittal cut of a scan, with contours (paper, Fig. 4)."""
    stack = to_stack(image)
    masks = [None if m is None else to_stack(m).array for m in (truth, predicted)]
    present = [m for m in masks if m is not None]
    where = present[0] if present else np.ones_like(stack.array, bool)
    limits = grey_limits(stack.array)
    row_mm, column_mm, slice_mm = stack.spacing_mm
    figure, axes = plt.subplots(1, 4, figsize=(13, 4), layout="constrained")
    for ax, k in zip(axes, slices_with_mask(where, 3), strict=False):
        show_slice(
            ax,
            stack.array[..., k],
            *(None if m is None else m[..., k] for m in masks),
            limits=limits,
            aspect=row_mm / column_mm,
        )
        ax.set_title(f"coronal, slice {k}", fontsize=9)
    axes[0].set_ylabel("patient's right on the left", fontsize=9)
    weight = where.sum((0, 2))
    column = int(weight.argmax()) if weight.any() else weight.size // 2  # where there is most of the femur
    # Shown with the front of the body on the left.
    show_slice(
        axes[3],
        stack.array[:, column],
        *(None if m is None else m[:, column] for m in masks),
        limits=limits,
        aspect=row_mm / slice_mm,
    )
    axes[3].set_title(f"sagittal, column {column}; front on the left", fontsize=9)
    figure.suptitle(title, fontsize=10)
    _legend(figure, truth is not None, predicted is not None)
    return figure


def contact_sheet(
    scans: Iterable[tuple[str, Volume, Volume]], columns: int = 6, predicted: Iterable[Volume] = ()
) -> Figure:
    """The slice with most femur of each scan: title, image, true mask, and a predicted one if there is one.

    Patients' right is on the left. From a generator, scans are read one at a time: a whole cohort needs no more
    memory than one of them.
    """
    guesses, panels = iter(predicted), []
    for title, image, mask in scans:
        stack, true, volume = to_stack(image), to_stack(mask).array, next(guesses, None)
        k = int(true.sum((0, 1)).argmax())
        guess = None if volume is None else to_stack(volume).array[..., k].copy()
        aspect = stack.spacing_mm[0] / stack.spacing_mm[1]
        panels.append((title, stack.array[..., k].copy(), true[..., k].copy(), guess, aspect))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.1 * columns, 2.4 * rows), layout="constrained", squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, (title, picture, true, guess, aspect) in zip(axes.flat, panels, strict=False):
        show_slice(ax, picture, true, guess, aspect=aspect)
        ax.set_title(title, fontsize=8)
    _legend(figure, True, any(panel[3] is not None for panel in panels))
    return figure


def show_anatomy(ax: Axes, labels: np.ndarray) -> None:
    """Draw a slice of a synthetic hip's exact labels, (rows, columns), in the colours of ``ANATOMY``."""
    colours = ListedColormap([colour for colour, _ in ANATOMY])
    ax.imshow(labels, cmap=colours, norm=BoundaryNorm(np.arange(len(ANATOMY) + 1) - 0.5, len(ANATOMY)))
    ax.set_xticks([])
    ax.set_yticks([])


def show_change(ax: Axes, image: np.ndarray, before: np.ndarray) -> None:
    """Draw what a step did to a slice: red is brighter than before, blue darker; each has a scale of its own."""
    change = np.asarray(image, float) - before
    most = float(np.percentile(np.abs(change), 99.8))
    ax.set_xticks([])
    ax.set_yticks([])
    if most < 1e-3:
        ax.imshow(np.zeros_like(change), cmap="RdBu_r", vmin=-1, vmax=1)
        ax.text(0.5, 0.5, "no change\nin this slice", ha="center", va="center", transform=ax.transAxes, fontsize=9)
        return
    ax.imshow(change, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    ax.set_xlabel(f"full colour: ± {most:.2g}", fontsize=8)


def scan_steps(steps: Mapping[str, np.ndarray]) -> Figure:
    """A synthetic scan taken apart (:func:`femur_lib.phantom.scanner.taken_apart`): every step, and what it changed.

    Above, what there is to receive, and the coils that receive it; in the middle, the scan as it grows; below, what
    each step changed. All grey pictures share one window. The outer side of the hip is on the right.
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
