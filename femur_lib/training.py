"""Train one network on one fold, into a run folder that appears whole or not at all.

Two recipes. ``paper`` is the paper's: Eq. 1, Adam at a constant rate, flips, early stopping on validation accuracy,
the best epoch's weights, the threshold from the validation fold. ``ours`` is chosen for unseen patients: Dice plus
cross-entropy, deformed and re-lit copies of the scans, a rate that falls to zero over a fixed number of epochs, the
last epoch's weights, the threshold from the training scans. The validation fold then serves nothing but validation.

A run works in ``RUN.partial`` and takes its name when it is finished. Started again after being stopped, even
killed, it goes on with the last whole epoch and ends as if nothing had happened.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from femur_lib.architecture import Architecture
from femur_lib.cohort import Cohort, folds, read_subject
from femur_lib.costs import cost, machine_bytes, warn_if_too_large
from femur_lib.errors import DataError
from femur_lib.experiments import Profile
from femur_lib.feeding import Feed, Sample, load_samples
from femur_lib.inference import predict_volume
from femur_lib.inputs import padded_size
from femur_lib.losses import DiceCrossEntropy, FemurDice, WeightedCrossEntropy, class_weights
from femur_lib.onednn import avoid_where_it_hangs
from femur_lib.precision import resolve
from femur_lib.runs import (
    build,
    claim,
    data_hash,
    devices,
    is_finished,
    peak_memory_gib,
    ready,
    versions,
    write_json,
)
from femur_lib.scores.curves import ProbabilityHistogram
from femur_lib.volumes import grid_spacing_mm, to_stack

Progress = Callable[[str], None]


class PaperEarlyStopping(keras.callbacks.EarlyStopping):
    """Keras's early stopping, told of the epochs that were trained before a restart.

    Keras keeps the best value and the waiting time in memory only.
    """

    def __init__(self, past: pd.DataFrame, **kwargs):
        super().__init__(**kwargs)
        self.past = past

    def on_train_begin(self, logs=None):
        """Start anew, then live through the past epochs."""
        super().on_train_begin(logs)
        for row in self.past.to_dict("records"):
            self.on_epoch_end(int(row["epoch"]), row)

    def had_stopped(self, model: keras.Model) -> bool:
        """Whether the past epochs end where training was to stop: it was killed after that, with the run not done."""
        model.stop_training = False
        self.set_model(model)
        self.on_train_begin()
        return model.stop_training


class EpochLine(keras.callbacks.Callback):
    """One line an epoch: loss, Dice, and the time left if every epoch were trained."""

    def __init__(self, progress: Progress, epochs: int):
        super().__init__()
        self.progress, self.epochs = progress, epochs
        self.times: list[float] = []

    def on_epoch_begin(self, epoch, logs=None):
        """Start the watch."""
        self.started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        """Say how it went."""
        logs = logs or {}
        self.times.append(time.monotonic() - self.started)
        left = float(np.median(self.times)) * (self.epochs - epoch - 1)
        shown = "  ".join(f"{k} {logs[k]:.4f}" for k in ("loss", "val_loss", "dice", "val_dice") if k in logs)
        self.progress(
            f"epoch {epoch + 1}/{self.epochs}  {shown}  {self.times[-1]:.0f} s, at most {left / 60:.0f} min left"
        )


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
        run: the folder that will hold ``model.keras``, ``history.csv`` and ``run.json``.
        experiment: the network's name, such as ``3d-f16-l4`` (see :mod:`femur_lib.experiments`).
        profile: sizes and recipe.
        fold: which fold to keep for validation, counted from 0; None trains on everybody.
        epochs: fewer or more than the profile says.
        progress: gets one line an epoch.

    Returns:
        The run's folder.

    Raises:
        DataError: bad input; or the folder holds a run of other settings or other data.
        FloatingPointError: the loss became NaN.
    """
    run = Path(run)
    if epochs is not None:
        profile = profile.model_copy(update={"epochs": epochs})
    architecture = profile.architecture(experiment)
    training, validation = split(cohort, profile, fold)
    precision = resolve(profile.precision, architecture)
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
    if is_finished(run, settings):
        progress(f"{run} is finished already")
        return run
    work = run.with_name(run.name + ".partial")

    grid = profile.grid(architecture.dimensions)
    avoid_where_it_hangs(architecture, grid.rows, grid.columns)
    warn_if_too_large(experiment, training_bytes(architecture, profile, precision), machine_bytes())
    train_samples = load_samples(cohort, training, grid)
    validation_samples = load_samples(cohort, validation, grid)
    claim(work, settings)  # only now, when every scan has been read and found good
    seconds = _fit(work, architecture, profile, precision, train_samples, validation_samples, progress)

    best = "best.weights.h5" if profile.recipe == "paper" and validation else "last.weights.h5"
    model = build(architecture, grid)  # float32: a saved network is at home on any machine
    model.load_weights(work / best)
    predictor = ready(model, architecture, grid, profile.patches, precision)
    progress("choosing the threshold")
    chosen_on = "validation" if profile.recipe == "paper" and validation else "training"
    names = validation if chosen_on == "validation" else training
    histogram = ProbabilityHistogram()
    spacings = []
    for name in names:
        image, mask = read_subject(cohort[name])
        p = predict_volume(predictor, architecture, grid, image, profile.flip_predictions, profile.patches)
        histogram.add(mask.array, p.array)
        spacings.append(grid_spacing_mm(to_stack(image), grid))
    model.save(work / "model.keras")
    history = pd.read_csv(work / "history.csv")
    record = {
        **settings,
        "threshold": histogram.best_threshold(),
        "threshold_chosen_on": chosen_on,
        "weights": "best epoch" if best.startswith("best") else "last epoch",
        "grid_spacing_mm": np.median(spacings, axis=0).round(4).tolist(),
        "epochs_trained": len(history),
        "seconds_training": round(seconds, 1),
        "peak_memory_gib": peak_memory_gib(),
        "parameters": model.count_params(),
        "versions": versions(),
        "devices": devices(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_json(work / "run.json", record)
    for leftover in ("backup", "best.weights.h5", "last.weights.h5", "settings.json", "seconds.json"):
        path = work / leftover
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    work.rename(run)
    return run


def training_bytes(architecture: Architecture, profile: Profile, precision: str) -> int:
    """The least memory that a training step takes."""
    grid = profile.grid(architecture.dimensions)
    size = (grid.rows, grid.columns, grid.slices)[: architecture.dimensions]
    if architecture.padded:
        size = padded_size(size, architecture.size_multiple)
    batch, width = profile.batch_size(architecture.dimensions), 4 if precision == "float32" else 2
    return cost(architecture, size).training_bytes(batch, width)


def _fit(
    work: Path,
    architecture: Architecture,
    profile: Profile,
    precision: str,
    train_samples: list[Sample],
    validation_samples: list[Sample],
    progress: Progress,
) -> float:
    """Train until the recipe says stop; returns the seconds spent, earlier starts included."""
    keras.utils.set_random_seed(profile.seed)
    grid = profile.grid(architecture.dimensions)
    model = build(architecture, grid, precision)
    batch_size = profile.batch_size(architecture.dimensions)
    feed = Feed(train_samples, architecture, batch_size, profile.recipe, profile.seed)
    rate = profile.learning_rate
    if profile.recipe == "paper":
        loss: keras.losses.Loss = WeightedCrossEntropy(*class_weights([s.mask for s in train_samples]))
    else:
        loss = DiceCrossEntropy()
        steps = profile.epochs * len(feed)
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 10, steps, warmup_target=rate, warmup_steps=min(len(feed), steps // 10), alpha=0.001
        )
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy", FemurDice()])

    history = work / "history.csv"
    past = _past(history, work / "backup" / "training_metadata.json")
    callbacks: list[keras.callbacks.Callback] = [
        keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(feed, "epoch", epoch)),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.CSVLogger(history, append=True),
        EpochLine(progress, profile.epochs),
    ]
    watch = "val_accuracy"
    early: PaperEarlyStopping | None = None
    if profile.recipe == "paper" and validation_samples:
        best = float(past[watch].max()) if len(past) else None
        early = PaperEarlyStopping(
            past, monitor=watch, mode="max", min_delta=profile.min_delta, patience=profile.patience,
            start_from_epoch=profile.first_epochs,
        )  # fmt: skip
        callbacks += [
            keras.callbacks.ModelCheckpoint(
                work / "best.weights.h5", watch, save_best_only=True, save_weights_only=True, mode="max",
                initial_value_threshold=best,
            ),
            early,
        ]  # fmt: skip
    # Last, so that an epoch counts as done only when everything about it has been written.
    callbacks.append(keras.callbacks.BackupAndRestore(work / "backup", double_checkpoint=True, delete_checkpoint=False))
    watch_file = work / "seconds.json"
    before = json.loads(watch_file.read_text()) if watch_file.is_file() else 0.0
    if early is not None and early.had_stopped(model):
        return before
    started = time.monotonic()
    callbacks.append(
        keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: write_json(watch_file, before + time.monotonic() - started)
        )
    )
    model.fit(
        feed.dataset(),
        epochs=profile.epochs,
        validation_data=Feed(validation_samples, architecture, batch_size, "none", 0).dataset()
        if validation_samples
        else None,
        callbacks=callbacks,
        verbose=0,
        shuffle=False,  # the feed shuffles
    )
    losses = pd.read_csv(history).loss
    if not np.isfinite(losses).all():
        raise FloatingPointError(
            f"{work}: the loss became {losses.iloc[-1]} in epoch {len(losses)}; lower the learning rate "
            "(profile: learning_rate), remove the folder, and train again"
        )
    model.save_weights(work / "last.weights.h5")
    return before + time.monotonic() - started


def _past(history: Path, backup: Path) -> pd.DataFrame:
    """Rows of the epochs that the backup holds; later ones, of an epoch cut short, are struck out."""
    if not backup.is_file():
        history.unlink(missing_ok=True)
    if not history.is_file():
        return pd.DataFrame()
    rows = pd.read_csv(history)
    rows = rows[rows.epoch < json.loads(backup.read_text())["epoch"]].drop_duplicates("epoch", keep="last")
    rows.to_csv(history, index=False)
    return rows
