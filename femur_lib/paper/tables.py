"""The paper's Tables 1 to 4 with our numbers beside the paper's, as data frames and as HTML.

Every network of the paper's table has a row, which is blank where we have no scores yet. Networks that are not the
paper's come after them, with the paper's columns blank. Scores are given by network: a table with one row for each scan
and the columns participant_id, dice, precision, recall, asd_mm and msd_mm, as :func:`femur_lib.evaluation.score_files`
returns them. A table's caption is in ``table.attrs["caption"]``, and in what :func:`as_html` makes of it.

All four functions take scores first, then

    synthetic: whether our scans are synthetic hips; the caption says so.
    unit: what one row of scores is, in the plural.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
from jinja2 import Environment

from femur_lib._runtime.errors import DataError
from femur_lib.metrics.statistics import compare, triangle
from femur_lib.paper import published
from femur_lib.paper.published import HEADINGS, SCORES, SUBJECTS, TABLE_1, TABLE_2, TABLE_3, TABLE_4, TABLE_4_ORDER

Scores = Mapping[str, pd.DataFrame]

MARKS = "* marks unpadded convolutions. F: initial feature maps, L: layers."
HTML = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""<table>
<caption>{{ caption }}</caption>
<thead>
{% for cells in header %}<tr>
{% for text, span, rows in cells %}<th scope="{{ 'colgroup' if span > 1 else 'col' }}"\
{% if span > 1 %} colspan="{{ span }}"{% endif %}{% if rows > 1 %} rowspan="{{ rows }}"{% endif %}>{{ text }}</th>
{% endfor %}</tr>
{% endfor %}</thead>
<tbody>
{% for name, cells in body %}<tr><th scope="row">{{ name }}</th>
{% for cell in cells %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table>
""")  # fmt: skip


def table_1(scores: Scores, synthetic: bool, unit: str = "hips") -> pd.DataFrame:
    """Scores of each network's masks (paper, Table 1): mean ± standard deviation over scans, ours and the paper's.

    Args:
        scores: of masks with all their components, as Table 1 has them.
        synthetic, unit: see the top of this file.

    Returns:
        A table of texts with the network's name as its index and the columns ("Network", ""), then for each score
        ("DSC ↑", "paper") and ("DSC ↑", "ours").

    Raises:
        DataError: scores lack a column, or have no rows.
    """
    table = _beside(TABLE_1, scores, _others(scores))
    title = "Table 1. Segmentation results of different network architectures: mean ± standard deviation."
    return _captioned(table, f"{title} {MARKS}", scores, synthetic, unit)


def table_2(after: Scores, before: Scores, synthetic: bool, unit: str = "hips") -> pd.DataFrame:
    """What keeping the largest component alone does to 2D networks (paper, Table 2).

    Args:
        after: of masks reduced to their largest component ("PP", post-processing).
        before: of the same masks before that.
        synthetic, unit: see the top of this file.

    Returns:
        A table like :func:`table_1`'s with two more columns: by how many per cent the mean DSC and the mean ASD
        changed. The caption has the average of both changes over the 2D networks, as the paper's text has them. The
        last of the paper's rows, "2d-f64-l4 before", is of masks before post-processing.

    Raises:
        DataError: as in :func:`table_1`.
    """
    _check(before)
    printed = {row.network: row for row in TABLE_1}
    best = replace(printed["2d-f64-l4"], network="2d-f64-l4 before")  # the paper's best 2D network
    rows = (*TABLE_2, best)
    shown = {**after, **({best.network: before["2d-f64-l4"]} if "2d-f64-l4" in before else {})}
    table = _beside(rows, shown, [n for n in after if n not in {row.network for row in rows}])
    averages = {}
    for column in ("dice", "asd_mm"):
        at, name = SCORES.index(column), HEADINGS[column].split(" ")[0]
        paper = {row.network: row.mean[at] / printed[row.network].mean[at] - 1 for row in TABLE_2}
        ours = {n: _change(after[n], before[n], column) for n in after if n in before}
        for whose, changes in (("paper", paper), ("ours", ours)):
            table[(f"{name} change", whose)] = [_percent(changes.get(network)) for network in table.index]
            of_2d = [change for network, change in changes.items() if network.startswith("2d")]
            averages[name, whose] = _percent(float(np.mean(of_2d)) if of_2d else None)
    title = (
        "Table 2. Masks reduced to their largest component (PP), and by how much that changed the means. "
        f"On average over the 2D networks DSC changed by {averages['DSC', 'paper']} and ASD by "
        f"{averages['ASD', 'paper']} in the paper's tables (its text says +7 % and −86 %)"
    )
    if averages["DSC", "ours"]:
        title += f", by {averages['DSC', 'ours']} and {averages['ASD', 'ours']} in ours"
    return _captioned(table, f"{title}. {MARKS}", shown, synthetic, unit)


def table_3(scores: Scores, average_precision: pd.DataFrame, synthetic: bool, unit: str = "hips") -> pd.DataFrame:
    """Scores of networks with a dilated centre (paper, Table 3), with the median and IQR of the average precision.

    Args:
        scores: as in :func:`table_1`.
        average_precision: one row for each scan, one column for each network; NaN where a scan has none.
        synthetic, unit: see the top of this file.

    Raises:
        DataError: as in :func:`table_1`.
    """
    table = _beside(TABLE_3, scores, _others(dict.fromkeys([*scores, *map(str, average_precision)])))
    paper = {row.network: row.average_precision for row in TABLE_3}
    table.insert(1, ("AP ↑", "paper"), [_median_range(paper.get(n)) for n in table.index])
    ours = [_median(average_precision[n]) if n in average_precision else "" for n in table.index]
    table.insert(2, ("AP ↑", "ours"), ours)
    title = (
        "Table 3. Networks with dilated centres; r: dilation rates, 3D with F:32, L:4, 2D with F:64, L:4. "
        "AP, the average precision: median (interquartile range); the rest: mean ± standard deviation."
    )
    return _captioned(table, title, scores, synthetic, unit)


def table_4(average_precision: pd.DataFrame, synthetic: bool, unit: str = "hips") -> pd.DataFrame:
    """Which networks differ in average precision (paper, Table 4): paired Wilcoxon tests, Holm's correction.

    Args:
        average_precision: one row for each scan, one column for each network, without gaps.
        synthetic, unit: see the top of this file.

    Returns:
        A triangle with each pair once. A cell holds our symbol, then the paper's in brackets: the paper's alone where
        we have none, ours alone where the paper has none.

    Raises:
        DataError: a scan lacks the average precision of a network: a paired test needs every one.
    """
    for network in average_precision:
        gaps = average_precision.index[average_precision[network].isna()]
        if len(gaps):
            raise DataError(
                f"{gaps[0]} has no average precision from {network}; one of every scan was expected.",
                "Predict the scan with that network.",
            )
    compared = compare(average_precision) if average_precision.shape[1] > 1 else pd.DataFrame()
    ours = {frozenset((row.first, row.second)): str(row.symbol) for row in compared.itertuples()}
    names = [*TABLE_4_ORDER, *(str(n) for n in average_precision if n not in TABLE_4_ORDER)]
    label = {row.network: row.printed_name for row in TABLE_3}
    cells = []
    for pair in combinations(names, 2):
        paper = f"({TABLE_4[pair]})" if pair in TABLE_4 else ""
        both = f"{ours.get(frozenset(pair), '')} {paper}".strip()
        cells.append((*(label.get(name, name) for name in pair), both))
    table = triangle(pd.DataFrame(cells, columns=["first", "second", "symbol"]))
    table.index.name = "AP of"
    pairs = average_precision.shape[1] * (average_precision.shape[1] - 1) // 2
    counted = f"{pairs} pair{'s' * (pairs > 1)} on {len(average_precision)} {unit}" if pairs else "none yet"
    table.attrs["caption"] = (
        "Table 4. Do networks differ in average precision? Paired Wilcoxon signed-rank tests, corrected by Holm's "
        "method for as many pairs as were compared: ns p ≥ 0.05, * p < 0.05, ** p < 0.01, *** p < 0.001. In brackets "
        f"the paper's symbol, for its 66 pairs on {SUBJECTS} subjects; ours: {counted}. {comparability(synthetic)}"
    )
    return table


def as_html(table: pd.DataFrame) -> str:
    """A table of this module as HTML: with its caption, headers that say what they head, and everything escaped."""
    return HTML.render(
        caption=table.attrs.get("caption", ""),
        header=_header(table),
        body=[(name, list(row)) for name, row in zip(table.index, table.to_numpy(), strict=True)],
    )


def comparability(synthetic: bool) -> str:
    """How far our numbers may be compared with the paper's, in a sentence."""
    if synthetic:
        return (
            "Ours are of synthetic hips, drawn by a program: they show how the methods compare on such hips, say "
            "nothing about patients, and are not comparable with the paper's."
        )
    return "The paper's are of its own scans: compare networks with one another, within ours or within the paper's."


def _header(table: pd.DataFrame) -> list[list[tuple[str, int, int]]]:
    """Rows of cells: text, and how many columns and rows it spans."""
    corner = str(table.index.name or "")
    if table.columns.nlevels == 1:
        return [[(corner, 1, 1), *((str(c), 1, 1) for c in table.columns)]]
    above, below = [(corner, 1, 2)], []
    pairs = list(zip(*(table.columns.get_level_values(level).map(str) for level in (0, 1)), strict=True))
    for group in dict.fromkeys(first for first, _ in pairs):
        under = [second for first, second in pairs if first == group]
        above.append((group, len(under), 1 if any(under) else 2))
        below += [(second, 1, 1) for second in under if second]
    return [above, below]


def _check(scores: Scores) -> None:
    for network, table in scores.items():
        missing = [c for c in ("participant_id", *SCORES) if c not in table]
        if missing or table.empty:
            lack = f"column {', '.join(missing)}" if missing else "rows"
            raise DataError(
                f"The scores of {network} have no {lack}; a row for each scan, as femur score writes it, was expected.",
                "Score its masks again.",
            )


def _others(names: Iterable[str]) -> list[str]:
    """Networks that are not the paper's: each of the paper's has its place in one of its tables."""
    return [n for n in names if n not in published.NETWORKS]


def _beside(rows: Sequence[published.Published], scores: Scores, others: Sequence[str]) -> pd.DataFrame:
    """The paper's rows, then ours: texts, with the paper's columns beside our own."""
    _check(scores)
    printed = {row.network: row for row in rows}
    index = pd.Index([*printed, *others], name="network")
    columns = {("Network", ""): [printed[n].printed_name if n in printed else "" for n in index]}
    for at, (column, heading) in enumerate(HEADINGS.items()):
        paper = {n: _mean(row.mean[at], row.sd[at], column) for n, row in printed.items()}
        ours = {n: _mean(t[column].mean(), t[column].std(), column) for n, t in scores.items()}
        columns[heading, "paper"] = [paper.get(n, "") for n in index]
        columns[heading, "ours"] = [ours.get(n, "") for n in index]
    return pd.DataFrame(columns, index=index)


def _mean(mean: float, sd: float, column: str) -> str:
    digits = 2 if column.endswith("_mm") else 3  # as the paper prints
    if np.isnan(mean):
        return "–"
    return f"{mean:.{digits}f}" if np.isnan(sd) else f"{mean:.{digits}f} ± {sd:.{digits}f}"


def _median(values: pd.Series) -> str:
    low, median, high = values.dropna().quantile([0.25, 0.5, 0.75])
    return "–" if np.isnan(median) else _median_range((median, high - low))


def _median_range(both: tuple[float, float] | None) -> str:
    return "{:.3f} ({:.3f})".format(*both) if both else ""


def _change(after: pd.DataFrame, before: pd.DataFrame, column: str) -> float:
    both = after.merge(before, on="participant_id", suffixes=("", "_before"))
    both = both.dropna(subset=[column, f"{column}_before"])
    return float(both[column].mean() / both[f"{column}_before"].mean() - 1) if len(both) else float("nan")


def _percent(change: float | None) -> str:
    if change is None or np.isnan(change):
        return ""
    return f"{100 * change:+.1f} %".replace("-", "−")


def _captioned(table: pd.DataFrame, title: str, scores: Scores, synthetic: bool, unit: str) -> pd.DataFrame:
    """Add the caption: what, over how many of what, what was left out, and how far numbers may be compared."""
    shown = {n: scores[n] for n in table.index if n in scores}
    counts = sorted({len(t) for t in shown.values()})
    ours = f"ours over {' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} {unit}" if counts else ""
    said = [title, f"Paper: over {SUBJECTS} subjects; {ours or 'ours: no scores yet'}."]
    undefined = {n: int(t[list(SCORES)].isna().any(axis=1).sum()) for n, t in shown.items()}
    if any(undefined.values()):
        listed = ", ".join(f"{count} of {n}" for n, count in undefined.items() if count)
        said.append(f"Scores that are undefined, because a mask is empty, are left out of the means: {listed}.")
    table.attrs["caption"] = " ".join([*said, comparability(synthetic)])
    return table
