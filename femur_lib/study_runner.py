"""Run a study: every network of a profile on every fold, then the tables. Stopped, even killed, it goes on.

``workflow/Snakefile`` says what depends on what, and Snakemake does it, on this machine or on a cluster. This module
calls it, tells how the work goes on, and ends it when asked to.
"""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from femur_lib.costs import machine_bytes
from femur_lib.course import home
from femur_lib.errors import DataError
from femur_lib.records import claim
from femur_lib.study import Plan, describe, left, look_at, plan, prepare
from femur_lib.words import duration

LOOK_SECONDS = 2  # between two looks at what has been finished
ROUNDS = 5  # in which what others, who lived on, have left can be taken up
ENDING_SECONDS = 20  # that Snakemake has to end its jobs


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
        cores: how many of this machine's to use; 0 takes all.
        gpus: how many of this machine's to use, each for one training (or as many as the profile says); None takes all.
            On a cluster, 0 asks it for none.
        threads: how many cores each training gets; 0 shares them out among the GPUs, or gives one training all (on a
            cluster: 8). Small networks use two cores better as two trainings at once than together.
        more: further arguments for Snakemake, such as those that name a cluster.
        progress: gets one line a finished training.

    Returns:
        The page with the tables.

    Raises:
        DataError: bad input, a study at work in the same folder, or a job that failed (its log is named).
    """
    study = plan(profile, cohort, runs, look=False)
    snakefile = home() / "workflow" / "Snakefile"
    if not snakefile.is_file():
        raise DataError(snakefile, "nothing there", "a checkout of the course", "Clone it, and install from there.")
    if importlib.util.find_spec("snakemake") is None:
        raise DataError("snakemake", "no such package", "it, for a study", "Install the extra study: README.md.")
    options = _options(study.profile.gpus, cores, gpus, threads, more)
    study.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(study.folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise DataError(
            study.runs, "a study that is at work", "none", "Wait for it, or choose another --runs."
        ) from None
    try:
        claim(study.folder / "of", {"cohort": study.cohort})  # the profile is compared run by run
        for _ in range(ROUNDS):
            prepare(plan(profile, cohort, runs), progress)
            _snakemake(plan(profile, cohort, runs), snakefile, options, progress)
            done = plan(profile, cohort, runs)
            if not done.tables.is_file() or all(job.state == "finished" for job in done.jobs):
                break
            # The Snakemake of a study that was killed had lived on, and made the tables while this one began: the new
            # Snakemake saw them and took the work for done.
        else:
            raise DataError(study.runs, "trainings that others undo", "nobody else at work", "Start again later.")
    finally:
        lock.release()
    return study.tables


def _options(each: int, cores: int, gpus: int | None, threads: int, more: Sequence[str]) -> list[str]:
    """What Snakemake is told of cores, memory and GPUs; ``each``: GPUs that a training takes where there are any."""
    if any(option.startswith(("--executor", "-e", "--profile", "--workflow-profile")) for option in more):
        limits, ids = [], []  # a cluster's scheduler hands them out
        each = 0 if gpus == 0 else each
        threads = threads or 8
    else:
        cores, ids = cores or os.cpu_count() or 1, _gpus_here()
        ids = ids if gpus is None else (ids or [str(n) for n in range(gpus)])[:gpus]
        here = len(ids)
        if 0 < here < each:
            raise DataError("GPUs", str(here), f"{each}, as the profile says", "Correct its gpus, or add some.")
        limits = ["--cores", str(cores), "--resources", f"mem_mb={machine_bytes() // 10**6}"]
        limits += [f"gpu={here}"] * bool(here)
        threads = threads or max(1, cores // max(1, here // each))
        each = each if here else 0
    handed_out = "+".join(f"id{n}" for n in ids) or "none"
    return [*limits, *more, "--config", f"gpus={handed_out}", f"gpus_each={each}", f"threads={threads}"]


def _gpus_here() -> list[str]:
    """GPUs that may be used: those of CUDA_VISIBLE_DEVICES where it is set, else all that NVIDIA's own tool finds.

    TensorFlow would take memory on each to answer.
    """
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [n for n in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if n and n != "-1"]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False).stdout
    return [str(n) for n in range(len(listed.splitlines()))]


@contextmanager
def _ends_like_ctrl_c() -> Iterator[None]:
    """While this lasts, being asked to end (SIGTERM, or a terminal that closes) is like Ctrl-C."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        numbers = []
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _heard_ctrl_c() -> Iterator[None]:
    """Programs that are started meanwhile hear Ctrl-C, even where this one, in a script's background, does not.

    What ignores a signal passes that on to what it starts; what has a handler for it does not.
    """
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    ignored = ignored and threading.current_thread() is threading.main_thread()
    if ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _snakemake(study: Plan, snakefile: Path, options: Sequence[str], progress: Callable[[str], None]) -> None:
    log = study.folder / "snakemake.log"
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--directory", str(study.folder),
        "--nolock",  # the study's own lock ends with its process
        "--rerun-incomplete", "--rerun-triggers", "mtime", "--keep-going", *options,
        f"profile={study.name}", f"cohort={study.cohort}", f"runs={study.runs}",
    ]  # fmt: skip
    progress(describe(study))
    news, started = {(job.experiment, job.fold): 0.0 for job in study.jobs if job.state == "finished"}, time.monotonic()
    with log.open("w") as file, _ends_like_ctrl_c():
        with _heard_ctrl_c():
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            while process.poll() is None:
                time.sleep(LOOK_SECONDS)
                study = _say_news(study, news, started, progress)
        except BaseException:
            # Asked to end by SIGTERM, Snakemake would wait for its jobs; by Ctrl-C all end. What they did stays.
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            raise
    study = _say_news(study, news, started, progress)
    if process.returncode:
        raise DataError(log, _failures(log), "no failure", "Mend the cause, and start again: the study goes on.")


def _failures(log: Path) -> str:
    """What went wrong: errors in the executed notebooks of jobs that failed, and what a cluster said of others."""
    said, found = log.read_text(encoding="utf-8", errors="replace"), []
    for path in map(Path, dict.fromkeys(re.findall(r"^ +log: (.+?\.ipynb) \(check", said, re.MULTILINE))):
        try:
            cells = json.loads(path.read_text())["cells"]
        except (OSError, ValueError):  # a job that did not come so far
            continue
        errors = (o for cell in cells for o in cell.get("outputs", []) if o["output_type"] == "error")
        found += [f"{path.name}: {e['ename']}: {e['evalue']}" for e in errors]
    found += dict.fromkeys(re.findall(r"^ +message: (?!None$)(.+)$", said, re.MULTILINE))
    return "; ".join(found) or "a failure of Snakemake, told there"


def _say_news(study: Plan, news: dict[tuple[str, int], float], started: float, progress: Callable[[str], None]) -> Plan:
    """Say which jobs have been finished since the last look, and add their seconds to ``news``; the plan as it is."""
    jobs = tuple(
        job if job.state == "finished" or not (study.done / f"{job.folder.name}.json").is_file()
        else look_at(study.profile, study.runs, job.experiment, job.fold)
        for job in study.jobs
    )  # fmt: skip
    study = replace(study, jobs=jobs)
    new = [job for job in jobs if job.state == "finished" and (job.experiment, job.fold) not in news]
    since = time.monotonic() - started
    # A training that went on after a stop has seconds of earlier days, too.
    news.update({(job.experiment, job.fold): min(job.seconds or 0.0, since) for job in new})
    for job in new:
        took = sum(news.values()) / since  # below 1 where starting programs costs time
        progress(f"{job.experiment} fold {job.fold}: {duration(job.seconds or 0)}; {left(study, took)}")
    return study
