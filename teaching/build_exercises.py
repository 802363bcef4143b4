"""Make exercises/NN_name.ipynb from notebooks/NN_name.ipynb: the same notebook without the worked answers.

A cell tagged ``solution`` ends with its check. What stands above the check is moved into the folded solution of the
exercise, and the cell's ``stub`` takes its place. So it does in a cell tagged ``prediction``, whose answer the notebook
gives further down. A file that a learner has worked in is kept. What checks and predictions said is kept beside the
notebooks, in ``progress.jsonl`` (``femur course progress`` shows it).
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import nbformat

from femur_lib._runtime.files import atomic_write
from femur_lib.config import own_folder
from femur_lib.course.exercises.progress import RECORD

ROOT = Path(__file__).parents[1]
NOTE = "*Made from notebooks/{name} by `make exercises`, which makes it again unless you have changed it.*"


def parts(cell) -> tuple[str, str, str]:
    """The worked answer in a solution cell, the blank lines after it, and the check."""
    above, check = cell.source.rsplit("\n", 1)
    return above.rstrip(), "\n" * (len(above) - len(above.rstrip()) + 1), check


def fingerprint(notebook) -> str:
    """SHA-256 of the sources of all cells; their outputs do not count."""
    said = [[cell.cell_type, cell.source] for cell in notebook.cells]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def exercise(path: Path):
    """The notebook to work in, made from the solved one."""
    notebook = nbformat.read(path, as_version=4)
    for question, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
        if "solution" in cell.metadata.get("tags", []):
            answer, gap, check = parts(cell)
            cell.source = cell.metadata.pop("stub") + gap + check
            cell.metadata.pop("tags")
            before, _, after = question.source.rpartition("</details>")
            question.source = f"{before}\n```python\n{answer}\n```\n</details>{after}"
    for cell in notebook.cells:
        if "prediction" in cell.metadata.get("tags", []):
            cell.source = cell.metadata.pop("stub")
            cell.metadata.pop("tags")
    note = nbformat.v4.new_markdown_cell(NOTE.format(name=path.name), id="made-from")
    notebook.cells.insert(0, note)
    notebook.metadata["made_from"] = {"name": path.name, "sha256": fingerprint(notebook)}
    return notebook


def worked_in(path: Path) -> bool:
    """Whether somebody has changed a file since it was written here; a file that cannot be read counts as changed."""
    try:
        notebook = nbformat.read(path, as_version=4)
        return fingerprint(notebook) != notebook.metadata["made_from"]["sha256"]
    except (KeyError, TypeError, ValueError, nbformat.ValidationError):
        return True


def main(arguments: list[str] | None = None) -> int:
    """Make every exercise notebook that nobody has worked in, and say which ones were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=own_folder("exercises"), help="the folder to write to")
    parser.add_argument(
        "--overwrite", action="store_true", help="also replace what somebody has worked in; their answers are lost"
    )
    a = parser.parse_args(arguments)
    kept = []
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        out = a.out / path.name
        made = exercise(path)
        if out.exists() and not a.overwrite:
            if worked_in(out):
                kept.append(path.name)
                continue
            if nbformat.read(out, as_version=4).metadata["made_from"] == made.metadata["made_from"]:
                continue  # the same, perhaps with outputs by now
        with atomic_write(out) as half_written:
            half_written.write_text(nbformat.writes(made) + "\n", "utf-8")
    (a.out / RECORD).touch()
    print(f"{a.out}: " + (f"kept, since somebody has worked in them: {', '.join(kept)}" if kept else "up to date"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
