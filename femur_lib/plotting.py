"""Figures of scans and masks. They take volumes or stacks as read, and return a matplotlib figure.

Figures of scores and curves follow the paper's, and are in :mod:`femur_lib.paper.figures`.
"""

import base64
import io
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from femur_lib._runtime.files import atomic_write
from femur_lib.volumes import Volume, to_stack

# Blue and orange look different to every kind of colour vision (Okabe and Ito).
TRUTH, PREDICTED = "#56B4E9", "#E69F00"


def png(figure: Figure, dpi: int = 90) -> bytes:
    """A figure as PNG, for a widget or a page; it is closed."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a title may be a file's name, in any script
        figure.savefig(buffer, dpi=dpi, format="png", metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def data_uri(picture: bytes) -> str:
    """A PNG as the address of an image within a page."""
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def save(figure: Figure, path: str | os.PathLike, dpi: int = 90) -> Path:
    """Write a figure as PNG, whole or not at all, and close it."""
    path = Path(path)
    with atomic_write(path) as half_written:
        half_written.write_bytes(png(figure, dpi))
    return path


def grey_limits(stack: np.ndarray) -> tuple[float, float]:
    """Black and white points that leave out the darkest and the brightest hundredth of the voxels."""
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
    """Draw one slice, (rows, columns), with contours of masks; ``aspect`` is row spacing divided by column spacing."""
    low, high = limits or grey_limits(image)
    ax.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
    for mask, colour in ((truth, TRUTH), (predicted, PREDICTED)):
        if mask is not None and mask.any():
            ax.contour(mask, [0.5], colors=colour, linewidths=1.2)
    ax.set(xticks=[], yticks=[])


def masks_legend(figure: Figure, truth: bool = True, predicted: bool = True, above: bool = False) -> None:
    """Say below the axes, or above them, which contour is which."""
    lines = [Line2D([], [], color=TRUTH, label="manual")] * truth
    lines += [Line2D([], [], color=PREDICTED, label="predicted")] * predicted
    if lines:
        loc: Literal["outside upper center", "outside lower center"]
        loc = "outside upper center" if above else "outside lower center"
        figure.legend(handles=lines, loc=loc, ncols=2, frameon=False)


def slices_with_mask(mask: np.ndarray, count: int) -> list[int]:
    """``count`` slice numbers, spread evenly over the slices that a mask touches (over all, if it is empty)."""
    touched = np.flatnonzero(mask.any((0, 1)))
    first, last = (touched[0], touched[-1]) if touched.size else (0, mask.shape[2] - 1)
    return [round(k) for k in np.linspace(first, last, count + 2)[1:-1]]


def overlay_page(image: Volume, predicted: Volume | None, truth: Volume | None, title: str = "") -> Figure:
    """Three coronal slices and one sagittal cut of a scan, with contours (paper, Fig. 4)."""
    stack = to_stack(image)
    masks = [None if m is None else to_stack(m).array for m in (truth, predicted)]
    where = next((m for m in masks if m is not None), np.ones_like(stack.array, bool))
    limits, (row_mm, column_mm, slice_mm) = grey_limits(stack.array), stack.spacing_mm
    weight = where.sum((0, 2))
    column = int(weight.argmax()) if weight.any() else weight.size // 2  # where there is most of the femur
    panels: list[tuple[str, Any, float]]
    panels = [(f"coronal, slice {k}", np.s_[..., k], row_mm / column_mm) for k in slices_with_mask(where, 3)]
    # The sagittal cut has the front of the body on the left.
    panels += [(f"sagittal, column {column}; front on the left", np.s_[:, column], row_mm / slice_mm)]
    figure, axes = plt.subplots(1, 4, figsize=(13, 4), layout="constrained")
    for ax, (name, cut, aspect) in zip(axes, panels, strict=True):
        cuts = [None if m is None else m[cut] for m in masks]
        show_slice(ax, stack.array[cut], *cuts, limits=limits, aspect=aspect)
        ax.set_title(name, fontsize=9)
    axes[0].set_ylabel("patient's right on the left", fontsize=9)
    figure.suptitle(title, fontsize=10, parse_math=False)  # a file's name may have a $
    masks_legend(figure, truth is not None, predicted is not None)
    return figure


def contact_sheet(
    scans: Iterable[tuple[str, Volume, Volume]], columns: int = 6, predicted: Iterable[Volume] = ()
) -> Figure:
    """The slice with most femur of each scan, with the contours of its masks. Patients' right is on the left.

    Args:
        scans: title, image and true mask of each. A generator is read one scan at a time: a whole cohort then takes no
            more memory than one scan.
        columns: of the sheet.
        predicted: masks of the same scans, in their order.
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
        ax.set_title(title, fontsize=8, parse_math=False)
    masks_legend(figure, predicted=any(panel[3] is not None for panel in panels))
    return figure
