"""A study: every network of a profile on every fold, then the paper's tables.

Snakemake does the work, as ``workflow/Snakefile`` says: it decides what runs when, carries on when a training fails,
and knows which files are half-written. This module knows what a study consists of, what of it is done and how long that
took, and which runs are no longer as they were written.
"""

import getpass
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import IO

import joblib

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import can_write, find_damage, nearest_folder, read_json
from femur_lib._runtime.machine import machine_bytes
from femur_lib._runtime.words import duration
from femur_lib.architecture import parse_network
from femur_lib.cohort import read_cohort
from femur_lib.config import Profile, home, load_profile, own_folder, run_name
from femur_lib.runs import ASIDE, SEAL, claim, compare, partial_folder, read_record

ON_A_CLUSTER = ("--executor", "-e", "--profile", "--workflow-profile")  # options of Snakemake's
ENDING_SECONDS = 20  # for Snakemake and its trainings to end when they are asked to


@dataclass(frozen=True)
class Job:
    """One network on one fold."""

    network: str
    fold: int
    folder: Path  # of its run
    work: float  # to compare times by
    state: str  # "finished", "stopped" (goes on where it was), "damaged", "to do", or "" where nobody looked
    seconds: float | None  # of training and scoring, where it is finished


@dataclass(frozen=True)
class Plan:
    """A study: what it was asked for, and one job for each training."""

    name: str  # of the profile, as given, or the path of its file
    profile: Profile
    cohort: str  # its folder; "" for synthetic hips
    runs: Path
    networks: tuple[str, ...]
    folds: int  # how many are trained, from the first
    jobs: tuple[Job, ...]

    @property
    def folder(self) -> Path:
        """Where the study keeps what belongs to no single run: executed notebooks, tables, times."""
        return self.runs / "study"

    @property
    def tables(self) -> Path:
        """The page that a study ends with."""
        return self.folder / "tables.html"


def plan(
    profile: str | os.PathLike, cohort: str | os.PathLike = "", runs: str | os.PathLike = "", look: bool = True
) -> Plan:
    """What a study consists of, and how much of it is done.

    Args:
        profile: a name, or the path of a YAML file.
        cohort: a cohort's folder; empty stands for synthetic hips, made beside the runs.
        runs: the folder that runs go to; empty is ``runs/<profile>`` (:func:`femur_lib.config.own_folder`).
        look: whether to find out what is finished, which reads the runs' files.

    Raises:
        DataError: no such profile, or one without networks, with fewer than two folds, with a network that cannot be
            built at its size, or with finished runs of other settings in its folder.
    """
    settings = load_profile(profile)
    networks = tuple(dict.fromkeys(settings.study or settings.networks))
    folds = min(settings.study_folds or settings.folds, settings.folds)
    if not networks:
        raise DataError(f"The profile {profile} names no networks to train.", "Name some as networks or as study.")
    if folds < 2:
        raise DataError(f"The profile {profile} has study_folds {folds}; a study needs at least 2.", "Correct it.")
    for network in networks:
        try:
            settings.cost(network)
        except ValueError as error:
            raise DataError(f"The profile {profile} cannot train {network}: {error}.", "Change its grid.") from None
    name = str(Path(profile).resolve() if Path(profile).suffix in (".yaml", ".yml") else profile)
    folder = Path(runs).resolve() if runs else own_folder(f"runs/{settings.profile}")
    if not (nearest := nearest_folder(folder)).is_dir():
        raise DataError(f"{nearest} is a file; a folder for the runs was expected.", "Choose another --runs.")
    jobs = tuple(look_at(settings, folder, network, fold, look) for fold in range(folds) for network in networks)
    return Plan(name, settings, str(Path(cohort).resolve()) if cohort else "", folder, networks, folds, jobs)


def look_at(profile: Profile, runs: Path, network: str, fold: int, look: bool = True) -> Job:
    """A job with its state, as the run's files have it; without ``look`` the state is left open."""
    folder = runs / run_name(network, fold)
    state, seconds = "to do" if look else "", None
    if look and folder.exists():
        state = "damaged" if find_damage(folder, "run.json") else "stopped" if find_damage(folder, SEAL) else "finished"
        if state == "finished":
            trained, scored = read_record(folder), read_json(folder / SEAL, "Evaluate again.")
            wanted = {"network": network, "fold": fold, "profile": profile.model_dump(mode="json")}
            compare(folder, trained, wanted)
            seconds = trained["seconds_training"] + scored["seconds"]
    elif look and partial_folder(folder).exists():
        state = "stopped"
    return Job(network, fold, folder, profile.work(network), state, seconds)


def expected_seconds(network: str, work: float, jobs: Sequence[Job]) -> float | None:
    """How long a training should take, by finished ones: the same network's, else those of others by their work."""
    measured = [job for job in jobs if job.seconds]
    same = [job for job in measured if job.network == network]
    dimensions = parse_network(network).dimensions
    alike = same or [job for job in measured if parse_network(job.network).dimensions == dimensions] or measured
    return work * median(job.seconds / job.work for job in alike) if alike else None  # type: ignore[operator]


def describe(study: Plan) -> str:
    """What is done and how long that took, what is left to do, and how long that should take."""
    jobs, folds = study.jobs, f"{study.folds} of {study.profile.folds} folds"
    lines = [f"{len(jobs)} trainings: {len(study.networks)} networks, {folds}"]
    lines += [f"runs: {study.runs}; cohort: {study.cohort or 'synthetic hips'}"]
    done, left, seconds_left = [job.seconds or 0 for job in jobs if job.state == "finished"], 0, 0.0
    for network in study.networks:
        mine = [job for job in jobs if job.network == network]
        open_ones = [job for job in mine if job.state != "finished"]
        expected = expected_seconds(network, mine[0].work, jobs)
        left, seconds_left = left + len(open_ones), seconds_left + len(open_ones) * (expected or 0)
        each = f"{duration(expected)} each" if expected else "not measured yet"
        states = ", ".join(f"fold {job.fold} {job.state}" for job in open_ones)
        lines.append(f"  {network:<22} {each:<18} {states or 'finished'}")
    took = f", which took {duration(sum(done))}" if done else ""
    how_long = f"about {duration(seconds_left)}" if done else "the time will be known once the first is finished"
    to_do = f"{left} to do, {how_long}" if left else "nothing left to train"
    return "\n".join([*lines, f"{len(done)} finished{took}; {to_do}"])


def prepare(study: Plan, progress: Callable[[str], None] = print) -> None:
    """Tell Snakemake what is finished, and put aside each run that is not as it was written, to be trained again.

    Nothing is lost: such a run gets another place. Where only its scores are damaged, they are made again.
    """
    done, notebooks = study.folder / "done", study.folder / "notebooks"
    done.mkdir(parents=True, exist_ok=True)
    for job in study.jobs:
        name, mark, scored = job.folder.name, done / f"{job.folder.name}.json", job.folder / SEAL
        if job.state == "finished":
            if not mark.exists() or mark.read_bytes() != scored.read_bytes():  # trained or scored by other means
                shutil.copyfile(scored, mark)
            continue
        # Snakemake would be content with tables of other runs, and an earlier start's notebooks may tell of a failure.
        for old in (mark, study.tables, notebooks / f"{name}.ipynb", notebooks / "tables.ipynb"):
            old.unlink(missing_ok=True)
        if job.state == "damaged":
            aside = next(p for n in count(1) if not (p := study.folder / ASIDE / f"{name}.{n}").exists())
            progress(f"{name}: {find_damage(job.folder, 'run.json')}; put aside as {aside}, to be trained again")
            aside.parent.mkdir(exist_ok=True)
            job.folder.rename(aside)
        elif scored.exists():
            progress(f"{name}: {find_damage(job.folder, SEAL)}; to be scored again")


def run_study(
    profile: str | os.PathLike,
    cohort: str | os.PathLike = "",
    runs: str | os.PathLike = "",
    cores: int = 0,
    gpus: int | None = None,
    threads: int = 0,
    more: Sequence[str] = (),
    progress: Callable[[str], None] = print,
) -> Path:
    """Do what is left of a study, and write its tables.

    Args:
        profile, cohort, runs: as for :func:`plan`.
        cores: how many cores of this machine to use; 0 takes all.
        gpus: how many GPUs of this machine to use, one a training; None takes all. On a cluster, 0 asks for none.
        threads: how many cores each training gets; 0 shares them out among the GPUs, or gives one training all (on a
            cluster: 8). Small networks use two cores better as two trainings at once than as one.
        more: further arguments for Snakemake, such as those that name a cluster.
        progress: gets what is done and left, and what was damaged; Snakemake itself writes to the terminal.

    Returns:
        The page with the tables.

    Raises:
        DataError: bad input, a study at work in the same folder, or a training that failed.
    """
    study, snakefile = plan(profile, cohort, runs, look=False), home() / "workflow" / "Snakefile"
    if not snakefile.is_file():
        raise DataError(f"{snakefile} is missing; a study needs a checkout of the course.", "Install from a clone.")
    if importlib.util.find_spec("snakemake") is None:
        raise DataError(
            "Snakemake is not installed; a study needs it.", "Install the 'study' extra; see docs/install.md."
        )
    options, environment = share_out(cores, gpus, threads, more)
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--directory", str(study.folder),
        "--keep-going", "--rerun-incomplete", "--rerun-triggers", "mtime", *options,
        f"profile={study.name}", f"cohort={study.cohort}", f"runs={study.runs}",
    ]  # fmt: skip
    study.folder.mkdir(parents=True, exist_ok=True)
    with (study.folder / ".lock").open("a+") as lock:
        take(lock, study.runs)
        if study.cohort:
            read_cohort(study.cohort)  # a bad one is refused here, not by each training
        claim(study.folder / "of", {"cohort": study.cohort})  # the profile is compared run by run
        study = plan(profile, cohort, runs)
        progress(describe(study))
        prepare(study, progress)
        if not study.cohort:
            from femur_lib.phantom.cohort import make_once

            make_once(
                study.runs / "cohort", study.profile.profile, study.profile.subjects, study.profile.seed, progress
            )
        if any((study.folder / ".snakemake" / "locks").glob("*")):  # left by a Snakemake that was killed: we have ours
            subprocess.run([*command, "--unlock"], capture_output=True, check=False)
        environment = surroundings(study.folder) | environment
        if run_in_foreground(command, environment, lock):
            said = failures(study, lambda: last_words(command, environment))
            first = "Install its plugin (workflow/README.md)" if "--executor" in said else "Correct the cause"
            raise DataError(said, f"{first}, and start again: it goes on where it was.")
    return study.tables


def share_out(cores: int, gpus: int | None, threads: int, more: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """What Snakemake is told of cores, memory and GPUs; and the environment, which says which GPUs those are."""
    if any(option.startswith(ON_A_CLUSTER) for option in more):  # there a scheduler hands out GPUs
        return [*more, "--config", f"gpus={'none' if gpus == 0 else 'scheduler'}", f"threads={threads or 8}"], {}
    cores, ids = cores or joblib.cpu_count(), gpus_here()
    ids = ids if gpus is None else (ids or [str(n) for n in range(gpus)])[:gpus]
    limits = ["--cores", str(cores), "--resources", f"mem_mb={machine_bytes() // 10**6}", f"gpu={len(ids)}"]
    threads = threads or max(1, cores // max(1, len(ids)))
    environment = {"CUDA_VISIBLE_DEVICES": ",".join(ids) or "-1"} if ids or gpus == 0 else {}
    return [*limits, *more, "--config", f"gpus={'locks' if ids else 'none'}", f"threads={threads}"], environment


def gpus_here() -> list[str]:
    """GPUs that may be used: those of CUDA_VISIBLE_DEVICES where it is set, else all that NVIDIA's own tool finds."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [n for n in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if n and n != "-1"]
    tool = shutil.which("nvidia-smi")  # TensorFlow would take memory on each GPU to answer
    listed = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True).stdout if tool else ""
    return [str(n) for n in range(len(listed.splitlines()))]


def take(lock: IO[str], runs: Path) -> None:
    """Lock a file for as long as this process or the Snakemake that inherits it lives, however they end."""
    import fcntl  # not on Windows, where Snakemake cannot be installed either

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        who = lock.read() or "another process"
        raise DataError(f"A study is at work in {runs}: {who}.", "Wait for it, or choose another --runs.") from None
    lock.truncate(0)


def run_in_foreground(command: Sequence[str], environment: Mapping[str, str], lock: IO[str]) -> int:
    """Run Snakemake in this terminal, and return its exit code.

    A terminal sends Ctrl-C to Snakemake and its trainings, too. SIGTERM comes to this process alone, which hands it on.
    """
    import psutil  # Snakemake needs it, too

    def end(*_: object) -> None:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGINT)  # asked by SIGTERM, Snakemake would wait for its trainings
        raise KeyboardInterrupt

    # A script's background jobs ignore Ctrl-C, and so would all that they start.
    handlers: dict[int, Callable] = {signal.SIGTERM: end, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        snakemake = subprocess.Popen(command, env=environment, pass_fds=[lock.fileno()])
        print(f"process {snakemake.pid} on {os.uname().nodename}", end="", file=lock, flush=True)
        return snakemake.wait()
    except KeyboardInterrupt:
        for process in psutil.wait_procs(psutil.Process().children(recursive=True), ENDING_SECONDS)[1]:
            process.kill()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def surroundings(folder: Path) -> dict[str, str]:
    """The environment for Snakemake and its notebooks: this Python's kernel, a writable home, and a user's name."""
    found, kernels = dict(os.environ), str(Path(sys.prefix) / "share" / "jupyter")
    found["JUPYTER_PATH"] = os.pathsep.join(filter(None, (kernels, found.get("JUPYTER_PATH"))))
    if not can_write(Path.home()):
        found.setdefault("XDG_CONFIG_HOME", str(Path.home() / ".config"))  # settings are still those of the user
        found["HOME"] = str(folder / "home")
        (folder / "home").mkdir(exist_ok=True)
    try:
        getpass.getuser()
    except (KeyError, OSError):  # in a container, whose users the system often does not know; Snakemake asks
        found["LOGNAME"] = str(os.getuid())
    return found


def last_words(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Why Snakemake does not start: the last line that it says when it is asked to plan alone; "" if it does start."""
    planned = [*command[:3], "--dry-run", *command[3:]]
    ended = subprocess.run(planned, env=environment, capture_output=True, text=True, errors="replace")
    lines = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
    return re.sub(r"^\S+: error: ", "", lines[-1]).removesuffix(".") if ended.returncode and lines else ""


def failures(study: Plan, last_words: Callable[[], str] = str) -> str:
    """Which executed notebooks ended with which error, and where Snakemake's log is; else what Snakemake said last."""
    found: dict[str, list[str]] = {}
    for path in sorted((study.folder / "notebooks").glob("*.ipynb")):
        with suppress(ValueError):  # one that was only begun
            outputs = (o for cell in json.loads(path.read_text("utf-8"))["cells"] for o in cell.get("outputs", []))
            for error in (o for o in outputs if o["output_type"] == "error"):
                said = f"{error['ename']}: {' '.join(error['evalue'].split())}"
                found.setdefault(said.removesuffix("."), []).append(path.name)
    failed = "; ".join(f"{', '.join(names)} ended with {said}" for said, names in found.items())
    if not failed and (said := last_words()):
        return f"Snakemake did not start: {said}."
    log = max((study.folder / ".snakemake" / "log").glob("*.log"), default="what it wrote above")
    return f"{study.folder / 'notebooks'}: {failed or 'Snakemake failed'}. Snakemake's log is {log}."
