"""teaching/build_exercises.py takes the answers out of the notebooks, and keeps what learners wrote."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import script

ROOT = Path(__file__).parents[2]
SOLVED = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


@pytest.fixture(scope="module")
def builder():
    return script("teaching/build_exercises.py")


def build(builder, folder: Path, *options: str) -> dict[str, bytes]:
    assert builder.main(["--out", str(folder), *options]) == 0
    assert (folder / "progress.jsonl").is_file()
    return {path.name: path.read_bytes() for path in folder.glob("*.ipynb")}


@pytest.mark.parametrize("path", SOLVED, ids=lambda p: p.stem)
def test_answers_leave_the_cells_for_the_folded_solution(builder, path):
    solved, exercise = nbformat.read(path, 4), builder.exercise(path)
    nbformat.validate(exercise)
    assert path.name in exercise.cells[0].source
    cells = exercise.cells[1:]
    for k, cell in enumerate(solved.cells):
        if "solution" not in cell.metadata.get("tags", []):
            continue
        answer, _, check = builder.parts(cell)
        assert cells[k].source.startswith(cell.metadata.stub)
        assert cells[k].source.endswith(f"\n{check}")
        assert not cells[k].metadata
        assert not [c for c in cells if c.cell_type == "code" and answer in c.source]
        assert answer in cells[k - 1].source.split("<summary>Solution</summary>")[1]
        assert cells[k - 1].source.rstrip().endswith("</details>")
    assert [c.id for c in cells] == [c.id for c in solved.cells]


def test_a_prediction_is_the_learners_to_make(builder, tmp_path):
    cell = nbformat.v4.new_code_cell('predict("05.stray", "b")', id="nb05-stray")
    cell.metadata |= {"tags": ["prediction"], "stub": 'predict("05.stray", ...)'}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "05_evaluate.ipynb")
    made = builder.exercise(tmp_path / "05_evaluate.ipynb").cells[1]
    assert (made.source, dict(made.metadata)) == ('predict("05.stray", ...)', {})


@pytest.mark.parametrize("path", SOLVED, ids=lambda p: p.stem)
def test_a_prediction_is_named_after_its_notebook_and_comes_before_its_answer(path):
    cells = nbformat.read(path, 4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    made = [cell for cell in cells if "prediction" in cell.metadata.get("tags", [])]
    for cell in made:
        (name,) = re.findall(r'^predict\("(\d\d\.\w+)", (?!\.\.\.)', cell.source, re.M)
        assert name[:2] == path.name[:2]
        assert f'predict("{name}", ...)' in cell.metadata.stub
        recalls = [source for source in code[code.index(cell.source) :] if f'recall("{name}")' in source]
        assert recalls, name
    assert sum(bool(re.search(r'^predict\("', source, re.M)) for source in code) == len(made)


def test_it_writes_the_same_twice(builder, tmp_path):
    first, second = (build(builder, tmp_path / name) for name in ("first", "second"))
    assert first == second == build(builder, tmp_path / "second")
    assert sorted(first) == [p.name for p in SOLVED]


def test_a_learners_work_is_kept_and_said(builder, tmp_path, capsys):
    made = build(builder, tmp_path)
    notebook = nbformat.read(tmp_path / SOLVED[1].name, 4)
    notebook.cells[-1].source += "\nmy note"
    nbformat.write(notebook, tmp_path / SOLVED[1].name)
    (tmp_path / SOLVED[2].name).write_text("a notebook of another sort")
    (tmp_path / "progress.jsonl").write_text("what was answered\n")
    worked_in = {p.name: (tmp_path / p.name).read_bytes() for p in SOLVED[1:3]}
    capsys.readouterr()
    assert build(builder, tmp_path) == made | worked_in
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert [name for name in sorted(made) if name in said] == sorted(worked_in)
    assert build(builder, tmp_path, "--overwrite") == made
    assert (tmp_path / "progress.jsonl").read_text() == "what was answered\n"


def test_an_older_exercise_that_nobody_changed_is_made_again(builder, tmp_path):
    made = build(builder, tmp_path)
    out = tmp_path / SOLVED[0].name
    older = nbformat.read(out, 4)
    older.cells[-1].source = "as it was last year"
    older.metadata["made_from"]["sha256"] = builder.fingerprint(older)
    nbformat.write(older, out)
    assert build(builder, tmp_path) == made


@pytest.mark.notebook
def test_an_exercise_runs_unanswered(builder, tmp_path):
    out = tmp_path / "answered.ipynb"
    build(builder, tmp_path / "exercises")
    runs = os.environ.get("REUSE_RUNS") or tmp_path / "quick"
    command = [sys.executable, "-m", "papermill", str(tmp_path / "exercises" / SOLVED[1].name), str(out)]
    done = subprocess.run(
        [*command, "-p", "runs", str(runs)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = "".join(o.get("text", "") for c in nbformat.read(out, 4).cells for o in c.get("outputs", []))
    assert said.count("not answered yet") == 3
