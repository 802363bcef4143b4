"""Do two networks differ, and how sure is a mean? Paired tests and intervals over subjects (paper, Table 4)."""

import itertools

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

SYMBOLS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


def symbol(p: float) -> str:
    """The symbol of a p in Table 4: ns from 0.05 on, ``*`` below it, ``**`` below 0.01, ``***`` below 0.001."""
    return next((mark for limit, mark in SYMBOLS if p < limit), "ns")


def compare(scores: pd.DataFrame) -> pd.DataFrame:
    """Compare every pair of networks: paired, two-sided Wilcoxon signed-rank tests, Holm's correction (paper, Table 4).

    Subjects on which both networks score the same say nothing, and are left out; if they all do, p is 1. Five subjects
    or fewer cannot give a p below 0.05 (2 / 2^5), however clear they are.

    Args:
        scores: one row for each subject and one column for each network, without gaps.

    Returns:
        One row for each pair: first, second, median_difference (first minus second), p, p_holm, symbol (of p_holm).

    Raises:
        ValueError: a subject has no score from one of the networks; or there are fewer than two networks, two with the
            same name, or no subjects.
    """
    if scores.shape[1] < 2:
        raise ValueError("a comparison needs at least two networks")
    if not scores.columns.is_unique:
        raise ValueError(f"two networks have one name: {', '.join(map(str, scores.columns))}")
    if scores.empty:
        raise ValueError("a comparison needs subjects, got none")
    gaps = scores.index[scores.isna().any(axis="columns")]
    if len(gaps):
        raise ValueError(f"subject {gaps[0]} has no score from one of the networks; a paired test needs every score")
    rows = []
    for first, second in itertools.combinations(scores.columns, 2):
        difference = (scores[first] - scores[second]).to_numpy(float)
        rows.append((first, second, float(np.median(difference)), _wilcoxon(difference)))
    table = pd.DataFrame(rows, columns=["first", "second", "median_difference", "p"])
    table["p_holm"] = multipletests(table["p"], method="holm")[1]
    table["symbol"] = table["p_holm"].map(symbol)
    return table


def _wilcoxon(difference: np.ndarray) -> float:
    # 0.94 - 0.93 and 0.95 - 0.94 are the same difference, but not to the last bit: ranks must see ties and zeros.
    difference = difference.round(12)
    return float(stats.wilcoxon(difference).pvalue) if difference.any() else 1.0


def triangle(compared: pd.DataFrame) -> pd.DataFrame:
    """The symbols of :func:`compare` laid out as Table 4: networks along both sides, each pair once, the rest empty.

    The last network has no row and the first has no column, since the paper's are empty.
    """
    names = list(dict.fromkeys([*compared["first"], *compared["second"]]))
    laid_out = pd.DataFrame("", index=names[:-1], columns=names[1:])
    for first, second, mark in zip(compared["first"], compared["second"], compared["symbol"], strict=True):
        laid_out.loc[first, second] = mark
    return laid_out


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """A bootstrap 95 % interval of the mean over subjects (percentiles of resampled means).

    We resample subjects, not voxels, because they are what differs from study to study. NaN values are left out; with
    fewer than two others there is no interval, and both ends are NaN.
    """
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return float("nan"), float("nan")
    found = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=seed).confidence_interval
    return float(found.low), float(found.high)
