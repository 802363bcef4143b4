"""A finished training on disk: reading it back, and telling whether a folder is one.

A run's folder holds ``model.keras``, ``history.csv`` (one row an epoch) and ``run.json`` (what was trained on what,
how, with which versions, for how long). It appears whole or not at all.
"""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import pandas as pd
from pydantic import ValidationError

from femur_lib.architecture import Architecture
from femur_lib.cohort import Cohort
from femur_lib.errors import DataError
from femur_lib.experiments import Profile
from femur_lib.files import damage, unpacked_hash, whole
from femur_lib.inference import pass_size
from femur_lib.networks import rebuilt, unet
from femur_lib.precision import resolve
from femur_lib.segmentation import Segmenter
from femur_lib.volumes import Grid

TRAIN_AGAIN = "Move it away, and train again."


@dataclass(frozen=True)
class Run:
    """A finished training, read back: its folder, its record (run.json), its network with all that belongs to it."""

    folder: Path
    record: dict
    model: keras.Model
    segmenter: Segmenter

    @property
    def threshold(self) -> float:
        """The probability above which a voxel is femur, as chosen when the run was trained."""
        return self.segmenter.threshold


def load_run(folder: str | os.PathLike, precision: str = "auto", patches: str | None = None) -> Run:
    """Read a finished run back, its network ready to predict on this machine.

    Args:
        folder: of the run.
        precision: of the arithmetic, whatever it was in training; see :mod:`femur_lib.precision`.
        patches: of unpadded networks, "nine" or "one"; None takes the profile's.

    Raises:
        DataError: the folder is not a finished run.
    """
    folder = Path(folder)
    record = read_record(folder)
    refuse_damaged(folder)
    profile = Profile(**record["profile"])
    architecture = profile.architecture(record["experiment"])
    grid = profile.grid(architecture.dimensions)
    try:
        model = keras.saving.load_model(folder / "model.keras", compile=False)  # safe mode: no code is run
    except (OSError, TypeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            folder / "model.keras", f"a file that cannot be read ({error})", "a saved network", "Train again."
        ) from None
    patches = patches or profile.patches
    model = ready(model, architecture, grid, patches, resolve(precision, architecture))
    segmenter = Segmenter(
        network=model,
        architecture=architecture,
        grid=grid,
        threshold=float(record["threshold"]),
        largest_component=architecture.dimensions == 2,  # as the paper does
        flip=profile.flip_predictions,
        patches=patches,
        grid_spacing_mm=tuple(record["grid_spacing_mm"]),
    )
    return Run(folder, record, model, segmenter)


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
    monitor = Profile(**record["profile"]).recipe.monitor
    watched = history[f"val_{monitor}"]
    return int(watched.argmin() if monitor == "loss" else watched.argmax())


def ready(model: keras.Model, architecture: Architecture, grid: Grid, patches: str, precision: str) -> keras.Model:
    """A saved network, float32 and for the grid's size, made ready to predict: rebuilt only if it has to be."""
    size = input_size(architecture, grid, patches)
    if precision == "float32" and (size is None or size == model.input_shape[1:3]):
        return model
    return rebuilt(model, architecture, size, precision)


def input_size(architecture: Architecture, grid: Grid, patches: str = "nine") -> tuple[int, int] | None:
    """Rows and columns that an unpadded network is built for; None for a padded one, which takes any."""
    if architecture.padded:
        return None
    return (grid.rows, grid.columns) if patches == "nine" else pass_size(architecture, grid.rows, grid.columns)


def build(architecture: Architecture, grid: Grid, precision: str = "float32") -> keras.Model:
    """The network of an architecture, as it is trained on a profile's grid."""
    return unet(architecture, input_size(architecture, grid), precision)


def is_finished(run: Path, settings: dict) -> bool:
    """True for a finished run of these settings, False where there is nothing; anything else is an error."""
    if not run.exists():
        return False
    if not (run / "run.json").is_file():
        raise DataError(run, "a folder that is no run", "a new folder", "Choose another, or remove it yourself.")
    refuse_damaged(run)
    _compare(run, read_record(run), settings)
    return True


def claim(work: Path, settings: dict) -> None:
    """Begin in a new folder, or go on in that of a stopped training of the same settings."""
    record = work / "settings.json"
    if record.is_file():
        _compare(work, json.loads(record.read_text()), settings)
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


def _compare(folder: Path, old: dict, new: dict) -> None:
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
