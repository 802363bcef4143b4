"""One page that shows predictions without truth, likely failures first: a table, then a card a scan with contours."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jinja2 import Environment
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from femur_lib.cohort import Cohort
from femur_lib.figures import PREDICTED, TRUTH, data_uri, grey_limits, png, show_slice, slices_with_mask
from femur_lib.files import whole
from femur_lib.prediction import read_prediction
from femur_lib.quality import UNSURE, quality
from femur_lib.segmentation import SUFFIXES
from femur_lib.volumes import Volume, read_labels, read_volume, to_stack

COLUMNS = {
    "suspicion": ("suspicion", "{:.3f}"),
    "components": ("pieces", "{:d}"),
    "outside_largest": ("outside the largest", "{:.1%}"),
    "volume_ml": ("volume [ml]", "{:.0f}"),
    "size": ("height × width × depth [mm]", "{}"),
    "touches": ("touches the border", "{}"),
    "uncertain": ("unsure", "{:.0%}"),
    "disagreement": ("disagreement", "{:.3f}"),
}
PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Femur segmentation: quality without truth</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top; }
th[scope=row], .words { text-align: left; } th[scope=row], td { white-space: nowrap; }
td.words { min-width: 20rem; white-space: normal; } caption { text-align: left; }
.wide { overflow-x: auto; } img { max-width: 100%; } section { border-top: 1px solid #bbb; margin-top: 2rem; }
.note { background: #fff3d6; padding: .6rem 1rem; border-radius: .3rem; }
</style></head><body>
<h1>Quality of {{ rows | length }} predictions without truth</h1>
<p class="note">Nobody has drawn these femurs, so nothing here says whether a mask is right. It says which ones to look
at first. A low suspicion is no proof: what all networks get wrong alike is not seen.</p>
<div class="wide"><table>
<caption>Likely failures first. Suspicion is a guess at 1 − Dice: it adds up what strays from the largest piece, what
the network was unsure of (probability {{ unsure[0] }} to {{ unsure[1] }}, over the mask's size), how far other
predictions of the scan differ (1 − mean Dice), unusual volume, shape and borders. A dash: none, or not known.</caption>
<thead><tr><th scope="col">scan</th>{% for title in titles %}<th scope="col">{{ title }}</th>{% endfor %}
<th scope="col" class="words">reasons</th></tr></thead>
<tbody>
{% for row in rows %}<tr><th scope="row"><a href="#scan{{ loop.index }}">{{ row.name }}</a></th>
{% for cell in row.cells %}<td>{{ cell }}</td>{% endfor %}<td class="words">{{ row.reasons }}</td></tr>
{% endfor %}</tbody></table></div>
{% for row in rows %}<section id="scan{{ loop.index }}"><h2>{{ loop.index }}. {{ row.name }}</h2>
<p>Suspicion {{ row.cells[0] }}: {{ row.reasons }}.</p>
<img alt="{{ row.shown }} of {{ row.name }} in four slices, with the contour of the predicted mask"
src="{{ row.picture }}">
</section>
{% endfor %}</body></html>
""")  # fmt: skip


def write_quality_page(
    predictions: str | os.PathLike,
    out: str | os.PathLike,
    other_folders: Sequence[str | os.PathLike] = (),
    cohort: Cohort | None = None,
    images: Mapping[str, Path] | None = None,
) -> pd.DataFrame:
    """Write one self-contained HTML page of :func:`femur_lib.quality.quality`, whole or not at all.

    Args:
        predictions, other_folders, cohort, images: as there. Without images the probabilities are drawn.
        out: the page.

    Returns:
        The table that the page shows.

    Raises:
        DataError: as there; nothing is written then.
    """
    predictions, out = Path(predictions), Path(out)
    table = quality(predictions, other_folders, cohort, images)
    rows = []
    for row in table.to_dict("records"):
        row["size"] = _size(row)
        figure, shown = _pictured(str(row["name"]), predictions, other_folders, images)
        rows.append(
            {
                "name": row["name"],
                "reasons": row["reasons"],
                "cells": [_cell(row[column], form) for column, (_, form) in COLUMNS.items()],
                "picture": data_uri(png(figure, dpi=80)),
                "shown": shown,
            }
        )
    page = PAGE.render(rows=rows, titles=[title for title, _ in COLUMNS.values()], unsure=UNSURE)
    with whole(out) as half_written:
        half_written.write_text(page, encoding="utf-8")
    return table


def doubt(probability: np.ndarray, mask: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """Voxels of which the network is unsure, or on which predictions differ."""
    unsure = (probability > UNSURE[0]) & (probability < UNSURE[1])
    return np.logical_or.reduce([unsure, *(mask != other for other in others)])


def doubtful_slices(mask: np.ndarray, doubtful: np.ndarray) -> tuple[list[int], int]:
    """Which to draw of a stack: three coronal slices and a sagittal column.

    Of three slices spread evenly over the mask, the nearest gives way to the one with most in doubt. The column is the
    one with most in doubt of those that the mask touches.
    """
    most = int(doubtful.sum((0, 1)).argmax())
    spread = slices_with_mask(mask, 3)
    spread.remove(min(spread, key=lambda k: abs(k - most)))
    columns = doubtful.sum((0, 2)) * (mask.any((0, 2)) if mask.any() else 1)
    return sorted([*spread, most]), int(columns.argmax())


def show_doubt(image: Volume, probability: np.ndarray, mask: np.ndarray, others: Sequence[np.ndarray]) -> Figure:
    """Draw a stack in four slices: the mask's contour, and those of other predictions.

    Args:
        image: the scan as a stack.
        probability, mask, others: of that stack, as :func:`femur_lib.volumes.to_stack` orders them.
    """
    row_mm, column_mm, slice_mm = image.spacing_mm
    doubtful = doubt(probability, mask, others)
    coronal, column = doubtful_slices(mask, doubtful)
    rows, columns, slices = (n * mm for n, mm in zip(image.array.shape, image.spacing_mm, strict=True))
    figure, axes = plt.subplots(
        1, 4, figsize=(13, 4), layout="constrained", width_ratios=[columns, columns, columns, max(slices, rows / 3)]
    )
    limits = grey_limits(image.array)
    most = int(doubtful.sum((0, 1)).argmax())
    titles = [f"coronal, slice {k}{', where most is in doubt' * (k == most)}" for k in coronal]
    titles.append(f"sagittal, column {column}; front on the left")
    cuts = [np.s_[:, :, k] for k in coronal] + [np.s_[:, column, :]]
    for ax, title, cut in zip(axes, titles, cuts, strict=True):
        aspect = row_mm / (slice_mm if cut == cuts[-1] else column_mm)
        show_slice(ax, image.array[cut], None, None, limits=limits, aspect=aspect)
        for array, colour, width in [(other, TRUTH, 1.0) for other in others] + [(mask, PREDICTED, 1.4)]:
            if array[cut].any() and not array[cut].all():
                ax.contour(array[cut], [0.5], colors=colour, linewidths=width)
        ax.set_title(title, fontsize=9)
    lines = [Line2D([], [], color=PREDICTED, label="this prediction")]
    lines += [Line2D([], [], color=TRUTH, label="other predictions of the scan")] * bool(others)
    figure.legend(handles=lines, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _pictured(
    name: str, folder: Path, other_folders: Sequence[str | os.PathLike], images: Mapping[str, Path] | None
) -> tuple[Figure, str]:
    """The picture of one scan, and in a word what it shows."""
    mask = to_stack(read_prediction(folder / f"{name}{SUFFIXES['mask']}")).array
    files = [Path(other) / f"{name}{SUFFIXES['mask']}" for other in other_folders]
    others = [to_stack(read_prediction(file)).array for file in files if file.is_file()]
    file = folder / f"{name}{SUFFIXES['probability']}"
    # An empty or a full mask's probability may be constant, which a scan may not; there is no doubt in it to be seen.
    constant = not mask.any() or mask.all()
    probability = to_stack(read_labels(folder / f"{name}{SUFFIXES['mask']}") if constant else read_volume(file))
    image = probability if images is None else to_stack(read_volume(images[name]))
    return show_doubt(image, probability.array, mask, others), "probability" if images is None else "scan"


def _size(row: Mapping) -> str:
    """Extents of the largest component."""
    return " × ".join(f"{row[c]:.0f}" for c in ("superior_inferior_mm", "right_left_mm", "front_back_mm"))


def _cell(value: object, form: str) -> str:
    missing = value == "" or (isinstance(value, float) and np.isnan(value))
    return "–" if missing else form.format(value)
