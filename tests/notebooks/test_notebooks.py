"""Every notebook keeps the course's rules, and runs from top to bottom from any folder."""

import ast
import csv
import json
import os
import re
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import nbformat
import psutil
import pytest

from femur_lib.config import load_profile

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TAKES = {"profile", "cohort", "runs"}  # every notebook; some take more
MEASURED = ROOT / "results/notebooks.csv"  # written by `make measure`
BUDGET_MINUTES, BUDGET_MB = 15, 8  # of all notebooks together, at the profile quick; of one executed notebook


def cells(path: Path, kind: str):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def by_name(path: Path) -> str:
    return path.stem


def test_the_course_is_in_order():
    assert [p.name[:2] for p in NOTEBOOKS] == [f"{k:02d}" for k in range(len(NOTEBOOKS))]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_it_is_stored_clean_with_readable_ids(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [c.id for c in notebook.cells]
    assert len(set(ids)) == len(ids)
    for cell in cells(path, "code"):
        assert not cell.outputs
        assert cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_it_has_one_cell_of_parameters_typed_and_commented(path):
    tagged = [c for c in cells(path, "code") if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    lines = [line for line in tagged[0].source.splitlines() if line.strip() and not line.startswith("#")]
    statements = ast.parse(tagged[0].source).body
    assert all(isinstance(s, ast.AnnAssign) for s in statements)
    assert {s.target.id for s in statements} >= TAKES
    assert all("#" in line for line in lines)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_it_opens_and_ends_as_the_course_promises(path):
    text = [c.source for c in cells(path, "markdown")]
    opening, everything = "\n".join(text[:3]).lower(), "\n".join(text).lower()
    for words in ("you will do", "you will learn", "you need", "minutes", "memory", "gpu", "paper"):
        assert words in opening, words
    assert "<details>" in everything
    ending = "\n".join(text[-3:]).lower()
    for words in ("what you learned", "in practice", "next"):
        assert words in ending, words


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_its_code_cells_are_short(path):
    lengths = [len(c.source.splitlines()) for c in cells(path, "code")]
    assert max(lengths) <= 30
    assert statistics.median(lengths) <= 8


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_what_is_folded_on_the_site_is_folded_in_jupyterlab(path):
    for cell in cells(path, "code"):
        assert ("hide-input" in cell.metadata.get("tags", [])) == cell.metadata.get("jupyter", {}).get(
            "source_hidden", False
        )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_every_prediction_is_made_under_a_heading_and_recalled_after_it(path):
    notebook = nbformat.read(path, as_version=4)
    for above, cell in pairwise(notebook.cells):
        if "prediction" in cell.metadata.get("tags", []):
            question = cell.source.split('"')[1]
            assert cell.metadata.stub == f'predict("{question}", ...)'
            assert re.search("^### Predict: ", above.source, re.M)
            after = notebook.cells[notebook.cells.index(cell) :]
            assert any(f'recall("{question}")' in c.source for c in after)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """One folder of runs for all notebooks: REUSE_RUNS names a finished one, so that nothing is trained twice."""
    return Path(os.environ.get("REUSE_RUNS") or tmp_path_factory.mktemp("runs") / "quick")


def row(text: str, start: str) -> str:
    """The second cell of the table row that begins with a word."""
    return next(line for line in text.splitlines() if line.startswith(f"| {start}")).split("|")[2].strip()


def promised_gb(path: Path) -> float:
    """The memory that a notebook's opening table says it takes."""
    return float(row(cells(path, "markdown")[0].source, "memory").split()[0])


def peak_gb(process: subprocess.Popen) -> float:
    """Wait for a process; the most memory that it and its descendants held together."""
    peak, watched = 0, psutil.Process(process.pid)
    while process.poll() is None:
        held = 0
        try:
            for p in (watched, *watched.children(recursive=True)):
                held += p.memory_info().rss
        except psutil.NoSuchProcess:
            pass  # it ended while we looked
        peak = max(peak, held)
        time.sleep(0.2)
    return peak / 1e9


@pytest.fixture(scope="session")
def measures():
    """What executing each notebook took; `make measure` adds it to MEASURED, in the place of what stood there."""
    rows: dict[str, dict] = {}
    yield rows
    if os.environ.get("MEASURE_NOTEBOOKS") and rows:
        merged = {**(measured() if MEASURED.is_file() else {}), **rows}
        with MEASURED.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(next(iter(rows.values()))), lineterminator="\n")
            writer.writeheader()
            writer.writerows(merged[p.stem] for p in NOTEBOOKS if p.stem in merged)


@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_it_runs_from_another_folder(path, runs, tmp_path, measures):
    out, said = tmp_path / path.name, tmp_path / "said.txt"
    command = [sys.executable, "-m", "papermill", str(path), str(out), "-p", "runs", str(runs), "--no-progress-bar"]
    with said.open("w") as file:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=file, stderr=subprocess.STDOUT)
        gigabytes = peak_gb(process)
    assert process.returncode == 0, said.read_text()[-3000:]
    assert "Passed unknown parameter" not in said.read_text()
    executed = json.loads(out.read_text())
    code = [c for c in executed["cells"] if c["cell_type"] == "code"]
    assert all(c["execution_count"] for c in code if c["source"])
    drawn = [c for c in code if any("image/png" in o.get("data", {}) for o in c["outputs"])]
    assert drawn
    silent = [c["id"] for c in drawn if not c["metadata"].get("alt")]
    assert not silent, f"a figure's cell needs metadata 'alt', its description for who cannot see it: {silent}"
    megabytes = out.stat().st_size / 1e6
    assert megabytes <= BUDGET_MB
    assert gigabytes <= promised_gb(path)
    seconds = round(executed["metadata"]["papermill"]["duration"])
    found = {"seconds": seconds, "peak_gb": f"{gigabytes:.1f}", "output_mb": f"{megabytes:.1f}"}
    measures[path.stem] = {"notebook": path.stem, **found}


@pytest.mark.notebook
def test_the_tables_of_one_network_alone_are_made(runs, tmp_path):
    out, network = tmp_path / "out.ipynb", load_profile("quick").networks[-1]
    command = [sys.executable, "-m", "papermill", str(NOTEBOOKS[6]), str(out), "--no-progress-bar"]
    given = {"runs": runs, "networks": network, "out": tmp_path / "tables"}
    command += [word for name, value in given.items() for word in ("-p", name, str(value))]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    assert (tmp_path / "tables" / "claims.csv").read_text().startswith("claim,networks")
    assert network in (tmp_path / "tables" / "table_4.csv").read_text()


def measured() -> dict[str, dict]:
    with MEASURED.open(newline="") as file:
        return {found["notebook"]: found for found in csv.DictReader(file)}


def test_measured_minutes_and_memory_keep_to_the_budget():
    found = measured()
    assert list(found) == [p.stem for p in NOTEBOOKS], "measure again: make measure"
    assert sum(float(f["seconds"]) for f in found.values()) <= 60 * BUDGET_MINUTES
    for path in NOTEBOOKS:
        assert float(found[path.stem]["peak_gb"]) <= promised_gb(path)
