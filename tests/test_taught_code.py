"""What a notebook writes out to teach it is what the library does, on more inputs than the notebook tries."""

from functools import partial

import pytest
import taught_masks  # noqa: F401  these two hold the comparisons
import taught_networks  # noqa: F401
from taught import CELLS, CHECKS, MISTAKES, TAUGHT, run
from test_notebooks import NOTEBOOKS


@pytest.mark.parametrize("cell", TAUGHT)
def test_a_taught_cell_does_what_the_library_does(cell):
    CHECKS[cell](partial(run, cell))


@pytest.mark.parametrize("cell", TAUGHT)
def test_a_wrong_taught_cell_is_noticed(cell):
    right, wrong = MISTAKES[cell]
    source = CELLS[cell].source
    assert right in source
    with pytest.raises(AssertionError):
        CHECKS[cell](partial(run, cell, source.replace(right, wrong)))


def test_every_taught_cell_has_a_comparison_and_every_notebook_but_the_first_a_taught_cell():
    assert sorted(CHECKS) == TAUGHT
    assert {cell[:4] for cell in TAUGHT} == {f"nb{path.name[:2]}" for path in NOTEBOOKS[1:]}
