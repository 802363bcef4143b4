"""Write a notebook's cells that are tagged "study" or "parameters" into a notebook of their own."""

import sys
from pathlib import Path

import nbformat

from femur_lib.files import whole


def excerpt(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without what only teaches."""
    kept = [c for c in notebook.cells if {"study", "parameters"} & set(c.metadata.get("tags", []))]
    return nbformat.from_dict({**notebook, "cells": kept})


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    with whole(target) as half_written:
        nbformat.write(excerpt(nbformat.read(source, as_version=4)), half_written)
