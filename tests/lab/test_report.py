"""The report says what each run is, and leaves out what is damaged."""

import json
import shutil

import pandas as pd
import pytest

from femur_lib._runtime.errors import DataError
from femur_lib.lab.report import summarise, write_report


@pytest.fixture
def runs(trained_runs, tmp_path):
    """A run that was evaluated, one of the same network and fold that was not, a damaged one, and what a page has."""
    for name in ("first", "second", "damaged/third", "pages/_downloads", ".pages-half-built/results"):
        shutil.copytree(trained_runs["3d"], tmp_path / "runs" / name)
    for name in ("pages/_downloads", ".pages-half-built/results"):
        (tmp_path / "runs" / name / "model.keras").unlink()
    scores = pd.DataFrame({"participant_id": ["<sub>-01", "sub-02"], "dice": [0.9, 0.8]})
    scores.assign(precision=1.0, recall=0.5).to_csv(tmp_path / "runs" / "first" / "scores.csv", index=False)
    return tmp_path / "runs"


def test_every_run_has_its_section_and_damaged_ones_have_none(runs, tmp_path):
    page = write_report(runs, tmp_path / "report.html").read_text()
    assert "<h2>3d-f4-l2-d1.2, fold 0</h2>" in page
    assert "<h2>3d-f4-l2-d1.2, fold 0 (second)</h2>" in page
    assert page.count("<summary>run.json</summary>") == 2
    assert "&lt;sub&gt;-01" in page
    assert "0.850 ± 0.071" in page


def test_an_older_report_is_replaced_and_nothing_else(runs, tmp_path):
    for _ in range(2):
        page = write_report(runs, tmp_path / "report.html")
    page.write_text("<h1>My thesis</h1>")
    with pytest.raises(DataError, match=r"report\.html exists, and is no report of ours"):
        write_report(runs, page)
    assert page.read_text() == "<h1>My thesis</h1>"


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_scans_are_called_so(runs, tmp_path, synthetic):
    for file in runs.rglob("run.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"synthetic": synthetic}))
    assert ("scans are synthetic" in write_report(runs, tmp_path / "report.html").read_text()) is synthetic


def test_a_summary_has_a_row_for_each_network_and_its_worst_dice():
    table = summarise({"3d": pd.DataFrame({"dice": [0.9, 0.8], "asd_mm": [1.0, 2.0]})})
    assert table.to_dict("records") == [
        {"network": "3d", "scans": 2, "Dice": "0.850 ± 0.071", "ASD [mm]": "1.50 ± 0.71", "worst Dice": "0.800"}
    ]


def test_a_folder_without_runs_is_named(tmp_path):
    with pytest.raises(DataError, match="holds no run"):
        write_report(tmp_path, tmp_path / "report.html")
    assert not any(tmp_path.iterdir())
