"""One page that shows predictions without truth, likely failures first: a table, then the contours of each scan."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from femur_lib.cohort import Cohort
from femur_lib.lab.pages import write_page
from femur_lib.lab.quality_control import EXTENTS, UNSURE, quality, read_predicted, unsure
from femur_lib.plotting import PREDICTED, TRUTH, data_uri, grey_limits, png, show_slice, slices_with_mask
from femur_lib.volumes import Volume, read_volume, to_stack

COLUMNS = {
    "suspicion": ("suspicion", "{:.3f}"),
    "components": ("pieces", "{:d}"),
    "outside_largest": ("outside the largest", "{:.1%}"),
    "volume_cm3": ("volume [cm³]", "{:.0f}"),
    "size": ("height × width × depth [mm]", "{}"),
    "touches": ("touches the border", "{}"),
    "uncertain": ("unsure", "{:.0%}"),
    "disagreement": ("disagreement", "{:.3f}"),
}


def write_quality_page(
    predictions: str | os.PathLike,
    out: str | os.PathLike,
    other_folders: Sequence[str | os.PathLike] = (),
    cohort: Cohort | None = None,
    images: Mapping[str, Path] | None = None,
) -> pd.DataFrame:
    """Write what :func:`femur_lib.lab.quality_control.quality` finds as one HTML page, whole or not at all.

    Args:
        predictions, other_folders, cohort, images: as there. Without images the probabilities are drawn.
        out: the page.

    Returns:
        The table that the page shows.

    Raises:
        DataError: as there; nothing is written then.
    """
    predictions, others = Path(predictions), [Path(folder) for folder in other_folders]
    table = quality(predictions, others, cohort, images)
    rows = []
    for row in table.to_dict("records"):
        name = str(row["name"])
        row["size"] = " × ".join(f"{row[column]:.0f}" for column in EXTENTS)
        rows.append(
            {
                "name": name,
                "reasons": row["reasons"],
                "cells": [_cell(row[column], form) for column, (_, form) in COLUMNS.items()],
                "picture": data_uri(png(_pictured(name, predictions, others, images), dpi=80)),
                "shown": "probability" if images is None else "scan",
            }
        )
    write_page(out, "quality.html.j2", rows=rows, titles=[title for title, _ in COLUMNS.values()], unsure=UNSURE)
    return table


def doubtful_slices(mask: np.ndarray, doubtful: np.ndarray) -> tuple[list[int], int]:
    """Which parts of a stack to draw: three coronal slices, and a column for a sagittal cut.

    Three slices are spread evenly over the mask, and the one with most in doubt takes the place of the nearest of them.
    The column is the one with most in doubt among those that the mask touches.
    """
    most = int(doubtful.sum((0, 1)).argmax())
    spread = slices_with_mask(mask, 3)
    spread.remove(min(spread, key=lambda k: abs(k - most)))
    columns = doubtful.sum((0, 2)) * (mask.any((0, 2)) if mask.any() else 1)
    return sorted([*spread, most]), int(columns.argmax())


def show_doubt(image: Volume, probability: np.ndarray, mask: np.ndarray, others: Sequence[np.ndarray]) -> Figure:
    """Draw a stack in four slices, with the contours of a predicted mask and of other predictions.

    The slices are chosen where voxels are in doubt: the network is unsure of them, or predictions differ.

    Args:
        image: the scan as a stack.
        probability, mask, others: arrays of that stack, in its order of axes.
    """
    doubtful = np.logical_or.reduce([unsure(probability), *(mask != other for other in others)])
    coronal, column = doubtful_slices(mask, doubtful)
    most = int(doubtful.sum((0, 1)).argmax())
    titles = [f"coronal, slice {k}{', where most is in doubt' * (k == most)}" for k in coronal]
    titles.append(f"sagittal, column {column}; front on the left")
    row_mm, column_mm, slice_mm = image.spacing_mm
    cuts = [(np.s_[:, :, k], row_mm / column_mm) for k in coronal] + [(np.s_[:, column, :], row_mm / slice_mm)]
    rows, columns, slices = (n * mm for n, mm in zip(image.array.shape, image.spacing_mm, strict=True))
    widths = [columns, columns, columns, max(slices, rows / 3)]
    figure, axes = plt.subplots(1, 4, figsize=(13, 4), layout="constrained", width_ratios=widths)
    limits = grey_limits(image.array)
    for ax, title, (cut, aspect) in zip(axes, titles, cuts, strict=True):
        show_slice(ax, image.array[cut], None, None, limits=limits, aspect=aspect)
        for array, colour, width in [(other, TRUTH, 1.0) for other in others] + [(mask, PREDICTED, 1.4)]:
            if array[cut].any() and not array[cut].all():
                ax.contour(array[cut], [0.5], colors=colour, linewidths=width)
        ax.set_title(title, fontsize=9)
    lines = [Line2D([], [], color=PREDICTED, label="this prediction")]
    lines += [Line2D([], [], color=TRUTH, label="other predictions of the scan")] * bool(others)
    figure.legend(handles=lines, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _pictured(name: str, predictions: Path, others: list[Path], images: Mapping[str, Path] | None) -> Figure:
    """The picture of one scan."""
    mask, probability, masks = read_predicted(name, predictions, others)
    if probability is None:
        probability = mask.array.astype(np.float32)
    image = Volume(probability, mask.affine) if images is None else read_volume(images[name])
    mask_stack, probability_stack, *others_stacks = (
        to_stack(Volume(array, mask.affine)).array for array in (mask.array, probability, *masks)
    )
    return show_doubt(to_stack(image), probability_stack, mask_stack, others_stacks)


def _cell(value: object, form: str) -> str:
    missing = value == "" or (isinstance(value, float) and np.isnan(value))
    return "–" if missing else form.format(value)
