"""The paper's Figures 2 to 5 and 7, drawn from our scores, curves and scans.

Each function takes what it draws, by the name of the network; then ``synthetic``, whether the scans are synthetic hips,
which the figure says in a corner; then options. It returns a matplotlib figure. " PP" behind a network's name means its
masks reduced to their largest component.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from femur_lib.metrics import TITLES
from femur_lib.metrics.curves import THRESHOLDS, ProbabilityHistogram, mean_rates
from femur_lib.metrics.overlap import overlap
from femur_lib.paper import published
from femur_lib.plotting import PREDICTED, TRUTH, grey_limits, masks_legend, show_slice
from femur_lib.volumes import Volume, to_stack

# Colours that look different to every kind of colour vision (Okabe and Ito); networks beyond them get another dash.
BLUE = "#0072B2"
COLOURS = (TRUTH, PREDICTED, "#009E73", "#CC79A7", BLUE, "#D55E00", "#000000")
DASHES = ("-", "--", ":")
PP = " PP"
SYNTHETIC = "synthetic hips: not comparable with the paper's patients"


@dataclass(frozen=True)
class Case:
    """A scan to be shown with its true mask and the masks of some networks, as they are scored."""

    title: str
    image: Volume
    truth: Volume
    masks: Mapping[str, Volume]


def figure_2(
    histograms: Mapping[str, Sequence[ProbabilityHistogram]], thresholds: Mapping[str, float], synthetic: bool
) -> Figure:
    """ROC and precision-recall curves of each network, mean over subjects (paper, Fig. 2).

    The legends have the area under the curve of each subject: AUC and AP, mean ± standard deviation. The axes begin
    where curves can be told apart.

    Args:
        histograms: one for each subject, from the network that was not trained on it.
        thresholds: each is marked by a dot on the network's precision-recall curve.
        synthetic: whether the scans are synthetic hips.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6 + 0.2 * len(histograms)), layout="constrained")
    styles = cycle([(colour, dash) for dash in DASHES for colour in COLOURS])
    points = []
    for (name, subjects), (colour, dash) in zip(histograms.items(), styles, strict=False):
        precision, recall, false_positive = mean_rates(subjects)
        auc = _mean_sd([h.roc()[2] for h in subjects], 4)
        ap = _mean_sd([h.average_precision() for h in subjects], 3)
        left.plot(false_positive, recall, dash, color=colour, lw=1.6, label=f"{name}: AUC {auc}")
        right.plot(recall, precision, dash, color=colour, lw=1.6, label=f"{name}: AP {ap}")
        point = int(np.argmin(np.abs(THRESHOLDS - thresholds[name])))
        right.plot(recall[point], precision[point], "o", color=colour, mec="black", ms=7, zorder=3)
        points.append((false_positive[point], recall[point], precision[point]))
    false, found, marked_rightly = np.array(points).T
    lowest, most_false = max(0.0, min(found.min(), marked_rightly.min()) - 0.12), false.max()
    left.set(xlabel="false positive rate", ylabel="true positive rate (recall)", title="ROC, mean over subjects")
    left.set(xlim=(-0.02 * most_false, min(1.0, 6 * most_false + 1e-4)), ylim=(lowest, 1.004))
    right.set(xlabel="recall", ylabel="precision", title="precision and recall, mean over subjects")
    right.set(xlim=(lowest, 1.004), ylim=(lowest, 1.004))
    right.plot([], [], "o", color="white", mec="black", ms=7, label="at the chosen threshold")
    for ax in (left, right):
        ax.grid(alpha=0.3)
        ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), fontsize=9)
    return _noted(figure, synthetic)


def figure_3(scores: Mapping[str, pd.DataFrame], synthetic: bool) -> Figure:
    """Box plots of Dice, precision and recall, one row for each network (paper, Fig. 3).

    Every scan is a dot. A hollow diamond is the mean that the paper printed for that network on its own scans (Tables 1
    to 3).

    Args:
        scores: one row for each scan; the first network is on top.
        synthetic: whether the scans are synthetic hips.
    """
    printed = {row.network: row.mean for row in (*published.TABLE_3, *published.TABLE_1)}
    printed |= {row.network + PP: row.mean for row in published.TABLE_2}
    columns = ("dice", "precision", "recall")
    size = 12, 1.6 + 0.42 * len(scores)
    figure, axes = plt.subplots(1, 3, figsize=size, layout="constrained", sharey=True, sharex=True)
    rng = np.random.default_rng(0)
    places = np.arange(1, len(scores) + 1)
    for ax, column in zip(axes, columns, strict=True):
        values = [table[column].dropna() for table in scores.values()]
        ax.boxplot(
            values, positions=places, orientation="horizontal", widths=0.6, showfliers=False,
            medianprops={"color": "black"}, manage_ticks=False,
        )  # fmt: skip
        for y, (name, v) in enumerate(zip(scores, values, strict=True), start=1):
            ax.plot(v, y + rng.uniform(-0.16, 0.16, len(v)), ".", color=PREDICTED, alpha=0.7, zorder=1)
            if name in printed:
                mean = printed[name][published.SCORES.index(column)]
                ax.plot(mean, y, "D", mfc="none", mec=BLUE, mew=1.8, ms=8, zorder=4)
        ax.set_xlabel(TITLES[column])
        ax.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(places, list(scores), fontsize=10)
    axes[0].set_ylim(len(scores) + 0.6, 0.4)
    marks = [
        Line2D([], [], ls="", marker=".", color=PREDICTED, label="one scan of ours"),
        Line2D([], [], color="black", label="ours: median; box, the middle half; whiskers, up to 1.5 boxes"),
    ]
    if set(scores) & set(printed):
        label = "the paper's mean, on its own scans"
        marks.append(Line2D([], [], ls="", marker="D", mfc="none", mec=BLUE, mew=1.8, ms=8, label=label))
    figure.legend(handles=marks, loc="outside upper center", ncols=3, frameon=False)
    return _noted(figure, synthetic)


def figure_4(case: Case, probabilities: Mapping[str, Volume], synthetic: bool, column: int | None = None) -> Figure:
    """One scan through several networks: probability above, mask below, coronal and sagittal (paper, Fig. 4).

    The scan and its true mask are in the first column. On masks the contour of the true one is drawn.

    Args:
        case: the scan, its true mask and those of the networks.
        probabilities: of the same networks, in the same order.
        synthetic: whether the scan is a synthetic hip.
        column: of the stack, where the sagittal cut is; None takes the one with most femur.
    """
    stack, true = to_stack(case.image), to_stack(case.truth).array
    k = int(true.sum((0, 1)).argmax())
    column = int(true.sum((0, 2)).argmax()) if column is None else column
    above = {"scan": stack.array} | {f"{name}: probability": to_stack(p).array for name, p in probabilities.items()}
    below = {"true mask": true} | {f"{name}: mask": to_stack(m).array for name, m in case.masks.items()}
    tall, wide, deep = np.multiply(stack.array.shape, stack.spacing_mm)
    size = 3.4 * len(below), 2 * 3.4 * tall / (wide + deep) + 1.2
    figure = plt.figure(figsize=size, layout="constrained")
    grid = figure.add_gridspec(2, 2 * len(below), width_ratios=[wide, deep] * len(below))
    letters = iter("abcdefghijklmnopqrstuvwxyz"[: 2 * len(below)])
    limits, (row_mm, column_mm, slice_mm) = grey_limits(stack.array), stack.spacing_mm
    axes: list[Axes] = []
    for row, panels in enumerate((above, below)):
        for place, (title, array) in enumerate(panels.items()):
            coronal, sagittal = (figure.add_subplot(grid[row, 2 * place + side]) for side in (0, 1))
            coronal.set_title(f"({next(letters)}) {title}", fontsize=9, loc="left")
            axes += [coronal, sagittal]
            for ax, cut, width_mm in ((coronal, np.s_[:, :, k], column_mm), (sagittal, np.s_[:, column], slice_mm)):
                aspect = row_mm / width_mm
                if place and not row:
                    ax.imshow(array[cut], cmap="viridis", vmin=0, vmax=1, aspect=aspect, interpolation="nearest")
                    ax.set(xticks=[], yticks=[])
                    continue
                show_slice(ax, stack.array[cut], limits=limits, aspect=aspect)
                if row:
                    colour = PREDICTED if place else TRUTH
                    ax.contourf(array[cut].astype(float), [0.5, 1.5], colors=colour, alpha=0.75)
                if row and place and true[cut].any():
                    ax.contour(true[cut], [0.5], colors=TRUTH, linewidths=1.3)
            coronal.axvline(column, color="white", ls="--", lw=1)
    scale = plt.cm.ScalarMappable(cmap="viridis", norm=plt.Normalize(0, 1))
    figure.colorbar(scale, ax=axes, location="right", shrink=0.6).set_label("probability of femur")
    marks = [
        Patch(color=TRUTH, label="true mask, or its contour"),
        Patch(color=PREDICTED, label="predicted mask"),
        Line2D([], [], color="0.4", ls="--", label="the sagittal cut (right of each pair, front on the left)"),
    ]
    ncols = 3 if len(case.masks) > 1 else 1
    figure.legend(handles=marks, loc="outside upper center", ncols=ncols, frameon=False, fontsize=9)
    return _noted(figure, synthetic)


def figure_5(cases: Sequence[Case], synthetic: bool) -> Figure:
    """Suboptimal segmentations, one row for each scan, worst first: scan, true mask, each network's (paper, Fig. 5).

    Of each scan one coronal slice is shown: the one on which most voxels are wrong, among those with true femur. The
    Dice beside each mask is that of the whole scan.

    Args:
        cases: scans with masks of the same networks.
        synthetic: whether the scans are synthetic hips.
    """
    dice = [{n: overlap(c.truth.array, m.array)["dice"] for n, m in c.masks.items()} for c in cases]
    order = sorted(range(len(cases)), key=lambda i: float(np.nanmean(list(dice[i].values()))))
    networks = list(cases[0].masks)
    sizes = [np.multiply(s.array.shape, s.spacing_mm) for s in (to_stack(c.image) for c in cases)]
    height = max(2.4 * size[0] / size[1] for size in sizes)
    figure, axes = plt.subplots(
        len(cases), 2 + len(networks), figsize=(2.6 * (2 + len(networks)), (height + 0.45) * len(cases) + 0.5),
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for row, i in enumerate(order):
        case = cases[i]
        stack, true = to_stack(case.image), to_stack(case.truth).array
        guesses = {n: to_stack(m).array for n, m in case.masks.items()}
        wrong = sum((g != true).sum((0, 1)) for g in guesses.values()) * true.any((0, 1))
        k = int(np.argmax(wrong))
        aspect, limits = stack.spacing_mm[0] / stack.spacing_mm[1], grey_limits(stack.array)
        shown = [(None, None), (true[..., k], None)] + [(true[..., k], guesses[n][..., k]) for n in networks]
        for ax, (mask, guess) in zip(axes[row], shown, strict=True):
            show_slice(ax, stack.array[..., k], mask, guess, limits=limits, aspect=aspect)
        axes[row, 0].set_ylabel(f"{case.title}\nslice {k}", fontsize=9)
        for ax, n in zip(axes[row, 2:], networks, strict=True):
            here = "" if guesses[n][..., k].any() else ", nothing on this slice"
            ax.set_xlabel(f"Dice {dice[i][n]:.3f}{here}", fontsize=10)
    for ax, title in zip(axes[0], ["scan", "manual", *networks], strict=True):
        ax.set_title(title, fontsize=9)
    masks_legend(figure, above=True)
    return _noted(figure, synthetic)


def figure_7(histories: Mapping[str, pd.DataFrame], synthetic: bool, kept: Mapping[str, int] | None = None) -> Figure:
    """Loss of training and of validation over the epochs, a panel for each network (paper, Fig. 7).

    Args:
        histories: the history.csv of a run of each network.
        synthetic: whether the scans are synthetic hips.
        kept: the epoch whose weights were kept, counted from 1, to be marked.
    """
    columns = min(4, len(histories))
    rows = -(-len(histories) // columns)
    size = max(5.6, 3.6 * columns), 3.1 * rows + 0.5
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for ax in axes.flat[len(histories) :]:
        ax.axis("off")
    for ax, (name, history) in zip(axes.flat, histories.items(), strict=False):
        ax.plot(history.epoch + 1, history.loss, color=TRUTH)
        if "val_loss" in history:
            ax.plot(history.epoch + 1, history.val_loss, color=PREDICTED)
        if kept and name in kept:
            ax.axvline(kept[name], color="0.35", ls="--", lw=1)
        ax.set_title(name, fontsize=10)
        ax.set(xlabel="epoch", ylim=(0, None))
        ax.grid(alpha=0.3)
    for ax in axes[:, 0]:
        ax.set_ylabel("loss")
    lines = [Line2D([], [], color=TRUTH, label="training"), Line2D([], [], color=PREDICTED, label="validation")]
    lines += [Line2D([], [], color="0.35", ls="--", label="the epoch that was kept")] * bool(kept)
    figure.legend(handles=lines, loc="outside upper center", ncols=3, frameon=False)
    return _noted(figure, synthetic)


def _mean_sd(values: Sequence[float], digits: int) -> str:
    sd = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{sd}"


def _noted(figure: Figure, synthetic: bool) -> Figure:
    """Say in the lower right corner that scans are synthetic; the layout makes room for it."""
    if synthetic:
        figure.supxlabel(SYNTHETIC, x=0.995, ha="right", fontsize=8, color="0.35", style="italic")
    return figure
