"""A tile microscope: which of the nine patches answer for a pixel, what they see, and how much of that is mirrored.

Pixels are counted from the image's first one. Those before it (negative) and after its last one are mirrored.
"""

from typing import NamedTuple

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from femur_lib.architecture import UnpaddedGeometry, unpadded_geometry
from femur_lib.course.widgets import picture_widget, redraw
from femur_lib.inference import mirror, patch_starts
from femur_lib.plotting import grey_limits, png, show_slice


class Answer(NamedTuple):
    """What one of the nine patches has to do with a pixel that it answers for.

    Attributes:
        patch: its number, 1 to 9, row by row.
        row, column: the first pixel it answers for.
        first_row, last_row, first_column, last_column: its receptive field, the pixels that its answer depends on.
        mirrored: the share of these that is mirrored, 0 to 1.
    """

    patch: int
    row: int
    column: int
    first_row: int
    last_row: int
    first_column: int
    last_column: int
    mirrored: float


def field_in_patch(at: int, levels: int) -> tuple[int, int]:
    """First and last input pixel, along one axis, that an output pixel of an unpadded 2D U-net depends on.

    We follow the pixel backwards, as :func:`femur_lib.architecture.receptive_field` does for padded networks. Without
    padding a map begins later than the one before it: pixel i comes from the pixels i to i + 4 of what went into two
    convolutions.

    Args:
        at: the output pixel, counted from the first output.
        levels: how often the network pools.

    Returns:
        Pixels of the network's input, counted from its first one.
    """
    first = last = at
    for _ in range(levels):
        first, last = first // 2, (last + 4) // 2  # two convolutions, then the up-convolution
    last += 4  # the centre
    for _ in range(levels):
        first, last = 2 * first, 2 * last + 1 + 4  # the pooling, then two convolutions
    return first, last


def answers(
    pixel: tuple[int, int], rows: UnpaddedGeometry, columns: UnpaddedGeometry, levels: int, multiple: int = 1
) -> list[Answer]:
    """The patches that answer for a pixel, and what each of them sees (paper, Inference).

    Args:
        pixel: row and column in the image.
        rows: the network's geometry along the rows, from :func:`femur_lib.architecture.unpadded_geometry`.
        columns: its geometry along the columns.
        levels: how often the network pools.
        multiple: see :func:`femur_lib.inference.patch_starts`.

    Returns:
        One to nine answers, row by row.

    Raises:
        ValueError: the pixel lies outside the image.
    """
    axes = (rows, columns)
    if not all(0 <= at < g.size for at, g in zip(pixel, axes, strict=True)):
        raise ValueError(f"a pixel of an image of {rows.size} x {columns.size} was expected, got {pixel}")
    found = []
    starts = [patch_starts(g, multiple) for g in axes]
    for number in range(9):
        begins = starts[0][number // 3], starts[1][number % 3]
        reach, inside = [], 1.0
        for at, begin, g in zip(pixel, begins, axes, strict=True):
            if not begin <= at < begin + g.output:
                break
            # The patch begins at `begin` in the mirrored image, which begins `before` pixels outside the image.
            first, last = (n + begin - g.before for n in field_in_patch(at - begin, levels))
            reach += [first, last]
            inside *= (min(last, g.size - 1) - max(first, 0) + 1) / (last - first + 1)
        else:
            found.append(Answer(number + 1, *begins, reach[0], reach[1], reach[2], reach[3], 1 - inside))
    return found


def tile_figure(image: np.ndarray, levels: int, pixel: tuple[int, int], multiple: int = 1) -> Figure:
    """A pixel under the tile microscope: where the patches that answer for it lie, and what they see.

    Args:
        image: (rows, columns), a slice on the network's grid.
        levels: how often the unpadded network pools.
        pixel: row and column in the image.
        multiple: see :func:`femur_lib.inference.patch_starts`.
    """
    rows, columns = (unpadded_geometry(n, levels) for n in image.shape)
    found = answers(pixel, rows, columns, levels, multiple)
    more = [max(0, patch_starts(g, multiple)[-1] - g.before - g.after) for g in (rows, columns)]
    surrounded = mirror(image[None, ..., None], rows, columns, (more[0], more[1]))[0, ..., 0]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    limits = grey_limits(image)
    show_slice(left, image, limits=limits)
    show_slice(right, surrounded, limits=limits)
    top, side = -rows.before - 0.5, -columns.before - 0.5
    right.images[0].set(extent=(side, side + surrounded.shape[1], top + surrounded.shape[0], top), alpha=0.5)
    show_slice(right, image, limits=limits)
    right.set(xlim=(side, side + surrounded.shape[1]), ylim=(top + surrounded.shape[0], top))
    for drawn, a in enumerate(found):
        inset = 0.9 * drawn  # so that no line hides another
        colour, label = plt.get_cmap("tab10")(a.patch - 1), f"patch {a.patch}: {a.mirrored:.0%} mirrored"
        _frame(left, a.row, a.column, rows.output, columns.output, colour, inset)
        height, width = a.last_row - a.first_row + 1, a.last_column - a.first_column + 1
        _frame(right, a.first_row, a.first_column, height, width, colour, inset, label=label)
    _frame(right, 0, 0, rows.size, columns.size, "red", label="the image", linestyle=":")
    for ax in (left, right):
        ax.plot(pixel[1], pixel[0], "+", color="red", markersize=13, markeredgewidth=2)
        ax.set(xlabel="column", ylabel="row", xticks=_ticks(ax.get_xlim()), yticks=_ticks(ax.get_ylim()))
    left.set_title(f"pixel {pixel[0]}, {pixel[1]}: {len(found)} of 9 patches answer")
    right.set_title("what they see of the mirrored image")
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return figure


def tile_microscope(image: np.ndarray, levels: int, pixel: tuple[int, int] | None = None) -> widgets.Widget:
    """:func:`tile_figure` with sliders for row and column; it begins at ``pixel``, or in the middle."""
    begin = pixel or (image.shape[0] // 2, image.shape[1] // 2)
    row, column = (
        widgets.IntSlider(value=at, max=size - 1, description=name)
        for name, at, size in zip(("row", "column"), begin, image.shape, strict=True)
    )
    output = picture_widget()

    def draw() -> None:
        output.value = png(tile_figure(image, levels, (row.value, column.value)), 80)

    redraw(draw, row, column)
    return widgets.VBox([widgets.HBox([row, column]), output])


def _frame(ax: Axes, row: float, column: float, height: float, width: float, colour, inset: float = 0, **style) -> None:
    corner = column - 0.5 + inset, row - 0.5 + inset
    size = width - 2 * inset, height - 2 * inset
    ax.add_patch(Rectangle(corner, *size, fill=False, linewidth=1.8, edgecolor=colour, **style))


def _ticks(limits: tuple[float, float]) -> list[int]:
    low, high = sorted(limits)
    step = 2 ** int(np.log2((high - low) / 4))
    return list(range(-int(-low // step) * step, int(high) + 1, step))
