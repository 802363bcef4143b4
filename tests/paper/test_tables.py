"""The paper's tables: its rows in its order, our numbers beside its own, and a caption that says what is compared."""

import re

import numpy as np
import pandas as pd
import pytest

from femur_lib._runtime.errors import DataError
from femur_lib.paper.published import TABLE_1, TABLE_2, TABLE_3
from femur_lib.paper.tables import TABLE_4, as_html, table_1, table_2, table_3, table_4


def scores(dice=(0.90, 0.92, 0.94), asd=(0.5, 0.6, 0.7)) -> pd.DataFrame:
    """Scores of a few scans."""
    names = [f"sub-{k}" for k in range(len(dice))]
    columns = {"participant_id": names, "dice": dice, "precision": dice, "recall": dice, "asd_mm": asd, "msd_mm": 5.0}
    return pd.DataFrame(columns)


def average_precision(**shifts: float) -> pd.DataFrame:
    """Thirty scans' AP of networks that differ by so much; underscores in names stand for dashes."""
    base = np.random.default_rng(0).normal(0.95, 0.01, 30)
    noise = np.random.default_rng(1).normal(0, 1e-4, (30, len(shifts)))
    return pd.DataFrame({n.replace("_", "-"): base + s + noise[:, i] for i, (n, s) in enumerate(shifts.items())})


def test_every_network_of_the_paper_has_its_row_and_ours_come_after():
    table = table_1({"3d-f16-l4-a2-gn": scores(), "3d-f32-l4": scores()}, synthetic=False)
    assert list(table.index) == [*(row.network for row in TABLE_1), "3d-f16-l4-a2-gn"]
    assert table.loc["3d-f16-l4", ("DSC ↑", "paper")] == "0.935 ± 0.028"
    assert table.loc["3d-f16-l4", ("DSC ↑", "ours")] == ""
    assert table.loc["3d-f16-l4-a2-gn", ("DSC ↑", "paper")] == ""


def test_ours_are_means_and_deviations_with_the_paper_s_digits():
    row = table_1({"3d-f32-l4": scores()}, synthetic=False).loc["3d-f32-l4"]
    assert row["DSC ↑", "ours"] == "0.920 ± 0.020"
    assert row["ASD [mm] ↓", "ours"] == "0.60 ± 0.10"
    assert row["Network", ""] == "3D CNN, F:32, L:4"


def test_of_one_scan_there_is_no_deviation():
    row = table_1({"3d-f32-l4": scores([0.9], [0.5])}, synthetic=False).loc["3d-f32-l4"]
    assert row["DSC ↑", "ours"] == "0.900"


def test_a_network_of_another_table_of_the_paper_is_not_shown_as_ours():
    table = table_3({"3d-f16-l3": scores()}, pd.DataFrame(), synthetic=False)
    assert list(table.index) == [row.network for row in TABLE_3]


@pytest.mark.parametrize("synthetic", [True, False])
def test_captions_say_how_many_of_what_and_whether_they_may_be_compared(synthetic):
    ap = average_precision(a=0, b=0.1)
    tables = [
        table_1({"a": scores()}, synthetic),
        table_2({"a": scores()}, {"a": scores()}, synthetic),
        table_3({"a": scores()}, ap, synthetic),
        table_4(ap, synthetic),
    ]
    for table, count in zip(tables, (3, 3, 3, 30), strict=True):
        caption = table.attrs["caption"]
        assert f"{count} hips" in caption
        assert "86 subjects" in caption
        assert ("synthetic" in caption) == synthetic
        assert ("not comparable with the paper's" in caption) == synthetic


def test_undefined_distances_are_left_out_and_counted():
    table = table_1({"a": scores(asd=(0.5, np.nan, 0.7))}, synthetic=False)
    assert table.loc["a", ("ASD [mm] ↓", "ours")] == "0.60 ± 0.14"
    assert "1 of a" in table.attrs["caption"]


def test_scores_without_a_column_or_a_row_are_refused():
    with pytest.raises(DataError, match=r"scores of a have no column msd_mm"):
        table_1({"a": scores().drop(columns="msd_mm")}, synthetic=False)
    with pytest.raises(DataError, match="no rows"):
        table_1({"a": scores().iloc[:0]}, synthetic=False)


def test_the_largest_component_s_change_is_shown_beside_the_paper_s():
    before, after = scores((0.8, 0.8), (2.0, 4.0)), scores((0.88, 0.88), (1.0, 0.5))
    table = table_2({"2d-f64-l4": after, "3d-f8-l3": after}, {"2d-f64-l4": before, "3d-f8-l3": after}, False)
    assert list(table.index[:4]) == [row.network for row in TABLE_2]
    assert list(table.index[4:]) == ["2d-f64-l4 before", "3d-f8-l3"]
    assert table.loc["2d-f64-l4", [("DSC change", "ours"), ("ASD change", "ours")]].tolist() == ["+10.0 %", "−75.0 %"]
    assert table.loc["2d-f64-l4", ("DSC change", "paper")] == "+2.5 %"
    assert table.loc["2d-f64-l4 before", ("DSC ↑", "ours")] == "0.800 ± 0.000"
    assert "by +4.4 % and ASD by −86.5 % in the paper's tables" in table.attrs["caption"]
    assert "by +10.0 % and −75.0 % in ours" in table.attrs["caption"]


def test_a_change_is_over_the_scans_that_have_both():
    before, after = scores((0.8, 0.8), (2.0, np.nan)), scores((0.8, 0.8), (1.0, 9.0))
    table = table_2({"2d-f64-l4": after}, {"2d-f64-l4": before}, synthetic=False)
    assert table.loc["2d-f64-l4", ("ASD change", "ours")] == "−50.0 %"


def test_average_precision_is_a_median_and_an_interquartile_range():
    ap = pd.DataFrame({"3d-f32-l4": [0.90, 0.92, 0.94, 0.96, 0.98], "mine": [0.5, np.nan, 0.5, 0.5, 0.5]})
    table = table_3({}, ap, synthetic=False)
    assert table.loc["3d-f32-l4", ("AP ↑", "ours")] == "0.940 (0.040)"
    assert table.loc["3d-f32-l4", ("AP ↑", "paper")] == "0.986 (0.002)"
    assert table.loc["mine", ("AP ↑", "ours")] == "0.500 (0.000)"


def test_the_paper_s_symbols_are_those_of_its_table():
    assert len(TABLE_4) == 66
    assert TABLE_4["2d-f64-l4", "2d-f64-l4-d1.4"] == "***"
    assert TABLE_4["2d-f64-l4-d1.2.4.8", "3d-f32-l4"] == "ns"
    assert TABLE_4["3d-f32-l4-d1.8", "3d-f32-l4-d1.2.4.8"] == "**"
    assert TABLE_4["3d-f32-l4-d1.2.4", "3d-f32-l4-d1.2.4.8"] == "*"


def test_each_pair_is_compared_once_with_the_paper_s_symbol_in_brackets():
    ap = average_precision(mine=0.02, **{"3d_f32_l4_d1.2.4.8": 0.0, "2d_f64_l4": -0.02})
    table = table_4(ap, synthetic=False)
    assert table.shape == (12, 12)
    assert table.loc["2D, r = 1", "3D, r = 1, 2, 4, 8"] == "*** (***)"
    assert table.loc["3D, r = 1, 2, 4, 8", "mine"] == "***"
    assert table.loc["2D, r = 1", "2D, r = 1, 2"] == "(ns)"
    assert (table.to_numpy() != "").sum() == 66 + 2


def test_without_scores_the_paper_s_triangle_stands_alone():
    table = table_4(pd.DataFrame(), synthetic=False)
    assert table.shape == (11, 11)
    assert "none yet" in table.attrs["caption"]


def test_a_scan_without_average_precision_is_named():
    ap = average_precision(a=0, b=0.1).rename(index={3: "sub-x"})
    ap.loc["sub-x", "b"] = np.nan
    with pytest.raises(DataError, match=r"sub-x has no average precision from b"):
        table_4(ap, synthetic=False)


@pytest.mark.parametrize("levels", [1, 2])
def test_html_has_a_caption_headers_with_scope_and_no_markup_of_the_data_s(levels):
    name = "<script>&"
    ap = average_precision(**{name: 0, "b": 0.1})
    html = as_html(table_4(ap, True) if levels == 1 else table_1({name: scores()}, True))
    assert html.count("<table") == html.count("<caption>") == 1
    assert name not in html
    assert "&lt;script&gt;&amp;" in html
    assert re.search(r"<caption>.*synthetic", html)
    assert len(re.findall("<th", html)) == len(re.findall("<th scope=|<thead", html))


def test_html_s_columns_add_up():
    html = as_html(table_1({"a": scores()}, True))
    head, body = html.split("<tbody>")
    above, below = head.split("<tr>")[1:]
    spans = [int(n) for n in re.findall(r'colspan="(\d+)"', above)]
    assert sum(spans) == below.count("<th ") == 10
    cells = {row.count("<td>") + row.count("<th ") for row in body.split("<tr>")[1:]}
    assert cells == {12}
