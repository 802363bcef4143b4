"""Code that notebooks write out to teach it, taken out of them to be compared with the library.

A cell tagged ``taught`` is run after its notebook's imports: its functions alone, or, of a cell that defines none, its
lines that set names, without those whose names are given.
"""

import ast
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace

import numpy as np
from test_notebooks import NOTEBOOKS, cells

CELLS = {cell.id: cell for path in NOTEBOOKS for cell in cells(path, "code")}
TAUGHT = sorted(name for name, cell in CELLS.items() if "taught" in cell.metadata.get("tags", []))
CHECKS: dict[str, Callable] = {}
MISTAKES: dict[str, tuple[str, str]] = {}


def checks(cell: str, right: str, wrong: str):
    """Mark a function as the comparison of a taught cell; it must notice a mistake, ``wrong`` in place of ``right``."""

    def mark(check: Callable) -> Callable:
        CHECKS[cell], MISTAKES[cell] = check, (right, wrong)
        return check

    return mark


@cache
def imports(notebook: str) -> dict:
    """What a notebook's first cell of code imports."""
    tree = ast.parse(CELLS[f"{notebook}-imports"].source)
    tree.body = [line for line in tree.body if isinstance(line, ast.Import | ast.ImportFrom)]
    names: dict = {}
    exec(compile(tree, f"{notebook}-imports", "exec"), names)
    return names


def run(cell: str, source: str = "", after: tuple[str, ...] = (), **given) -> SimpleNamespace:
    """The names that a taught cell leaves behind, if ``given`` and the cells ``after`` which it comes were there."""
    names = imports(cell.partition("-")[0]) | given
    for one in (*after, cell):
        tree = ast.parse((source if one == cell else "") or CELLS[one].source)
        functions: list[ast.stmt] = [line for line in tree.body if isinstance(line, ast.FunctionDef)]
        tree.body = functions or [line for line in tree.body if isinstance(line, ast.Assign) and not sets(line, given)]
        exec(compile(tree, f"cell {one}", "exec"), names)
    return SimpleNamespace(**names)


def sets(line: ast.Assign, given: dict) -> bool:
    """Whether a line gives values to names that were given."""
    names = {node.id for target in line.targets for node in ast.walk(target) if isinstance(node, ast.Name)}
    return names <= set(given)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)
