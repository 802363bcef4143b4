"""Train one network on one fold, into a run folder that appears whole or not at all.

A run works in ``RUN.partial`` and takes its name when it is finished. Started again after being stopped, even
killed, it goes on with the last whole epoch and ends as if nothing had happened.
"""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd

from femur_lib.architecture import Architecture
from femur_lib.callbacks import Progress
from femur_lib.cohort import Cohort, folds, read_subject
from femur_lib.costs import machine_bytes, peak_bytes, warn_if_too_large
from femur_lib.errors import DataError
from femur_lib.experiments import Profile, seed_of
from femur_lib.feeding import load_samples
from femur_lib.files import checksums
from femur_lib.fitting import fit
from femur_lib.inference import predict_volume
from femur_lib.locks import alone
from femur_lib.machine import devices, prepare, strategy, versions
from femur_lib.onednn import avoid_where_it_hangs
from femur_lib.precision import resolve
from femur_lib.records import begun_in, claim, compare, data_hash, is_finished, read_record, write_json
from femur_lib.runs import build, ready
from femur_lib.scores.curves import ProbabilityHistogram
from femur_lib.volumes import grid_spacing_mm, to_stack


def split(cohort: Cohort, profile: Profile, fold: int | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the subjects to train on and to validate on; with no fold all train and none validates."""
    if fold is None:
        return tuple(s.id for s in cohort.subjects), ()
    if not 0 <= fold < profile.folds:
        raise DataError("fold", str(fold), f"0 to {profile.folds - 1}", "Folds are counted from 0.")
    try:
        chosen = folds(cohort, profile.folds, profile.seed)[fold]
    except ValueError as error:
        raise DataError(cohort.root, str(error), "more patients", "Add patients, or choose fewer folds.") from None
    return chosen.training, chosen.validation


def train(
    cohort: Cohort,
    run: str | os.PathLike,
    experiment: str,
    profile: Profile,
    fold: int | None = 0,
    epochs: int | None = None,
    progress: Progress = print,
) -> Path:
    """Train, or go on with, or simply find, one run.

    Args:
        cohort: where the scans are.
        run: the folder that will hold ``model.keras``, ``history.csv`` and ``run.json``. A folder
            ``.femur-cache`` beside it keeps resampled scans, for other runs; it may be removed at any time.
        experiment: the network's name, such as ``3d-f16-l4`` (see :mod:`femur_lib.experiments`).
        profile: sizes and recipe.
        fold: which fold to keep for validation, counted from 0; None trains on everybody.
        epochs: fewer or more than the profile says.
        progress: gets one line an epoch.

    Returns:
        The run's folder.

    Raises:
        DataError: bad input; or the folder holds a run of other settings or other data.
        TrainingFailed: the loss is no number, or no femur is found.
    """
    run = Path(run)
    prepare(profile.deterministic)
    if epochs is not None:
        profile = profile.model_copy(update={"epochs": epochs})
    architecture = profile.architecture(experiment)
    training, validation = split(cohort, profile, fold)
    # "auto" is the machine's choice, but a training goes on as it began, and is found where it was finished elsewhere.
    precision = (profile.precision == "auto" and begun_in(run)) or resolve(profile.precision, architecture)
    settings = {
        "experiment": experiment,
        "fold": fold,
        "profile": profile.model_dump(mode="json"),
        "precision": precision,
        "training": list(training),
        "validation": list(validation),
        "source": cohort.source,
        "data_sha256": data_hash(cohort, training + validation),
    }
    if is_finished(run, settings):  # asked before the lock, too: it may lie where nothing can be written
        progress(f"{run} is finished already")
        return run
    with alone(run, progress):
        if is_finished(run, settings):  # by another process, while this one waited
            progress(f"{run} is finished already")
            return run
        work = run.with_name(run.name + ".partial")
        if (work / "run.json").is_file():  # killed when only its clearing up was left
            compare(work, read_record(work), settings)
            _finish(work, run)
            return run
        grid = profile.grid(architecture.dimensions)
        share = strategy(profile.gpus, profile.batch_size(architecture.dimensions))
        avoid_where_it_hangs(architecture, grid.rows, grid.columns)
        width = 4 if precision == "float32" else 2
        warn_if_too_large(experiment, profile.training_bytes(experiment, width), machine_bytes())
        cache = run.parent / ".femur-cache"
        train_samples = load_samples(cohort, training, grid, cache)
        validation_samples = load_samples(cohort, validation, grid, cache)
        seed = seed_of(experiment)
        seeded = profile if seed is None else profile.model_copy(update={"training_seed": seed})
        claim(work, settings)  # only now, when every scan has been read and found good
        fitted = fit(work, architecture, seeded, precision, train_samples, validation_samples, share, progress)
        progress("choosing the threshold")
        _record(work, cohort, profile, architecture, settings, *fitted)
        _finish(work, run)
    return run


def _record(
    work: Path,
    cohort: Cohort,
    profile: Profile,
    architecture: Architecture,
    settings: dict,
    weights: Path,
    seconds: float,
) -> None:
    """Choose the threshold, and save the network and, last, its record."""
    grid = profile.grid(architecture.dimensions)
    # The paper lets the validation scans choose; other recipes leave them alone, and take the last epoch.
    by_validation = profile.recipe.keep == "best" and settings["validation"]
    choosing, kept = ("validation", "best") if by_validation else ("training", "last")
    model = build(architecture, grid)  # float32: a saved network is at home on any machine
    model.load_weights(weights)
    predictor = ready(model, architecture, grid, profile.patches, settings["precision"])
    histogram = ProbabilityHistogram()
    spacings = []
    for name in settings[choosing]:
        image, mask = read_subject(cohort[name])
        p = predict_volume(predictor, architecture, grid, image, profile.flip_predictions, profile.patches)
        histogram.add(mask.array, p.array)
        spacings.append(grid_spacing_mm(to_stack(image), grid))
    model.save(work / "model.keras")
    history, peak = pd.read_csv(work / "history.csv"), peak_bytes()
    record = {
        **settings,
        "threshold": histogram.best_threshold(),
        "threshold_chosen_on": choosing,
        "weights": f"{'average at the last' if profile.recipe.keep == 'average' else kept} epoch",
        "grid_spacing_mm": np.median(spacings, axis=0).round(4).tolist(),
        "epochs_trained": len(history),
        "seconds_training": round(seconds, 1),
        "peak_memory_gib": None if peak is None else round(peak / 2**30, 2),
        "parameters": model.count_params(),
        "versions": versions(),
        "devices": devices(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "files": checksums(work, ("model.keras", "history.csv")),
    }
    write_json(work / "run.json", record)


def _finish(work: Path, run: Path) -> None:
    """Remove what only the training needed, and give the folder its name."""
    leftovers = ("epochs", "last.weights.h5", "settings.json", "seconds.json")
    for path in (*(work / name for name in leftovers), *work.glob(".*")):  # the last: half-written when it was killed
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    work.rename(run)
