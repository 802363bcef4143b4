"""What the notebooks begin with: their cohort and their runs, found from any folder."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from femur_lib._runtime.files import atomic_write, can_write, find_damage, write_csv
from femur_lib._runtime.words import Progress
from femur_lib.cohort import Cohort, read_cohort
from femur_lib.config import Profile, load_profile, own_folder, run_name

if TYPE_CHECKING:  # a study looks here often, and needs neither pictures nor networks for it
    from matplotlib.figure import Figure

    from femur_lib.evaluation import Evaluation
    from femur_lib.runs import Run


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


def workspace(
    profile: str = "quick", cohort: str | os.PathLike = "", runs: str | os.PathLike = "", progress: Progress = print
) -> Workspace:
    """What every notebook begins with.

    Args:
        profile: a name such as "quick", or the path of a YAML file.
        cohort: the folder of a cohort; empty takes synthetic hips, which are made on first use.
        runs: the folder for runs; empty takes ``runs/<profile>`` (:func:`femur_lib.config.own_folder`).
        progress: called with one line for each hip that is made.
    """
    settings = load_profile(profile)
    runs = Path(runs) if runs else own_folder(f"runs/{settings.profile}")
    folder = Path(cohort) if cohort else runs / "cohort"
    if not cohort:
        from femur_lib.phantom.cohort import make_once

        make_once(folder, settings.profile, settings.subjects, settings.seed, progress)
    return Workspace(settings, read_cohort(folder), runs)


def trained(space: Workspace, network: str, fold: int = 0, epochs: int = 0, progress: Progress = print) -> "Run":
    """The run of one network and fold: found if it is finished, continued if it was stopped, otherwise trained.

    Args:
        space: from :func:`workspace`.
        network: its name.
        fold: the fold that is held out.
        epochs: how many, instead of the profile's; 0 leaves them. Such a run has a folder of its own.
        progress: called with one line for each epoch.
    """
    from femur_lib.runs import load_run
    from femur_lib.training import train

    name = run_name(network, fold) + (f"-{epochs}epochs" if epochs else "")
    return load_run(train(space.cohort, space.runs / name, network, space.profile, fold, epochs or None, progress))


def evaluated(space: Workspace, run: "Run", progress: Progress = print) -> "Evaluation":
    """Scores and curves of a run on every scan that it was not trained on: :func:`femur_lib.evaluation.evaluate`."""
    from femur_lib.evaluation import evaluate

    return evaluate(space.cohort, run, progress)


def evaluated_run(space: Workspace, network: str, fold: int = 0, progress: Progress = print) -> Path:
    """The folder of a trained and evaluated run, found or made now. No network stays in memory."""
    from femur_lib.evaluation import SEAL
    from femur_lib.runs import load_run
    from femur_lib.training import train

    folder = train(space.cohort, space.runs / run_name(network, fold), network, space.profile, fold, None, progress)
    if find_damage(folder, SEAL):
        evaluated(space, load_run(folder), progress)
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
