"""Build the course's site from the notebooks of a finished run: ``make site``, and the last step of ``make run``.

    python site/build.py RUNS OUT

RUNS/notebooks has the notebooks as they were executed; they are shown here, and never executed. The pages of this
checkout (PAPER.md, docs/, data/, teaching/ and so on) are copied beside them, in the folders that they have here, so
that their links to one another stay as they are. A link to a cell of a notebook leads to that cell. A link to a file
that is no page leads to the repository where its address is known (see conf.py), and else to a copy of the file.

The site appears whole or not at all. It works without a connection, and asks nothing of other machines.
"""

import argparse
import ast
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import jinja2
import nbformat
from nbformat import NotebookNode
from sphinx.cmd.build import build_main

import femur_lib

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "teaching"))
from build_quiz import parse  # noqa: E402

FOLDERS = ("benchmarks", "data", "femur_lib/weights", "results", "workflow")
PAGES = ("PAPER.md", "CONTRIBUTING.md", "docs/*.md", "teaching/**/*.md", *(f"{folder}/README.md" for folder in FOLDERS))
SLIDES = ROOT / "build" / "slides"
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<to>[^)\s]+)\)")
WIDGET = "application/vnd.jupyter.widget-view+json"
NO_WIDGET = "A widget stands here when the notebook runs in JupyterLab. The picture before it shows the same."
FOLDED = {  # cells with these tags stay folded until the reader opens them
    "solution": "Show our answer",
    "prediction": "Show the answer",
    "parameters": "Show the parameters",
    "hide-input": "Show the code",
}
NOT_SHOWN = ("femur_lib._runtime", "femur_lib.cli", "femur_lib.course.exercises.")


# Notebooks


def shown(output: NotebookNode, folder: str) -> NotebookNode:
    """An output as a page can show it: a sentence for a widget, and no path of the machine that made it."""
    if WIDGET in output.get("data", {}):
        output.data = NotebookNode({"text/html": f"<p><em>{NO_WIDGET}</em></p>"})
    texts = [(output.data, kind) for kind in output.get("data", {}) if kind.startswith("text/")]
    for holder, key in [*texts, *([(output, "text")] if "text" in output else [])]:
        holder[key] = holder[key].replace(folder, "")
        if key == "text/html":
            holder[key] = holder[key].replace(" ± ", "&nbsp;±&nbsp;")
    return output


def page_of(notebook: NotebookNode) -> NotebookNode:
    """A notebook as a page: some cells folded, figures described in words, and each cell with its id as an anchor."""
    runs = notebook.metadata.get("papermill", {}).get("parameters", {}).get("runs", "")
    folder = f"{Path(runs).parents[1]}/" if runs else "\0"
    cells = []
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags:
            continue
        anchor = f"({cell.id})=\n"
        if cell.cell_type == "markdown":
            cell.source = anchor + cell.source
        else:
            cells.append(nbformat.v4.new_markdown_cell(anchor))
            cell.outputs = [shown(output, folder) for output in cell.outputs]
            cell.metadata["mystnb"] = {}
            if "alt" in cell.metadata:
                cell.metadata.mystnb["image"] = {"alt": cell.metadata.alt}
            if why := next((words for tag, words in FOLDED.items() if tag in tags), None):
                cell.metadata.tags = [*tags, "hide-input"]
                cell.metadata.mystnb["code_prompt_show"] = why
        cells.append(cell)
    notebook.cells = cells
    notebook.metadata.pop("widgets", None)
    return notebook


# Links


def slug(heading: str) -> str:
    """A heading's anchor, from the heading or from the anchor that JupyterLab gives it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def relink(text: str, page: str, pages: set[str], cells: set[str], source: Path) -> str:
    """The text with links that work on the site, and 0.9 ± 0.1 in one line; files that it names go to ``source``."""
    folder = PurePosixPath(page).parent
    repository = os.environ.get("REPOSITORY", "").rstrip("/")

    def link(found: re.Match) -> str:
        if re.match(r"[a-z]+:", found["to"]):
            return found[0]
        path, _, anchor = unquote(found["to"]).partition("#")
        name = os.path.relpath(ROOT / folder / path, ROOT) if path else page
        name = f"{name}/README.md" if f"{name}/README.md" in pages else name
        if name in pages:
            to = f"#{anchor}" if anchor in cells else os.path.relpath(name, folder) + (anchor and f"#{slug(anchor)}")
        elif name == "README.md":
            to = os.path.relpath("index.md", folder)
        elif repository and not found["image"]:
            to = f"{repository}/{'tree' if (ROOT / name).is_dir() else 'blob'}/main/{name}"
        elif (ROOT / name).is_file() and not name.endswith(".ipynb"):  # Sphinx would take it for a page
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
            to = os.path.relpath(name, folder)
        else:
            return found["text"]
        return f"{found['image']}[{found['text']}]({to})"

    return LINK.sub(link, text.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"))


# Pages that are made


def quiz(text: str) -> str:
    """The quiz with choices to click on; each then says why it is right or wrong (``_static/site.js``)."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((HERE / "question.md.j2").read_text("utf-8"))
    start, parts = parse(text)
    return "\n\n".join([start, *(template.render(part) for part in parts)])


def slides(text: str) -> str:
    """A page that leads to the slides, in the place of their source, and in whatever state they are."""
    template = jinja2.Template((HERE / "slides.md.j2").read_text("utf-8"), trim_blocks=True)
    return template.render(files=[path.name for path in SLIDES.glob("slides.*")])


def rooms() -> dict[str, list[str]]:
    """The modules of the library by the first part of their names, in the order in which ``femur_lib`` names them."""
    files = [path for path in (ROOT / "femur_lib").rglob("*.py") if "__pycache__" not in path.parts]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]
    grouped: dict[str, list[str]] = {}
    for name in sorted(name for name in names if "." in name and not name.startswith(NOT_SHOWN)):
        grouped.setdefault(name.split(".")[1], []).append(name)
    return dict(sorted(grouped.items(), key=lambda room: (femur_lib.__doc__ or "").find(f"``{room[0]}``")))


def reference(source: Path) -> None:
    """A page for each room of the library, which autodoc fills from the docstrings."""
    folder = source / "api"
    folder.mkdir()
    rows = []
    for room, modules in rooms().items():
        text = [f"# femur_lib.{room}\n"]
        for name in modules:
            title = "" if name == f"femur_lib.{room}" else f"## {name.removeprefix('femur_lib.')}\n\n"
            text.append(f"{title}```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```\n")
        (folder / f"{room}.md").write_text("\n".join(text), "utf-8")
        module = ROOT / "femur_lib" / room
        file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
        (said, *_) = (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").splitlines()
        rows.append(f"| [{room}]({room}.md) | {said} |")
    template = jinja2.Template((HERE / "api.md.j2").read_text("utf-8"), keep_trailing_newline=True)
    (folder / "index.md").write_text(template.render(rows=rows, rooms=list(rooms())), "utf-8")


def front(notebooks: dict[str, NotebookNode], profile: str) -> str:
    """The first page; it takes from README.md what a learner will be able to do, and what each notebook is about."""
    readme = (ROOT / "README.md").read_text("utf-8")
    (able,) = re.findall(r"^After the eleven notebooks you will be able to\n\n((?:- .+\n(?:  .+\n)*)+)", readme, re.M)
    rows = re.findall(r"^\| \[\w+\]\(notebooks/(\S+)\) \| (.+?) \| .+? \| (\d+) \|", readme, re.M)
    cards = [
        {
            "name": name,
            "title": notebooks[name].cells[0].source.splitlines()[0].lstrip("# "),
            "will": will,
            "minutes": n,
        }
        for name, will, n in rows
        if name in notebooks
    ]
    template = jinja2.Template((HERE / "index.md.j2").read_text("utf-8"), keep_trailing_newline=True)
    return template.render(able=able, cards=cards, profile=profile, notebooks=list(notebooks))


# The site


def gather(runs: Path, source: Path) -> None:
    """Write all that Sphinx reads to a new folder."""
    if not (runs / "notebooks").is_dir():
        raise SystemExit(f"{runs} holds no notebooks/; the folder of a finished run was expected. Do make run first.")
    notebooks = {
        path.name: nbformat.read(path, as_version=4) for path in sorted((runs / "notebooks").glob("[0-9]*.ipynb"))
    }
    cells = {cell.id for notebook in notebooks.values() for cell in notebook.cells}
    files = sorted({path for pattern in PAGES for path in ROOT.glob(pattern)})
    pages = {path.relative_to(ROOT).as_posix() for path in files} | {f"notebooks/{name}" for name in notebooks}
    made = {"teaching/quiz.md": quiz, "teaching/slides.md": slides}
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        text = made.get(name, str)(path.read_text("utf-8"))
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(relink(text, name, pages, cells, source), "utf-8")
    (source / "notebooks").mkdir()
    first = front(notebooks, runs.name)
    for name, notebook in notebooks.items():
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = relink(cell.source, f"notebooks/{name}", pages, cells, source)
        nbformat.write(page_of(notebook), source / "notebooks" / name)
    reference(source)
    pages.add("api/index.md")
    (source / "index.md").write_text(relink(first, "index.md", pages, cells, source), "utf-8")


def main(runs: Path, out: Path) -> int:
    """Gather what is shown, let Sphinx write the site beside ``out``, and put it in the place of ``out``."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        source, built = Path(scratch) / "source", Path(scratch) / "site"
        source.mkdir()
        gather(runs, source)
        if failed := build_main(["-q", "-j", "2", "-c", str(HERE), str(source), str(built), "-d", f"{scratch}/read"]):
            return failed
        if SLIDES.is_dir():
            shutil.copytree(SLIDES, built / "slides")
        if out.exists():
            shutil.rmtree(out)
        built.rename(out)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the folder that make run worked in, such as runs/quick")
    parser.add_argument("out", type=Path, help="the folder to write the site to; what was there is replaced")
    a = parser.parse_args()
    sys.exit(main(a.runs, a.out))
