"""Fit one network to samples as a recipe says, able to go on after being stopped at any moment."""

import json
import time
from pathlib import Path

import keras
import pandas as pd

from femur_lib.architecture import Architecture
from femur_lib.callbacks import (
    EpochLine,
    FailureWatch,
    KeptEpochs,
    PaperEarlyStopping,
    Progress,
    epochs_kept,
    tensorboard,
)
from femur_lib.experiments import Profile
from femur_lib.feeding import Feed, Sample
from femur_lib.files import write_csv
from femur_lib.losses import FemurAccuracy, FemurDice, loss_of
from femur_lib.records import write_json
from femur_lib.runs import build

AVERAGED_STEPS = 100  # over which "keep: average" averages weights, about


def learning_rate(profile: Profile, steps_per_epoch: int):
    """The rate, or its schedule over the whole training: cosine to nothing after an epoch of warming up."""
    rate = profile.learning_rate
    if profile.recipe.schedule == "constant":
        return rate
    steps = profile.epochs * steps_per_epoch
    warmup = min(steps_per_epoch, steps // 10)
    return keras.optimizers.schedules.CosineDecay(
        rate / 10, steps - warmup, warmup_target=rate, warmup_steps=warmup, alpha=0.001
    )


def optimiser(profile: Profile, steps_per_epoch: int, precision: str) -> keras.optimizers.Optimizer:
    """Adam (paper, Methods). In float16 it multiplies the loss, so that small gradients do not become zero."""
    average = {"use_ema": True, "ema_momentum": 1 - 1 / AVERAGED_STEPS} if profile.recipe.keep == "average" else {}
    adam = keras.optimizers.Adam(learning_rate(profile, steps_per_epoch), **average)
    return keras.optimizers.LossScaleOptimizer(adam) if precision == "mixed_float16" else adam


def fit(
    work: Path,
    architecture: Architecture,
    profile: Profile,
    precision: str,
    training: list[Sample],
    validation: list[Sample],
    share,
    progress: Progress,
) -> tuple[Path, float]:
    """Train until the recipe says stop, or go on with what lies in ``work``, which then holds ``history.csv``.

    ``share`` is a :func:`femur_lib.machine.strategy`.

    Returns:
        The weights to keep, the best epoch's with early stopping, and the seconds spent, earlier starts included.

    Raises:
        TrainingFailed: the loss is no number, or no femur is found.
    """
    seed = profile.seed if profile.training_seed is None else profile.training_seed
    keras.utils.set_random_seed(seed)
    recipe, batch_size = profile.recipe, profile.batch_size(architecture.dimensions)
    border = recipe.loss == "border-weighted"
    passes = profile.passes(architecture.dimensions)
    feed = Feed(training, architecture, batch_size, recipe.augmentation, seed, border, passes)
    with share.scope():
        model = build(architecture, profile.grid(architecture.dimensions), precision)
        model.compile(
            optimiser(profile, len(feed), precision),
            loss_of(recipe, [s.mask for s in training]),
            metrics=["accuracy", FemurDice()] + [FemurAccuracy()] * (recipe.monitor == "femur_accuracy"),
        )

    history, epochs = work / "history.csv", work / "epochs"
    done = epochs_kept(epochs)
    past = _past(history, done)
    callbacks: list[keras.callbacks.Callback] = [
        keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(feed, "epoch", epoch)),
        FailureWatch(past),
        keras.callbacks.CSVLogger(history, append=True),
        EpochLine(progress, profile.epochs),
        *tensorboard(work / "tensorboard"),
    ]
    early, kept = None, KeptEpochs(epochs, past)
    if recipe.keep == "best" and validation:
        watched, mode = recipe.watched
        early = PaperEarlyStopping(
            past, monitor=watched, mode=mode, min_delta=profile.min_delta, patience=profile.patience,
            start_from_epoch=profile.first_epochs,
        )  # fmt: skip
        kept = KeptEpochs(epochs, past, watched, mode)
        callbacks.append(early)
    callbacks.append(kept)  # last: an epoch counts as done only when all else about it has been written
    watch_file = work / "seconds.json"
    before = json.loads(watch_file.read_text()) if watch_file.is_file() else 0.0
    if early is not None and early.had_stopped(model):
        return kept.best(), before
    if done:
        with share.scope():
            model.optimizer.build(model.trainable_variables)
            model.load_weights(kept.path(done))
    started = time.monotonic()
    callbacks.append(
        keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: write_json(watch_file, before + time.monotonic() - started)
        )
    )
    held_out = Feed(validation, architecture, batch_size, border_weights=border).dataset() if validation else None
    model.fit(
        feed.dataset(),
        epochs=profile.epochs,
        initial_epoch=done,
        validation_data=held_out,
        callbacks=callbacks,
        verbose=0,
        shuffle=False,  # the feed shuffles
    )
    seconds = before + time.monotonic() - started
    if early is not None:
        return kept.best(), seconds
    last = work / "last.weights.h5"
    model.save_weights(last)  # not the last epoch's, where the optimiser averages weights
    return last, seconds


def _past(history: Path, epochs: int) -> pd.DataFrame:
    """Rows of so many epochs; those of a later one, which was cut short, are struck out."""
    if not epochs:
        history.unlink(missing_ok=True)
        return pd.DataFrame()
    rows = pd.read_csv(history)
    rows = rows[rows.epoch < epochs].drop_duplicates("epoch", keep="last")
    write_csv(history, rows)
    return rows
