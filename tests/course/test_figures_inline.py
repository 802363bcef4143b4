"""Every notebook has its figures, whatever the environment says of matplotlib."""

from pathlib import Path
from types import SimpleNamespace

import matplotlib
import nbformat
import pytest

from femur_lib.course import show_figures_inline

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("kernel", "backend", "asked"),
    [
        (object(), "agg", [("matplotlib", "inline")]),  # MPLBACKEND=agg, as on clusters
        (object(), "svg", [("matplotlib", "inline")]),
        (object(), "module://matplotlib_inline.backend_inline", []),
        (object(), "module://ipympl.backend_nbagg", []),  # somebody's own choice
        (None, "agg", []),  # IPython in a terminal
    ],
)
def test_a_kernel_that_would_show_no_figure_is_asked_to(monkeypatch, kernel, backend, asked):
    done: list[tuple[str, str]] = []
    shell = SimpleNamespace(kernel=kernel, run_line_magic=lambda *words: done.append(words))
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    monkeypatch.setattr(matplotlib, "get_backend", lambda: backend)
    show_figures_inline()
    assert done == asked


@pytest.mark.parametrize("path", sorted(ROOT.glob("*/*.ipynb")), ids=lambda path: path.stem)
def test_every_notebook_asks_before_it_draws(path):
    first = next(cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    assert "from femur_lib.course" in first.source
