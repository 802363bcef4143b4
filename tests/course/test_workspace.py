"""Notebooks say what is wrong with their parameters before they do anything."""

from pathlib import Path

import nbformat
import pytest
import yaml

from femur_lib._runtime.errors import DataError
from femur_lib.course.workspace import check_parameters

ROOT = Path(__file__).parents[2]
DECLARED = {"profile": str, "cohort": str, "runs": str, "fold": int, "folds": int, "network": str}
VALUES = {"profile": "quick", "cohort": "", "runs": "", "fold": 0, "folds": 2, "network": ""}


def notebook(**changed) -> dict:
    return {"__annotations__": DECLARED, "In": ["", "import os", "%matplotlib inline"], **VALUES, **changed}


def test_right_parameters_pass():
    check_parameters(notebook())
    check_parameters(notebook(cohort=Path("hips"), In=["", '# Parameters\nfold = 0\nruns = "r"\n'], fold=3))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"runs": 2024}, r"runs is 2024; text was expected\. Write it in quotes"),
        ({"fold": 1.0}, r"fold is 1\.0; a whole number was expected"),
        ({"fold": True}, "fold is True; a whole number"),
        ({"fold": "1"}, "fold is '1'; a whole number"),
        ({"fold": 4}, "fold is 4; 0 to 3 was expected"),
        ({"folds": 1}, "folds is 1; at least 2 was expected"),
        ({"profile": "fast"}, "There is no profile fast"),
        ({"network": "4d"}, "4d is not the name of a network"),
        ({"In": ["", "# Parameters\nfoldd = 1\n"], "foldd": 1}, "foldd is not a parameter of this notebook; profile, "),
    ],
)
def test_a_wrong_parameter_is_said(changed, says):
    with pytest.raises(DataError, match=says):
        check_parameters(notebook(**changed))


def test_a_profile_without_networks_is_refused_where_one_is_trained(tmp_path):
    file = tmp_path / "none.yaml"
    file.write_text(yaml.safe_dump({"profile": "none"}))
    with pytest.raises(DataError, match=r"none\.yaml names no networks"):
        check_parameters(notebook(profile=file))
    check_parameters(notebook(profile=file, network="3d-f2-l1"))
    few = {name: kind for name, kind in DECLARED.items() if name not in ("fold", "folds")}
    check_parameters(notebook(profile=file) | {"__annotations__": few})


@pytest.mark.parametrize(
    "path", [*sorted(ROOT.glob("notebooks/*.ipynb")), ROOT / "workflow/train_one.ipynb"], ids=lambda p: p.stem
)
def test_every_notebook_checks_its_parameters_in_the_first_cell_after_them(path):
    code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    (at,) = [k for k, cell in enumerate(code) if "parameters" in cell.metadata.get("tags", [])]
    assert code[at + 1].source.startswith("check_parameters(globals())\n")
    declared: dict = {}
    exec(code[at].source, declared)
    check_parameters(declared)
