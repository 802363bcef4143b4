"""A U-net in boxes, as the paper's Fig. 6 draws it."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DOWN, UP, COPIED = "#0072B2", "#D55E00", "0.6"


def draw_u(levels: Sequence[str], title: str) -> Figure:
    """Draw a U-net: the encoder goes down on the left, the decoder up on the right.

    Args:
        levels: what stands in the boxes of each level, from the top to the centre.
        title: of the figure.
    """
    depth = len(levels) - 1
    figure, ax = plt.subplots(figsize=(10, 0.9 * len(levels)), layout="constrained")
    for level, text in enumerate(levels):
        right = 2 * depth - level
        for x in {level, right}:
            ax.text(x, -level, text, ha="center", va="center", fontsize=8, bbox={"fc": "#cfe6f5", "ec": "#56B4E9"})
        if level < depth:
            _arrow(ax, (level, -level), (right, -level), COPIED, gap=42)
            _arrow(ax, (level, -level), (level + 1, -level - 1), DOWN)
            _arrow(ax, (right - 1, -level - 1), (right, -level), UP)
    for colour, what in ((DOWN, "pooling"), (UP, "up-convolution"), (COPIED, "skip connection: copied")):
        ax.plot([], [], color=colour, label=what)
    ax.set(title=title, xlim=(-0.6, 2 * depth + 0.6), ylim=(-depth - 0.5, 0.5))
    ax.legend(loc="lower left", frameon=False)
    ax.axis("off")
    return figure


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, gap: int = 26) -> None:
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": colour, "shrinkA": gap, "shrinkB": gap})
