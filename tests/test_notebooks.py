"""Every notebook keeps the course's rules, and runs from top to bottom from any folder."""

import ast
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TAKES = {"profile", "cohort", "runs"}  # every notebook; some take more


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


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """One folder of runs for all notebooks: REUSE_RUNS names a finished one, so that nothing is trained twice."""
    return Path(os.environ.get("REUSE_RUNS") or tmp_path_factory.mktemp("runs") / "quick")


@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_it_runs_from_another_folder(path, runs, tmp_path):
    out = tmp_path / path.name
    command = [sys.executable, "-m", "papermill", str(path), str(out), "-p", "runs", str(runs), "--no-progress-bar"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Passed unknown parameter" not in done.stderr
    executed = json.loads(out.read_text())
    code = [c for c in executed["cells"] if c["cell_type"] == "code"]
    assert all(c["execution_count"] for c in code if c["source"])
    assert any("image/png" in o.get("data", {}) for c in code for o in c["outputs"])
