"""The paper's figures show the numbers that they are given, worst first where they say so, and are legible."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from conftest import affine_of
from matplotlib.figure import Figure

from femur_lib.metrics.curves import THRESHOLDS, ProbabilityHistogram, mean_rates
from femur_lib.paper.figures import SYNTHETIC, Case, figure_2, figure_3, figure_4, figure_5, figure_7
from femur_lib.paper.published import NETWORKS
from femur_lib.volumes import Volume

SHAPE = (12, 10, 6)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def volume(array: np.ndarray) -> Volume:
    return Volume(array, affine_of("ILP", (1.0, 1.0, 2.0)))


def block(rows: slice) -> Volume:
    """A mask in slices 2 and 3, columns 3 to 7, of some rows."""
    mask = np.zeros(SHAPE, bool)
    mask[rows, 3:8, 2:4] = True
    return volume(mask)


IMAGE = volume(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32))
TRUTH = block(slice(2, 10))


def histograms(error: float) -> list[ProbabilityHistogram]:
    """Histograms of three subjects; the larger ``error`` is, the more is wrong."""
    made = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        h = ProbabilityHistogram()
        h.add(TRUTH.array, np.clip(TRUTH.array + rng.normal(0, error, SHAPE), 0, 1).astype(np.float32))
        made.append(h)
    return made


def scores(dice: float) -> pd.DataFrame:
    values = dice + np.linspace(-0.02, 0.02, 5)
    return pd.DataFrame({"dice": values, "precision": values, "recall": values})


def history(epochs: int = 6) -> pd.DataFrame:
    e = np.arange(epochs)
    accuracy = [0.5, 0.7, 0.9, 0.8, 0.8, 0.85]
    return pd.DataFrame({"epoch": e, "loss": 1 / (e + 1), "val_loss": 1.5 / (e + 1), "val_accuracy": accuracy})


def every_figure(synthetic: bool) -> list[Figure]:
    probability = volume(TRUTH.array.astype(np.float32))
    return [
        figure_2({"a": histograms(0.3)}, {"a": 0.5}, synthetic),
        figure_3({"a": scores(0.9)}, synthetic),
        figure_4(Case("sub-1", IMAGE, TRUTH, {"a": TRUTH}), {"a": probability}, synthetic),
        figure_5([Case("sub-1", IMAGE, TRUTH, {"a": TRUTH})], synthetic),
        figure_7({"a": history()}, synthetic, {"a": 3}),
    ]


def texts(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(plt.Text)]


@pytest.mark.parametrize("synthetic", [True, False])
def test_every_figure_says_so_if_hips_are_synthetic(synthetic):
    for figure in every_figure(synthetic):
        assert (SYNTHETIC in texts(figure)) == synthetic


def figures_of_many_networks() -> list[Figure]:
    names = [*NETWORKS[:12], "2d-unpadded-f64-l3 PP", "2d-f64-l4 PP"]
    masks = dict.fromkeys(names[:4], TRUTH)
    probabilities = dict.fromkeys(names[:4], volume(TRUTH.array.astype(np.float32)))
    return [
        figure_2({n: histograms(0.3) for n in names}, dict.fromkeys(names, 0.5), True),
        figure_3({n: scores(0.9) for n in names}, True),
        figure_4(Case("sub-1", IMAGE, TRUTH, masks), probabilities, True),
        figure_5([Case("sub-case01L", IMAGE, TRUTH, masks)] * 2, True),
        figure_7({n: history() for n in names}, True, dict.fromkeys(names, 3)),
    ]


def test_no_text_lies_on_another_s_or_is_cut_off():
    for figure in [*every_figure(True), *figures_of_many_networks()]:
        figure.canvas.draw()
        shown = [t for t in figure.findobj(plt.Text) if t.get_text().strip() and t.get_visible()]
        # Numbers beyond the limits of an axis are not drawn, but they still lie at its end.
        boxes = [(t.get_text(), t.get_window_extent()) for t in shown if not _is_number(t.get_text())]
        for text, box in boxes:
            assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0, text  # noqa: PT018
        for (first, a), (second, b) in itertools.combinations(boxes, 2):
            assert not a.shrunk(0.9, 0.8).overlaps(b.shrunk(0.9, 0.8)), (first, second)


def _is_number(text: str) -> bool:
    return text.replace(".", "").replace("−", "").isdigit()


def test_a_curve_is_the_mean_over_subjects_with_a_dot_at_its_threshold():
    subjects = histograms(0.3)
    precision, recall, false_positive = mean_rates(subjects)
    left, right = figure_2({"a": subjects}, {"a": 0.4}, False).axes
    curve, dot = right.lines[:2]
    assert np.array_equal(curve.get_ydata(), precision)
    assert np.array_equal(left.lines[0].get_xdata(), false_positive)
    k = int(np.argmin(np.abs(THRESHOLDS - 0.4)))
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (recall[k], precision[k])


def test_the_mean_false_positive_rate_counts_background_above_each_threshold():
    h = ProbabilityHistogram()
    h.add(np.array([True, False, False, False, False]), np.array([0.9, 0.8, 0.2, 0.2, 0.1], np.float32))
    _, _, rate = mean_rates([h, h])
    assert rate[np.searchsorted(THRESHOLDS, 0.5)] == 0.25
    assert rate[0] == 1


def test_legends_have_the_areas_over_subjects():
    subjects = histograms(0.3)
    left, right = figure_2({"a": subjects}, {"a": 0.5}, False).axes
    areas = [h.average_precision() for h in subjects]
    assert right.get_legend().get_texts()[0].get_text() == f"a: AP {np.mean(areas):.3f} ± {np.std(areas, ddof=1):.3f}"
    assert left.get_legend().get_texts()[0].get_text().startswith("a: AUC 0.9")


def test_every_network_s_curve_looks_different_even_if_there_are_all_18():
    names = [str(k) for k in range(18)]
    left = figure_2({n: histograms(0.3)[:1] for n in names}, dict.fromkeys(names, 0.5), False).axes[0]
    assert len({(line.get_color(), line.get_linestyle()) for line in left.lines}) == 18


def test_box_plots_have_a_row_a_network_and_the_paper_s_mean_beside():
    table = {"3d-f32-l4": scores(0.9), "2d-f64-l4": scores(0.9), "2d-f64-l4 PP": scores(0.9), "mine": scores(0.9)}
    dice = figure_3(table, False).axes[0]
    assert [t.get_text() for t in dice.get_yticklabels()] == list(table)
    diamonds = {line.get_ydata()[0]: line.get_xdata()[0] for line in dice.lines if line.get_marker() == "D"}
    assert diamonds == {1: 0.945, 2: 0.937, 3: 0.960}  # Tables 1 and 2
    low, high = dice.get_ylim()
    assert low > high  # the first on top


def test_without_a_network_of_the_paper_the_figure_does_not_mention_it():
    assert not any("paper" in t for t in texts(figure_3({"mine": scores(0.9)}, False)))


def test_one_scan_is_shown_with_every_network_s_probability_and_mask():
    probability = volume(TRUTH.array.astype(np.float32) * 0.7)
    case = Case("sub-1", IMAGE, TRUTH, {"a": TRUTH, "b": TRUTH})
    figure = figure_4(case, {"a": probability, "b": probability}, False, column=5)
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.get_title(loc="left")]
    above, below = ["(a) scan", "(b) a: probability", "(c) b: probability"], ["(d) true mask", "(e) a: mask"]
    assert titles == [*above, *below, "(f) b: mask"]
    panels = {ax.get_title(loc="left"): ax for ax in figure.axes}
    assert np.array_equal(panels["(b) a: probability"].images[0].get_array(), probability.array[..., 2])
    assert np.array_equal(figure.axes[1].images[0].get_array(), IMAGE.array[:, 5])
    for ax in panels.values():
        if ax.get_title(loc="left"):
            assert ax.lines[0].get_xdata()[0] == 5


def test_suboptimal_cases_come_worst_first_with_the_whole_scan_s_dice():
    half, most = block(slice(2, 6)), block(slice(2, 9))
    cases = [Case("fair", IMAGE, TRUTH, {"a": most}), Case("bad", IMAGE, TRUTH, {"a": half})]
    axes = figure_5(cases, False).axes
    assert [axes[0].get_ylabel().split("\n")[0], axes[3].get_ylabel().split("\n")[0]] == ["bad", "fair"]
    assert [axes[2].get_xlabel(), axes[5].get_xlabel()] == ["Dice 0.667", "Dice 0.933"]
    assert [ax.get_title() for ax in axes[:3]] == ["scan", "manual", "a"]


def test_a_suboptimal_case_is_shown_where_most_is_wrong_and_says_if_nothing_was_marked_there():
    mask = TRUTH.array.copy()
    mask[..., 3] = False
    mask[..., 0] = True  # more is wrong there, but it has no true femur to be seen
    axes = figure_5([Case("x", IMAGE, TRUTH, {"a": volume(mask)})], False).axes
    assert axes[0].get_ylabel() == "x\nslice 3"
    assert axes[2].get_xlabel().endswith("nothing on this slice")


def test_the_kept_epoch_is_marked_counted_from_one():
    (ax,) = figure_7({"a": history()}, False, {"a": 3}).axes
    assert ax.lines[-1].get_xdata()[0] == 3
    assert ax.lines[0].get_xdata()[0] == 1


def test_a_history_without_validation_is_drawn_too():
    (ax,) = figure_7({"a": history()[["epoch", "loss"]]}, False).axes
    assert len(ax.lines) == 1
