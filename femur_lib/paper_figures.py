"""The paper's Figures 2 to 5 and 7, drawn from our scores, curves and scans.

Each function returns a matplotlib figure; with ``synthetic`` it says in a corner that what is shown are synthetic hips.
Networks go by name, as in :mod:`femur_lib.experiments`; " PP" behind a name means its largest component alone.
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

from femur_lib import figures, paper
from femur_lib.figures import PREDICTED, TRUTH, grey_limits, show_slice
from femur_lib.scores.curves import ProbabilityHistogram, mean_precision_recall
from femur_lib.scores.overlap import overlap
from femur_lib.volumes import Volume, to_stack

# Okabe and Ito's colours, which stay apart for every kind of colour vision; networks beyond them get another dash.
COLOURS = (TRUTH, PREDICTED, "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#000000")
DASHES = ("-", "--", ":")
PP = " PP"
SYNTHETIC = "synthetic hips: not comparable with the paper's patients"


@dataclass(frozen=True)
class Case:
    """A scan to be shown with its true mask and the masks of some networks."""

    title: str
    image: Volume
    truth: Volume
    masks: Mapping[str, Volume]


def figure_2(
    histograms: Mapping[str, Sequence[ProbabilityHistogram]], thresholds: Mapping[str, float], synthetic: bool
) -> Figure:
    """ROC and precision-recall curves of each network, mean over subjects (paper, Fig. 2).

    Args:
        histograms: by network, one of each subject, from the network that was not trained on it.
        thresholds: by network; a dot marks its point on the precision-recall curve.
        synthetic: whether the scans are synthetic hips.

    Returns:
        A figure whose legends have the areas under each subject's own curve: AUC and AP, mean ± standard deviation.
        Axes begin where there is something to tell apart.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6 + 0.2 * len(histograms)), layout="constrained")
    styles = cycle([(colour, dash) for dash in DASHES for colour in COLOURS])
    points = []
    for (name, subjects), (colour, dash) in zip(histograms.items(), styles, strict=False):
        precision, recall, at = mean_precision_recall(list(subjects))
        false_positive = mean_false_positive_rate(subjects)
        auc = _mean_sd([h.roc()[2] for h in subjects], 4)
        ap = _mean_sd([h.average_precision() for h in subjects], 3)
        left.plot(false_positive, recall, dash, color=colour, lw=1.6, label=f"{name}: AUC {auc}")
        right.plot(recall, precision, dash, color=colour, lw=1.6, label=f"{name}: AP {ap}")
        point = int(np.argmin(np.abs(at - thresholds[name])))
        right.plot(recall[point], precision[point], "o", color=colour, mec="black", ms=7, zorder=3)
        points.append((false_positive[point], recall[point], precision[point]))
    false, found, right_ones = np.array(points).T
    lowest, most_false = max(0.0, min(found.min(), right_ones.min()) - 0.12), false.max()
    left.set(xlabel="false positive rate", ylabel="true positive rate (recall)", title="ROC, mean over subjects")
    left.set(xlim=(-0.02 * most_false, min(1.0, 6 * most_false + 1e-4)), ylim=(lowest, 1.004))
    right.set(xlabel="recall", ylabel="precision", title="precision and recall, mean over subjects")
    right.set(xlim=(lowest, 1.004), ylim=(lowest, 1.004))
    right.plot([], [], "o", color="white", mec="black", ms=7, label="at the chosen threshold")
    for ax in (left, right):
        ax.grid(alpha=0.3)
        ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), fontsize=9)
    return _noted(figure, synthetic)


def mean_false_positive_rate(histograms: Sequence[ProbabilityHistogram]) -> np.ndarray:
    """The mean over subjects of the false positive rate at each threshold of ``mean_precision_recall``."""
    rates = [np.cumsum(h.background[::-1])[::-1] / max(1, h.background.sum()) for h in histograms]
    return np.mean(rates, axis=0)


def figure_3(scores: Mapping[str, pd.DataFrame], synthetic: bool) -> Figure:
    """Box plots of Dice, precision and recall, a row a network (paper, Fig. 3).

    Args:
        scores: by network, first on top; with " PP" behind the name of masks reduced to their largest component.
        synthetic: whether the scans are synthetic hips.

    Returns:
        A figure in which every scan is a dot, and a hollow diamond the mean that the paper printed for that network on
        its own scans (Tables 1 to 3).
    """
    printed = {row.network: row.mean for row in (*paper.TABLE_3, *paper.TABLE_1)}
    printed |= {row.network + PP: row.mean for row in paper.TABLE_2}
    columns = ("dice", "precision", "recall")
    figure, axes = plt.subplots(
        1, 3, figsize=(12, 1.6 + 0.42 * len(scores)), layout="constrained", sharey=True, sharex=True
    )
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
                mean = printed[name][paper.SCORES.index(column)]
                ax.plot(mean, y, "D", mfc="none", mec="#0072B2", mew=1.8, ms=8, zorder=4)
        ax.set_xlabel(figures.SCORES[column] if column == "dice" else column)
        ax.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(places, list(scores), fontsize=10)
    axes[0].set_ylim(len(scores) + 0.6, 0.4)
    marks = [
        Line2D([], [], ls="", marker=".", color=PREDICTED, label="one scan of ours"),
        Line2D([], [], color="black", label="our median, middle half, and reach to 1.5 times its length"),
    ]
    if set(scores) & set(printed):
        label = "the paper's mean, on its own scans"
        marks.append(Line2D([], [], ls="", marker="D", mfc="none", mec="#0072B2", mew=1.8, ms=8, label=label))
    figure.legend(handles=marks, loc="outside upper center", ncols=3, frameon=False)
    return _noted(figure, synthetic)


def figure_4(
    image: Volume,
    truth: Volume,
    probabilities: Mapping[str, Volume],
    masks: Mapping[str, Volume],
    synthetic: bool,
    column: int | None = None,
) -> Figure:
    """One scan through several networks: probability above, mask below, coronal and sagittal (paper, Fig. 4).

    Args:
        image, truth: the scan and its true mask.
        probabilities, masks: by network, in the same order; masks as they are scored.
        synthetic: whether the scan is a synthetic hip.
        column: of the stack, where the sagittal cut is; None takes the one with most femur.

    Returns:
        A figure with the scan and its true mask in the first column. On masks the true one's contour is drawn.
    """
    stack, true = to_stack(image), to_stack(truth).array
    k = int(true.sum((0, 1)).argmax())
    column = int(true.sum((0, 2)).argmax()) if column is None else column
    sizes = np.multiply(stack.array.shape, stack.spacing_mm)
    height = 3.4 * sizes[0] / (sizes[1] + sizes[2])
    figure = plt.figure(figsize=(3.4 * (1 + len(masks)), 2 * height + 1.2), layout="constrained")
    grid = figure.add_gridspec(2, 2 * (1 + len(masks)), width_ratios=[sizes[1], sizes[2]] * (1 + len(masks)))
    letters = iter("abcdefghijklmnopqrstuvwxyz"[: 2 * (1 + len(masks))])
    above: list[tuple[str, np.ndarray, str]] = [("scan", stack.array, "grey")]
    above += [(f"{name}: probability", to_stack(p).array, "probability") for name, p in probabilities.items()]
    below: list[tuple[str, np.ndarray, str]] = [("true mask", true, "truth")]
    below += [(f"{name}: mask", to_stack(m).array, "mask") for name, m in masks.items()]
    axes: list[Axes] = []
    for row, panels in enumerate((above, below)):
        for place, (title, array, kind) in enumerate(panels):
            coronal, sagittal = (figure.add_subplot(grid[row, 2 * place + side]) for side in (0, 1))
            coronal.set_title(f"({next(letters)}) {title}", fontsize=9, loc="left")
            for ax, cut, width in ((coronal, np.s_[:, :, k], 1), (sagittal, np.s_[:, column], 2)):
                _show(ax, stack.array, array, true, cut, kind, stack.spacing_mm[0] / stack.spacing_mm[width])
            coronal.axvline(column, color="white", ls="--", lw=1)
            axes += [coronal, sagittal]
    colours = figure.colorbar(
        plt.cm.ScalarMappable(cmap="viridis", norm=plt.Normalize(0, 1)), ax=axes, location="right", shrink=0.6
    )
    colours.set_label("probability of femur")
    marks = [
        Patch(color=TRUTH, label="true mask, or its contour"),
        Patch(color=PREDICTED, label="predicted mask"),
        Line2D([], [], color="0.4", ls="--", label="the sagittal cut (right of each pair, front on the left)"),
    ]
    figure.legend(
        handles=marks, loc="outside upper center", ncols=3 if len(masks) > 1 else 1, frameon=False, fontsize=9
    )
    return _noted(figure, synthetic)


def _show(ax: Axes, grey: np.ndarray, array: np.ndarray, true: np.ndarray, cut, kind: str, aspect: float) -> None:
    """One picture of Fig. 4: the scan, a probability, or a mask on the scan."""
    if kind == "probability":
        ax.imshow(array[cut], cmap="viridis", vmin=0, vmax=1, aspect=aspect, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        return
    show_slice(ax, grey[cut], limits=grey_limits(grey), aspect=aspect)
    if kind != "grey":
        colour = TRUTH if kind == "truth" else PREDICTED
        ax.contourf(array[cut].astype(float), [0.5, 1.5], colors=colour, alpha=0.75)
    if kind == "mask" and true[cut].any():
        ax.contour(true[cut], [0.5], colors=TRUTH, linewidths=1.3)


def figure_5(cases: Sequence[Case], synthetic: bool) -> Figure:
    """Suboptimal segmentations: a row a scan, worst first; scan, true mask, each network's mask (paper, Fig. 5).

    Args:
        cases: scans with masks of the same networks.
        synthetic: whether the scans are synthetic hips.

    Returns:
        A figure of one coronal slice a scan: of those with true femur the one on which most voxels are wrong. The Dice
        beside each mask is of the whole scan.
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
    lines = [Line2D([], [], color=TRUTH, label="manual"), Line2D([], [], color=PREDICTED, label="predicted")]
    figure.legend(handles=lines, loc="outside upper center", ncols=2, frameon=False)
    return _noted(figure, synthetic)


def figure_7(histories: Mapping[str, pd.DataFrame], synthetic: bool, kept: Mapping[str, int] | None = None) -> Figure:
    """Loss of training and of validation over epochs, a panel a network; the epoch that was kept (paper, Fig. 7).

    Args:
        histories: by network, a run's history.csv.
        synthetic: whether the scans are synthetic hips.
        kept: by network the epoch whose weights were kept, counted from 1. None: not marked.
    """
    columns = min(4, len(histories))
    rows = -(-len(histories) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(max(5.6, 3.6 * columns), 3.1 * rows + 0.5), layout="constrained", squeeze=False
    )
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
    """Say in the lower right corner that scans are synthetic; room is made for it."""
    if synthetic:
        figure.supxlabel(SYNTHETIC, x=0.995, ha="right", fontsize=8, color="0.35", style="italic")
    return figure
