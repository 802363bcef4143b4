"""A training's folder: what was done, whether it is still as it was written, and the network in it.

A run's folder holds ``model.keras``, ``history.csv`` (one row an epoch) and ``run.json`` (what was trained on what,
how, with which versions, for how long). It appears whole or not at all: a training works in ``RUN.partial``, which
takes its name when it is finished. Reading records needs no Keras; only :func:`load_run` does.
"""

import hashlib
import os
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import pandas as pd
from pydantic import BaseModel, Field, ValidationError

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import (
    HALF_WRITTEN,
    beside,
    checksums,
    find_damage,
    is_name,
    read_csv,
    read_json,
    unpacked_hash,
    write_json,
)
from femur_lib._runtime.machine import PRECISIONS
from femur_lib.cohort import Cohort
from femur_lib.config import Profile, Settings, prepare_backend, resolve
from femur_lib.inference import Segmenter

if TYPE_CHECKING:
    import keras

Count = Annotated[int, Field(strict=True, ge=0)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)]
WEIGHTS = Path(__file__).parent / "weights"
SEAL = "evaluation.json"  # what is written last when a run has been scored
ASIDE = "damaged"  # the folder, among a study's, that keeps damaged runs
PAGES = "pages"  # the folder, among runs, in which the course lies as a site
KEPT = {"best epoch": "best", "last epoch": "last", "average at the last epoch": "average"}  # as older runs said it


class Record(BaseModel):
    """What the record (run.json) of a finished run says at least; :func:`read_record` keeps whatever else is in it."""

    network: str
    fold: Count | None
    profile: Profile
    training: list[str]
    validation: list[str]
    threshold: Annotated[Number, Field(le=1)]
    threshold_chosen_on: str
    grid_spacing_mm: Annotated[list[Annotated[Number, Field(gt=0)]], Field(min_length=3, max_length=3)]
    kept: Literal["best", "last", "average"]
    synthetic: bool
    source: str = ""
    epochs_trained: Count
    seconds_training: Number
    peak_memory_gib: Number | None
    parameters: Count
    versions: dict[str, str]
    finished: str


def run_folder(run: str | os.PathLike) -> Path:
    """The folder of a run; or, for a name such as "hip-drawn", of weights that come with the library."""
    come_with_it = WEIGHTS / run
    return come_with_it if is_name(str(run)) and come_with_it.is_dir() and not Path(run).exists() else Path(run)


def read_record(folder: str | os.PathLike) -> dict:
    """The record (run.json) of a finished run, in today's words if it is older.

    Raises:
        DataError: the folder is not a finished run, or its record does not say what a :class:`Record` says.
    """
    folder = run_folder(folder)
    if not (folder / "run.json").is_file() or not (folder / "model.keras").is_file():
        if partial_folder(folder).is_dir():
            raise DataError(
                f"{folder} is a run that has not been finished.",
                "Start the same training again; it goes on where it stopped.",
            )
        raise DataError(
            f"{folder} holds no run.json and model.keras; the folder of a finished run was expected.", "Train first."
        )
    file = folder / "run.json"
    record = in_todays_words(read_json(file, MEND))
    try:
        found = Record(**record)
        found.profile.architecture(found.network)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        said = "is not there" if first["type"] == "missing" else first["msg"][0].lower() + first["msg"][1:]
        raise DataError(f"{file} is not the record of a finished run: {where}: {said}.", MEND) from None
    except DataError as error:
        raise DataError(f"{file} is not the record of a finished run: {error}", MEND) from None
    return record


MEND = "Move the run away, and train again."


def read_history(folder: str | os.PathLike, *columns: str) -> pd.DataFrame:
    """A run's history.csv, one row an epoch; it must have ``columns`` besides epoch and loss.

    Raises:
        DataError: it is missing or damaged.
    """
    return read_csv(Path(folder) / "history.csv", ("epoch", "loss", *columns), MEND)


def in_todays_words(record: dict) -> dict:
    """A record as today's runs write it: older ones called a network an experiment, and put settings into sentences."""
    older = {}
    if "network" not in record and "experiment" in record:
        older["network"] = record["experiment"]
    if "kept" not in record and record.get("weights") in KEPT:
        older["kept"] = KEPT[record["weights"]]
    if isinstance(record.get("profile"), dict) and "evaluation_slices" not in record["profile"]:
        older["profile"] = record["profile"] | {"evaluation_slices": "central"}  # there was no other way
    if "synthetic" not in record:
        older["synthetic"] = str(record.get("source", "")).startswith("femur phantom")
    return record | older


def refuse_damaged(folder: Path) -> None:
    """Raise a DataError if a finished run is not as it was written. Runs older than the checksums pass."""
    damage = find_damage(folder, "run.json")
    if damage:
        raise DataError(f"{folder}: {damage}; an unchanged run was expected.", MEND)


def kept_epoch(folder: str | os.PathLike) -> int:
    """The epoch, counted from 0, whose weights a finished run keeps."""
    record = read_record(folder)
    if record["kept"] != "best":
        return len(read_history(folder)) - 1
    watched, best = Profile(**record["profile"]).recipe.watched
    return int(read_history(folder, watched)[watched].agg(f"idx{best}"))


def partial_folder(run: Path) -> Path:
    """Where a run that is not finished works."""
    return beside(run, after=".partial")


def is_finished(run: Path, settings: dict) -> bool:
    """True for a finished run of these settings, False where there is nothing; anything else is a DataError."""
    if not run.exists():
        return False
    if not (run / "run.json").is_file():
        raise DataError(f"{run} is a folder, but not a run.", "Choose a new folder, or remove this one yourself.")
    refuse_damaged(run)
    compare(run, read_record(run), settings)
    return True


def precision_begun_in(run: Path) -> str:
    """The precision in which a run was trained, or in which its training began; "" where there is neither."""
    for record in (run / "run.json", partial_folder(run) / "settings.json"):
        if record.is_file():
            with suppress(DataError):  # damage is reported elsewhere
                precision = read_json(record, MEND).get("precision")
                return precision if precision in PRECISIONS else ""
    return ""


def claim(work: Path, settings: dict) -> None:
    """Begin in a new folder, or go on in that of a stopped training of the same settings."""
    record = work / "settings.json"
    if record.is_file():
        compare(work, read_json(record, f"Move {work} away, and train again."), settings)
        return
    refuse_anothers(work)
    write_json(record, settings)


def refuse_anothers(work: Path) -> None:
    """Raise a DataError if a training cannot work in a folder, since something lies there that no training wrote."""
    if (work / "settings.json").is_file() or not work.exists():
        return
    # A training that was killed before it had written its settings leaves at most a half-written file.
    if not work.is_dir() or any(not HALF_WRITTEN.fullmatch(path.name) for path in work.iterdir()):
        raise DataError(
            f"{work} was not begun by a training (it has no settings.json), and a training would work there.",
            "Choose another name for the run, or rename what lies there.",
        )


def compare(folder: Path, old: dict, new: dict) -> None:
    """Raise a DataError if a folder's record differs from what is wanted of it."""
    old, new = _comparable(in_todays_words(old)), _comparable(new)
    for key, value in new.items():
        if old.get(key) != value:
            what = key
            if isinstance(value, dict) and isinstance(old.get(key), dict):
                what = ", ".join(f"{key}.{k}" for k in value if old[key].get(k) != value[k])
            raise DataError(
                f"{folder} holds a run that differs in {what}; the same settings and data were expected.",
                "Choose another folder, or remove this one yourself.",
            )


def _comparable(record: dict) -> dict:
    """A record whose profile has every setting that a training depends on.

    A setting newer than the run counts as having had its default value. Which other networks a profile lists does not
    matter.
    """
    try:
        settings = Profile(**record["profile"]).model_dump(mode="json", exclude={"networks", "study", "study_folds"})
    except (KeyError, TypeError, ValidationError):
        return record  # of another kind altogether: the comparison will say how
    return record | {"profile": settings}


def describe_start(start: str, settings: Settings) -> dict[str, str]:
    """What a training begins with, for its record: the run's name, and the SHA-256 of its network.

    Raises:
        DataError: it is not a finished run of such a network.
    """
    record, folder = read_record(start), run_folder(start)
    if Profile(**record["profile"]).architecture(record["network"]) != settings.architecture:
        raise DataError(
            f"{start} is a network {record['network']}; the training of {settings.network} cannot start from it.",
            "Train the same network, or leave out start_from.",
        )
    return {"run": folder.name, **checksums(folder, ("model.keras",))}


def scans_known_to(record: dict) -> list[str]:
    """Names of the scans that a run's network has learned from, those of the run that it started from included."""
    return [*record["training"], *record.get("known_before", [])]


def data_hash(cohort: Cohort, subjects: Sequence[str]) -> str:
    """SHA-256 over the names and contents of the subjects' images and masks."""
    digest = hashlib.sha256()
    for name in subjects:
        subject = cohort[name]
        digest.update(f"{name} {unpacked_hash(subject.image)} {unpacked_hash(subject.mask)}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Run:
    """A finished training, read back: its folder, its record (run.json), and its network as a :class:`Segmenter`."""

    folder: Path
    record: dict
    segmenter: Segmenter

    @property
    def model(self) -> "keras.Model":
        """The network."""
        return self.segmenter.model


def load_run(folder: str | os.PathLike, precision: str = "", patches: str = "") -> Run:
    """Read a finished run back, its network ready to predict on this machine.

    Args:
        folder: of the run, or the name of weights that come with the library (:func:`run_folder`).
        precision: what to compute in, see :mod:`femur_lib._runtime.machine`; empty takes the profile's, where "auto" is
            what this machine does best, whatever it was in training.
        patches: for unpadded networks, "nine" or "one"; empty takes the profile's.

    Raises:
        DataError: the folder is not a finished run.
    """
    folder = run_folder(folder)
    record = read_record(folder)
    refuse_damaged(folder)
    profile = Profile(**record["profile"])
    prepare_backend(profile, record["network"])
    from femur_lib._runtime.backend import keras
    from femur_lib.unet import rebuilt

    settings = resolve(profile, record["network"], precision)
    architecture, grid, patches = settings.architecture, settings.grid, patches or profile.patches
    try:
        model = keras.saving.load_model(folder / "model.keras", compile=False)  # safe mode: no code is run
        model = rebuilt(model, architecture, settings.input_size(patches), settings.precision)
    except (OSError, TypeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        why = " ".join(str(error).split())
        raise DataError(f"{folder / 'model.keras'} cannot be read ({why}).", "Train again.") from None
    segmenter = Segmenter(
        model=model,
        architecture=architecture,
        grid=grid,
        threshold=float(record["threshold"]),
        # The paper does so for 2D networks. One that has never seen a patient marks other places, too.
        largest_component=architecture.dimensions == 2 or bool(profile.recipe.drawing),
        flip=profile.flip_predictions,
        patches=patches,
        grid_spacing_mm=tuple(record["grid_spacing_mm"]),
    )
    return Run(folder, record, segmenter)
