"""A training's folder and its records, without its network: what was done, and whether it is still as it was written.

A run's folder holds ``model.keras``, ``history.csv`` (one row an epoch) and ``run.json`` (what was trained on what,
how, with which versions, for how long). It appears whole or not at all. Nothing here imports TensorFlow.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from femur_lib.cohort import Cohort
from femur_lib.errors import DataError
from femur_lib.experiments import Profile
from femur_lib.files import damage, unpacked_hash, whole

TRAIN_AGAIN = "Move it away, and train again."
ASIDE = "damaged"  # the folder, in a study's, that keeps damaged runs


def read_record(folder: str | os.PathLike) -> dict:
    """The record (run.json) of a finished run.

    Raises:
        DataError: the folder is not a finished run.
    """
    folder = Path(folder)
    if not (folder / "run.json").is_file() or not (folder / "model.keras").is_file():
        unfinished = folder.with_name(folder.name + ".partial").is_dir()
        raise DataError(
            folder,
            "an unfinished run" if unfinished else "no run.json and model.keras",
            "the folder of a finished run",
            "Start the same training again; it goes on where it stopped." if unfinished else "Train first.",
        )
    try:
        return json.loads((folder / "run.json").read_text())
    except ValueError:
        raise DataError(folder, "a damaged run.json", "a run as it was finished", TRAIN_AGAIN) from None


def refuse_damaged(folder: Path) -> None:
    """Raise DataError where a finished run is not as it was written. Runs from before there were checksums pass."""
    found = damage(folder, "run.json")
    if found:
        raise DataError(folder, found, "a run as it was finished", TRAIN_AGAIN)


def kept_epoch(folder: str | os.PathLike) -> int:
    """The epoch, counted from 0, whose weights a finished run keeps."""
    record, history = read_record(folder), pd.read_csv(Path(folder) / "history.csv")
    if not record["weights"].startswith("best"):
        return len(history) - 1
    watched, best = Profile(**record["profile"]).recipe.watched
    return int(history[watched].agg(f"idx{best}"))


def is_finished(run: Path, settings: dict) -> bool:
    """True for a finished run of these settings, False where there is nothing; anything else is an error."""
    if not run.exists():
        return False
    if not (run / "run.json").is_file():
        raise DataError(run, "a folder that is no run", "a new folder", "Choose another, or remove it yourself.")
    refuse_damaged(run)
    compare(run, read_record(run), settings)
    return True


def begun_in(run: Path) -> str:
    """The precision in which a run was trained, or in which its training was begun; "" where there is neither."""
    for record in (run / "run.json", run.with_name(run.name + ".partial") / "settings.json"):
        if record.is_file():
            with suppress(ValueError, AttributeError):  # a damaged one is told of elsewhere
                return str(json.loads(record.read_text()).get("precision", ""))
    return ""


def claim(work: Path, settings: dict) -> None:
    """Begin in a new folder, or go on in that of a stopped training of the same settings."""
    record = work / "settings.json"
    if record.is_file():
        compare(work, json.loads(record.read_text()), settings)
        return
    shutil.rmtree(work, ignore_errors=True)  # killed before it had written its settings: nothing is lost
    work.mkdir(parents=True)
    write_json(record, settings)


def _comparable(record: dict) -> dict:
    """A record whose profile has every setting that a training depends on.

    A setting that is younger than the run had its default's effect then. Which other networks a profile lists is no
    matter.
    """
    try:
        settings = Profile(**record["profile"]).model_dump(mode="json", exclude={"experiments", "study", "study_folds"})
    except (KeyError, TypeError, ValidationError):
        return record  # of another kind altogether: the comparison will say in what
    return record | {"profile": settings}


def compare(folder: Path, old: dict, new: dict) -> None:
    """Raise DataError where a record of a folder differs from what is wanted of it."""
    old, new = _comparable(old), _comparable(new)
    for key, value in new.items():
        if old.get(key) != value:
            what = key
            if isinstance(value, dict) and isinstance(old.get(key), dict):
                what = ", ".join(f"{key}.{k}" for k in value if old[key].get(k) != value[k])
            raise DataError(
                folder,
                f"a run that differs in {what}",
                "the same settings and data",
                "Choose another folder, or remove this one yourself.",
            )


def data_hash(cohort: Cohort, subjects: Sequence[str]) -> str:
    """SHA-256 over the names and contents of the subjects' images and masks."""
    digest = hashlib.sha256()
    for name in subjects:
        subject = cohort[name]
        digest.update(f"{name} {unpacked_hash(subject.image)} {unpacked_hash(subject.mask)}\n".encode())
    return digest.hexdigest()


def write_json(path: Path, content: object) -> None:
    """Write JSON, whole or not at all."""
    with whole(path) as half_written:
        half_written.write_text(json.dumps(content, indent=2) + "\n")
