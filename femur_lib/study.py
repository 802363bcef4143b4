"""What a study consists of, every network of a profile on every fold; what of it is done, and what that took."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from femur_lib.course import home
from femur_lib.errors import DataError
from femur_lib.experiments import Profile, load_profile, run_name
from femur_lib.files import damage, whole
from femur_lib.records import ASIDE, compare
from femur_lib.words import duration


@dataclass(frozen=True)
class Job:
    """One network on one fold."""

    experiment: str
    fold: int
    folder: Path  # of its run
    work: float  # to compare times by
    state: str  # "finished", "stopped" (goes on where it was), "damaged", "to do", or "" where nobody looked
    seconds: float | None  # of training and scoring, where it is finished


@dataclass(frozen=True)
class Plan:
    """A study: its profile, as given and as read, its cohort and its folder of runs, and one job a training."""

    name: str
    profile: Profile
    cohort: str
    runs: Path
    jobs: tuple[Job, ...]

    @property
    def folder(self) -> Path:
        """Where the study keeps what belongs to no single run: executed notebooks, tables, times."""
        return self.runs / "study"

    @property
    def done(self) -> Path:
        """One small file for each finished training, for Snakemake to go by."""
        return self.folder / "done"

    @property
    def tables(self) -> Path:
        """The page that a study ends with."""
        return self.folder / "tables.html"

    @property
    def experiments(self) -> tuple[str, ...]:
        """The networks, in their order."""
        return tuple(dict.fromkeys(job.experiment for job in self.jobs))

    @property
    def folds(self) -> int:
        """How many folds are trained, from the first."""
        return len({job.fold for job in self.jobs})


def plan(
    profile: str | os.PathLike, cohort: str | os.PathLike = "", runs: str | os.PathLike = "", look: bool = True
) -> Plan:
    """What a study consists of, and how much of it is done.

    Args:
        profile: a name, or the path of a YAML file.
        cohort: a cohort's folder; empty makes synthetic hips beside the runs.
        runs: the folder that runs go to; empty is ``runs/<profile>`` in the checkout.
        look: at what is finished, which reads its files.

    Raises:
        DataError: no such profile, or one without networks, with fewer than two folds, with a network that cannot be
            built at its size, or with finished runs of other settings in its folder.
    """
    settings = load_profile(profile)
    name = str(Path(profile).resolve() if Path(profile).suffix in (".yaml", ".yml") else profile)
    folder = Path(runs).resolve() if runs else home() / "runs" / settings.profile
    experiments = settings.study or settings.experiments
    if not experiments:
        raise DataError(profile, "neither study nor experiments", "networks to train", "Name some in the profile.")
    for experiment in experiments:
        try:
            settings.cost(experiment)
        except ValueError as error:
            raise DataError(profile, f"{experiment}: {error}", "a size it can take", "Change the grid.") from None
    folds = min(settings.study_folds or settings.folds, settings.folds)
    if folds < 2:
        raise DataError(profile, "study_folds 1", "at least 2", "Tables of a cross-validation take two folds.")
    jobs = [look_at(settings, folder, experiment, fold, look) for fold in range(folds) for experiment in experiments]
    return Plan(name, settings, str(Path(cohort).resolve()) if cohort else "", folder, tuple(jobs))


def look_at(profile: Profile, runs: Path, experiment: str, fold: int, look: bool = True) -> Job:
    """A job, with its state as its files have it; without ``look`` the state is left open."""
    folder = runs / run_name(experiment, fold)
    state, seconds = "to do" if look else "", None
    if look and folder.exists():
        trained, scored = damage(folder, "run.json"), damage(folder, "evaluation.json")
        state = "damaged" if trained else "stopped" if scored else "finished"
        if state == "finished":
            records = [json.loads((folder / name).read_text()) for name in ("run.json", "evaluation.json")]
            wanted = {"experiment": experiment, "fold": fold, "profile": profile.model_dump(mode="json")}
            compare(folder, records[0], wanted)
            seconds = records[0]["seconds_training"] + records[1]["seconds"]
    elif look and folder.with_name(folder.name + ".partial").exists():
        state = "stopped"
    return Job(experiment, fold, folder, profile.work(experiment), state, seconds)


def expected_seconds(job: Job, jobs: Sequence[Job]) -> float | None:
    """How long a job takes, judged by finished ones: the same network's if there are any, else others by their work."""
    same = [j.seconds for j in jobs if j.seconds and j.experiment == job.experiment]
    if same:
        return median(same)
    alike = [j for j in jobs if j.seconds and j.experiment[:2] == job.experiment[:2]] or [j for j in jobs if j.seconds]
    return job.work * median(j.seconds / j.work for j in alike) if alike else None  # type: ignore[operator]


def describe(study: Plan) -> str:
    """What is done, what would be done, and how long that takes by what was measured here before."""
    done = [job for job in study.jobs if job.state == "finished"]
    lines = [
        f"{len(study.jobs)} trainings: {len(study.experiments)} networks, {study.folds} of {study.profile.folds} folds"
    ]
    lines += [f"runs: {study.runs}; cohort: {study.cohort or 'synthetic hips'}"]
    for experiment in study.experiments:
        mine = [job for job in study.jobs if job.experiment == experiment]
        expected = expected_seconds(mine[0], study.jobs)
        states = ", ".join(f"fold {job.fold} {job.state}" for job in mine if job.state != "finished")
        each = "not measured yet" if expected is None else f"{duration(expected)} each"
        lines.append(f"  {experiment:<22} {each:<18} {states or 'finished'}")
    took = sum(job.seconds or 0 for job in done)
    lines.append(f"{len(done)} finished" + (f", which took {duration(took)}" if done else "") + f"; {left(study)}")
    return "\n".join(lines)


def left(study: Plan, at_once: float = 1) -> str:
    """How much is left to do, in words; ``at_once``: seconds of trainings that one second is worth."""
    undone = [job for job in study.jobs if job.state != "finished"]
    if not undone:
        return "nothing left to train"
    seconds = [expected_seconds(job, study.jobs) for job in undone]
    known = [s for s in seconds if s is not None]
    if len(known) < len(seconds):
        return f"{len(undone)} to do; how long is known once the first is finished"
    return f"{len(undone)} to do, about {duration(sum(known) / at_once)}"


def prepare(study: Plan, progress: Callable[[str], None] = print) -> None:
    """Tell Snakemake what is finished, and put aside each run that is not as it was written, to be trained again.

    Nothing is lost: such a run gets another place. Where only its scores are not as written, they are made again.
    """
    study.done.mkdir(parents=True, exist_ok=True)
    if any(job.state != "finished" for job in study.jobs):
        study.tables.unlink(missing_ok=True)  # of other runs; Snakemake would ask for no more than that it is there
    for job in study.jobs:
        mark, name = study.done / f"{job.folder.name}.json", job.folder.name
        if job.state == "finished":
            scored = (job.folder / "evaluation.json").read_bytes()
            if not mark.exists() or mark.read_bytes() != scored:  # trained, or scored again, by other ways than this
                with whole(mark) as half_written:
                    half_written.write_bytes(scored)
            continue
        mark.unlink(missing_ok=True)
        if job.state == "damaged":
            number, places = 1, study.folder / ASIDE
            while (aside := places / f"{name}.{number}").exists():
                number += 1
            what = damage(job.folder, "run.json")
            places.mkdir(exist_ok=True)
            job.folder.rename(aside)
            progress(f"{name}: {what}; put aside as {aside.relative_to(study.runs)}, to be trained again")
        elif (job.folder / "evaluation.json").exists():
            progress(f"{name}: {damage(job.folder, 'evaluation.json')}; to be scored again")
