"""The exercises as an assignment: nbgrader takes the answers out, and gives a point for each exercise that is right."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import script

from femur_lib.course.class_table import read_class, tries

ROOT = Path(__file__).parents[2]
SOLVED = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
NAME = "07_a_little_course"
TAKEN = [("00.3", "3", "4"), ("04.2", "0.5", "0.9"), ("04.4", "40", "41")]  # exercise, its answer, a usual mistake
SOLVED_ANSWERS = {exercise: right for exercise, right, _ in TAKEN}
USUAL_MISTAKES = {exercise: wrong for exercise, _, wrong in TAKEN}
QUESTION = """**Exercise {n}.** How much?

<details><summary>Hint</summary>

Think.
</details>

<details><summary>Solution</summary>

It is a secret.
</details>"""


@pytest.fixture(scope="module")
def builder():
    return script("teaching/build_exercises.py")


def solved_notebook(folder: Path) -> Path:
    """A notebook with three of the course's exercises."""
    cells = [nbformat.v4.new_code_cell("from femur_lib.course.exercises import check", id="first")]
    for n, (exercise, answer) in enumerate(SOLVED_ANSWERS.items(), start=1):
        cells.append(nbformat.v4.new_markdown_cell(QUESTION.format(n=n), id=f"exercise-{n}"))
        source = f'mine = {answer}\n\ncheck("{exercise}", mine)'
        marks = {"tags": ["solution"], "stub": "mine = ..."}
        cells.append(nbformat.v4.new_code_cell(source, id=f"exercise-{n}-answer", metadata=marks))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / f"{NAME}.ipynb")
    return folder / f"{NAME}.ipynb"


@pytest.mark.parametrize("path", SOLVED, ids=lambda p: p.stem)
def test_each_exercise_is_a_cell_to_fill_in_and_a_locked_one_worth_a_point(builder, path):
    made = builder.assignment(path)
    nbformat.validate(made)
    checks = [c for c in nbformat.read(path, 4).cells if "solution" in c.metadata.get("tags", [])]
    cells = [c for c in made.cells if "nbgrader" in c.metadata]
    assert [c.metadata.nbgrader.grade for c in cells] == [False, True] * len(checks)
    assert len({c.id for c in made.cells}) == len(made.cells)
    assert not any("<summary>Solution</summary>" in c.source for c in made.cells)
    for solved, answer, point in zip(checks, cells[::2], cells[1::2], strict=True):
        assert answer.source.startswith(solved.metadata.stub + "\n### BEGIN SOLUTION\n")
        assert answer.source.endswith(solved.source.splitlines()[-1])
        compile(answer.source + "\n" + point.source, "cell", "exec")


def fill_in(notebook: Path, answers: dict[str, str]) -> None:
    content = nbformat.read(notebook, 4)
    for cell in content.cells:
        for exercise, answer in answers.items():
            if cell.source.startswith("mine = ...") and f'check("{exercise}"' in cell.source:
                cell.source = cell.source.replace("mine = ...", f"mine = {answer}")
    nbformat.write(content, notebook)


CLASS = {"anna": dict(list(SOLVED_ANSWERS.items())[:1]), "berta": SOLVED_ANSWERS, "clara": USUAL_MISTAKES}


def run(folder: Path, *command: str) -> None:
    scripts = str(Path(sys.executable).parent)  # nbgrader looks for alembic on the PATH
    paths = {"PATH": scripts + os.pathsep + os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder, env=os.environ | paths, capture_output=True, text=True, check=False, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.notebook
def test_a_class_is_graded_by_nbgrader_as_its_own_checks_say(builder, tmp_path, monkeypatch):
    api = pytest.importorskip("nbgrader.api", reason="nbgrader is not installed (pip install nbgrader)")
    (tmp_path / "notebooks").mkdir()
    solved_notebook(tmp_path / "notebooks")
    monkeypatch.setattr(builder, "ROOT", tmp_path)
    course = tmp_path / "nbgrader"
    assert builder.main(["--nbgrader", "--out", str(course)]) == 0
    run(course, "nbgrader", "generate_assignment", NAME)
    released = (course / "release" / NAME / f"{NAME}.ipynb").read_text("utf-8")
    answers_in_it = [f"mine = {answer}" for answer in SOLVED_ANSWERS.values()]
    assert not [hidden for hidden in ("SOLUTION", "a secret", *answers_in_it) if hidden in released]
    for who, answers in CLASS.items():
        submitted = course / "submitted" / who / NAME / f"{NAME}.ipynb"
        submitted.parent.mkdir(parents=True)
        submitted.write_text(released, "utf-8")
        fill_in(submitted, answers)
        exercises = tmp_path / who / "exercises"
        assert builder.main(["--out", str(exercises)]) == 0
        fill_in(exercises / f"{NAME}.ipynb", answers)
        monkeypatch.chdir(exercises)  # as a kernel has it that was started there
        space: dict = {}
        for cell in nbformat.read(f"{NAME}.ipynb", 4).cells:
            if cell.cell_type == "code":
                exec(cell.source, space)
    run(course, "nbgrader", "autograde", NAME)
    with api.Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        points = {who: book.find_submission(NAME, who).score for who in CLASS}
    assert points == {"anna": 1, "berta": 3, "clara": 0}
    right = (tries(read_class(tmp_path / who for who in CLASS)) > 0).sum(axis=1)
    assert right.to_dict() == points
