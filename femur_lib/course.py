"""Where the notebooks find their things, from whatever folder they are started."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from femur_lib.cohort import Cohort, read_cohort
from femur_lib.experiments import Profile, load_profile, run_name
from femur_lib.files import damage, whole, write_csv

if TYPE_CHECKING:  # a study looks here often, and draws nothing
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Workspace:
    """A profile, the cohort it works on, and the folder that runs go to."""

    profile: Profile
    cohort: Cohort
    runs: Path


def home() -> Path:
    """The checkout the notebooks belong to; where the library was installed without one, the working directory."""
    checkout = Path(__file__).parents[1]
    return checkout if (checkout / "notebooks").is_dir() else Path.cwd()


def workspace(
    profile: str = "quick", cohort: str | os.PathLike = "", runs: str | os.PathLike = "", progress=print
) -> Workspace:
    """What every notebook begins with.

    Args:
        profile: a name such as "quick", or the path of a YAML file.
        cohort: a cohort's folder; empty takes synthetic hips, made on first use.
        runs: the folder for runs; empty takes ``runs/<profile>`` in the checkout.
    """
    settings = load_profile(profile)
    runs = Path(runs) if runs else home() / "runs" / settings.profile
    folder = Path(cohort) if cohort else runs / "cohort"
    if not cohort and not folder.exists():
        from femur_lib.phantom.cohort import SIZES, make_cohort

        size = settings.profile if settings.profile in SIZES else "quick"
        make_cohort(folder, settings.subjects, size, settings.seed, progress=progress)
    return Workspace(settings, read_cohort(folder), runs)


def trained(space: Workspace, experiment: str, fold: int = 0, epochs: int = 0, progress=print):
    """The run of one network and fold: found if it is finished, gone on with if it was stopped, else trained.

    Args:
        space: from :func:`workspace`.
        experiment: the network's name.
        fold: which fold is held out.
        epochs: instead of the profile's; 0 leaves them. Such a run gets a folder of its own.
        progress: gets one line an epoch.

    Returns:
        A :class:`femur_lib.runs.Run`.
    """
    from femur_lib.runs import load_run
    from femur_lib.training import train

    name = run_name(experiment, fold) + (f"-{epochs}epochs" if epochs else "")
    folder = train(space.cohort, space.runs / name, experiment, space.profile, fold, epochs or None, progress)
    return load_run(folder)


def keep(folder: str | os.PathLike, tables: Mapping[str, pd.DataFrame], figures: "Mapping[str, Figure]") -> None:
    """Write tables as CSV and figures as PNG, by their names, into a folder, for use elsewhere."""
    for name, table in tables.items():
        flat = table.set_axis([" ".join(filter(None, c)) if isinstance(c, tuple) else c for c in table.columns], axis=1)
        counted = isinstance(flat.index, pd.RangeIndex)  # rows without names
        write_csv(Path(folder) / f"{name}.csv", flat if counted else flat.reset_index())
    for name, figure in figures.items():
        with whole(Path(folder) / f"{name}.png") as half_written:
            figure.savefig(half_written, dpi=150)


def evaluated(space: Workspace, run, progress=print):
    """Scores and curves of a run on every scan it was not trained on: :func:`femur_lib.evaluation.evaluate`."""
    from femur_lib.evaluation import evaluate

    return evaluate(space.cohort, run, progress)


def evaluated_run(space: Workspace, experiment: str, fold: int = 0, progress=print) -> Path:
    """The folder of a trained and evaluated run: found, or made now. No network stays in memory."""
    from femur_lib.evaluation import SEAL, evaluate
    from femur_lib.runs import load_run
    from femur_lib.training import train

    folder = train(
        space.cohort, space.runs / run_name(experiment, fold), experiment, space.profile, fold, None, progress
    )
    if damage(folder, SEAL):
        evaluate(space.cohort, load_run(folder), progress)
    return folder
