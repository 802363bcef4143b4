"""What the notebooks begin with: their cohort and their runs, found from any folder."""

import ast
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import atomic_write, can_write, find_damage, write_csv
from femur_lib._runtime.words import Progress
from femur_lib.cohort import Cohort, read_cohort
from femur_lib.config import Profile, load_profile, own_folder, run_name

if TYPE_CHECKING:  # a study looks here often, and needs neither pictures nor networks for it
    from matplotlib.figure import Figure

    from femur_lib.evaluation import Evaluation
    from femur_lib.runs import Run


KINDS = {str: "text", int: "a whole number", float: "a number", bool: "True or False"}
INJECTED = "# Parameters\n"  # how the cell begins in which papermill writes what is given with -p


def check_parameters(names: Mapping[str, Any]) -> None:
    """Check a notebook's parameters before anything is done with them.

    Args:
        names: the notebook's ``globals()``, called for in the first cell of code after the parameters, whose
            annotations say what each must be.

    Raises:
        DataError: a parameter is unknown or of another kind; or there is no such profile, fold or network.
    """
    declared = names["__annotations__"]
    for cell in names.get("In", ()):
        given = [t.id for s in ast.parse(cell).body for t in s.targets] if cell.startswith(INJECTED) else []
        unknown = [name for name in given if name not in declared]
        if unknown:
            raise DataError(
                f"{', '.join(unknown)} is not a parameter of this notebook; {', '.join(declared)} were expected.",
                "Correct the name.",
            )
    for name, kind in declared.items():
        value = names[name]
        fits = isinstance(value, (str, os.PathLike) if kind is str else kind)
        if not fits or (kind is not bool and isinstance(value, bool)):
            how = "Write it in quotes; for papermill, give it with -r instead of -p." if kind is str else "Correct it."
            raise DataError(f"The parameter {name} is {value!r}; {KINDS[kind]} was expected.", how)
    profile = load_profile(names["profile"])
    if "fold" in declared and not 0 <= names["fold"] < profile.folds:
        raise DataError(
            f"The parameter fold is {names['fold']}; 0 to {profile.folds - 1} was expected.", "Folds count from 0."
        )
    if "folds" in declared and names["folds"] < 2:
        raise DataError(f"The parameter folds is {names['folds']}; at least 2 was expected.", "Ask for more.")
    named = f"{names.get('network', '') or names.get('networks', '')}".split() or profile.networks
    if not named and {"fold", "folds"} & set(declared):
        raise DataError(
            f"The profile {names['profile']} names no networks, of which this notebook needs one.",
            "Name some in it (networks).",
        )
    for network in named:
        profile.architecture(network)


@dataclass(frozen=True)
class Workspace:
    """A profile, the cohort it works on, and the folder that runs go to."""

    profile: Profile
    cohort: Cohort
    runs: Path

    @property
    def pages(self) -> Path:
        """Where a notebook writes what is no run: beside the runs, or, if they can only be read, in the user's own."""
        return self.runs if can_write(self.runs) else own_folder(f"runs/{self.profile.profile}")


def workspace(profile: str = "quick", cohort: str | os.PathLike = "", runs: str | os.PathLike = "") -> Workspace:
    """What every notebook begins with.

    Args:
        profile: a name such as "quick", or the path of a YAML file.
        cohort: the folder of a cohort; empty takes synthetic hips, which are made on first use.
        runs: the folder for runs; empty takes ``runs/<profile>`` (:func:`femur_lib.config.own_folder`).
    """
    settings = load_profile(profile)
    runs = Path(runs) if runs else own_folder(f"runs/{settings.profile}")
    folder = Path(cohort) if cohort else runs / "cohort"
    if not cohort:
        from femur_lib.phantom.cohort import make_once

        make_once(folder, settings.profile, settings.subjects, settings.seed, print)
    return Workspace(settings, read_cohort(folder), runs)


def trained(space: Workspace, network: str, fold: int = 0, epochs: int = 0) -> "Run":
    """The run of one network and fold: found if it is finished, continued if it was stopped, otherwise trained.

    Args:
        space: from :func:`workspace`.
        network: its name.
        fold: the fold that is held out.
        epochs: how many, instead of the profile's; 0 leaves them. Such a run has a folder of its own.
    """
    from femur_lib.runs import load_run
    from femur_lib.training import train

    name = run_name(network, fold) + (f"-{epochs}epochs" if epochs else "")
    return load_run(train(space.cohort, space.runs / name, network, space.profile, fold, epochs or None))


def evaluated(space: Workspace, run: "Run", progress: Progress = print) -> "Evaluation":
    """Scores and curves of a run on every scan that it was not trained on: :func:`femur_lib.evaluation.evaluate`."""
    from femur_lib.evaluation import evaluate

    return evaluate(space.cohort, run, progress)


def evaluated_run(space: Workspace, network: str, fold: int = 0) -> Path:
    """The folder of a trained and evaluated run, found or made now. No network stays in memory."""
    from femur_lib.runs import SEAL, load_run
    from femur_lib.training import train

    folder = train(space.cohort, space.runs / run_name(network, fold), network, space.profile, fold)
    if find_damage(folder, SEAL):
        evaluated(space, load_run(folder))
    return folder


def keep(folder: str | os.PathLike, tables: Mapping[str, pd.DataFrame], figures: "Mapping[str, Figure]") -> None:
    """Write tables as CSV and figures as PNG, by their names, into a folder, to be used elsewhere."""
    for name, table in tables.items():
        flat = table.set_axis([" ".join(filter(None, c)) if isinstance(c, tuple) else c for c in table.columns], axis=1)
        counted = isinstance(flat.index, pd.RangeIndex)  # its rows have no names
        write_csv(Path(folder) / f"{name}.csv", flat if counted else flat.reset_index())
    for name, figure in figures.items():
        with atomic_write(Path(folder) / f"{name}.png") as half_written:
            figure.savefig(half_written, dpi=150)
