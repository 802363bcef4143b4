"""Train one network on one fold: fit, stop, keep, resume (Methods; Model selection).

The paper: Adam, batches of one, horizontal flips, and early stopping on the validation scans after 30 exempt epochs. A
training works in ``RUN.partial``, renamed to ``RUN`` when it is finished. Started again after being stopped, even
killed, it goes on with the last whole epoch and ends as if nothing had happened.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from femur_lib._runtime import machine
from femur_lib._runtime.backend import keras
from femur_lib._runtime.errors import DataError, TrainingFailed
from femur_lib._runtime.files import HALF_WRITTEN, checksums, room, write_csv, write_json
from femur_lib._runtime.locks import exclusive_lock
from femur_lib._runtime.words import Progress
from femur_lib.callbacks import (
    EpochLine,
    FailureWatch,
    KeptEpochs,
    PaperEarlyStopping,
    epochs_kept,
    files_of_epochs,
    load_state,
    save_state,
)
from femur_lib.cohort import Cohort, folds, read_subject
from femur_lib.config import Profile, Settings, prepare_backend, resolve
from femur_lib.dataset import HipDataset, Sample, bytes_to_cache, load_samples
from femur_lib.inference import Segmenter, predict_volume
from femur_lib.losses import FemurDice, loss_of
from femur_lib.metrics.curves import ProbabilityHistogram
from femur_lib.runs import (
    claim,
    compare,
    data_hash,
    describe_start,
    is_finished,
    load_run,
    partial_folder,
    precision_begun_in,
    read_record,
    refuse_anothers,
    scans_known_to,
)
from femur_lib.unet import rebuilt, unet

AVERAGED_STEPS = 100  # about how many steps "keep: average" averages the weights over


def train(
    cohort: Cohort,
    run: str | os.PathLike,
    network: str,
    profile: Profile,
    fold: int | None = 0,
    epochs: int | None = None,
    progress: Progress = print,
) -> Path:
    """Train one run, go on with it, or return it if it is finished.

    Args:
        cohort: where the scans are.
        run: the folder that will hold ``model.keras``, ``history.csv`` and ``run.json``. A folder
            ``.femur-cache`` beside it keeps resampled scans for other runs; it may be removed at any time.
        network: its name, such as ``3d-f16-l4`` (see :mod:`femur_lib.architecture`).
        profile: sizes and recipe.
        fold: which fold to keep for validation, counted from 0; None trains on everybody.
        epochs: fewer or more than the profile says.
        progress: gets one line an epoch, and one that names the scans whose femur goes on beyond the slices trained on.

    Returns:
        The run's folder.

    Raises:
        DataError: bad input; or the folder holds a run of other settings or other data.
        TrainingFailed: the loss is not a number, or no femur is found.
    """
    run = Path(run)
    if profile.recipe.drawing:
        raise DataError(
            f"The profile {profile.profile} has a recipe for hips that are drawn, not for {cohort.root}.",
            "Give drawn instead of a cohort, or choose another profile.",
        )
    training, validation = split(cohort, profile, fold)
    described = {
        "training": list(training),
        "validation": list(validation),
        "source": cohort.source,
        "synthetic": cohort.synthetic,
        "data_sha256": data_hash(cohort, training + validation),
    }
    start = read_record(profile.start_from) if profile.start_from else {}
    if start and not Profile(**start["profile"]).recipe.drawing:  # drawn hips are in no cohort
        described["known_before"] = known = scans_known_to(start)
        check_unknown(cohort, validation, known, profile.start_from)

    def load(settings: Settings, work: Path) -> Material:
        cache = run.parent / ".femur-cache"
        with room(run.parent, bytes_to_write(settings, cohort, training + validation, cache, work)):
            training_samples = load_samples(cohort, training, settings.grid, cache)
            validation_samples = load_samples(cohort, validation, settings.grid, cache)
        cut_off = [sample.subject for sample in training_samples + validation_samples if sample.outside]
        if cut_off:
            progress(
                f"the network is trained on the central {settings.grid.slices} slices; in {len(cut_off)} of "
                f"{len(training + validation)} scans the femur goes on beyond them: {', '.join(cut_off)}"
            )
        return of_cohort(cohort, settings, training_samples, validation_samples)

    return train_on(run, network, profile, fold, epochs, described, load, progress)


def check_unknown(cohort: Cohort, validation: Sequence[str], known: Sequence[str], start: str) -> None:
    """Raise a DataError if a network to start from knows a patient who is to judge the training."""
    patients = {s.patient for s in cohort.subjects if s.id in known}
    shared = [name for name in validation if cohort[name].patient in patients]
    if shared:
        raise DataError(
            f"{start} was trained on patients whom this fold keeps for validation ({', '.join(shared)}); a network "
            "that does not know them was expected.",
            "Start from the run of the same fold, or from weights that have seen none of these patients.",
        )


@dataclass(frozen=True)
class Material:
    """What a training learns from, once it is at hand.

    Attributes:
        batches, held_out: for training, and for validation if there is any.
        masks: of the training, by which a loss may weigh its classes.
        threshold: chooses it for a trained network.
        chosen_on: what scans those are.
        spacing_mm: of the training's voxels.
    """

    batches: HipDataset
    held_out: HipDataset | None
    masks: Sequence[np.ndarray]
    threshold: Callable[[Segmenter], float]
    chosen_on: str
    spacing_mm: Sequence[float] | np.ndarray


def train_on(
    run: Path,
    network: str,
    profile: Profile,
    fold: int | None,
    epochs: int | None,
    described: dict,
    load: Callable[[Settings, Path], Material],
    progress: Progress = print,
) -> Path:
    """Train one run on what ``load`` makes, go on with it, or return it if it is finished; as :func:`train`.

    Args:
        run, network, profile, fold, epochs, progress: as of :func:`train`.
        described: what is learned from, for the record; a run that learned from something else is refused.
        load: called with the settings and the folder that the training works in, if there is something left to train.
    """
    machine.prepare(profile.deterministic)
    if epochs is not None:
        profile = profile.model_copy(update={"epochs": epochs})
    # "auto" is the machine's choice, but a training goes on as it began, and is found where it was finished elsewhere.
    settings = resolve(profile, network, precision_begun_in(run) if profile.precision == "auto" else "")
    record: dict[str, Any] = {
        "network": network,
        "fold": fold,
        "profile": profile.model_dump(mode="json"),
        "precision": settings.precision,
        **described,
    }
    if profile.start_from:
        record["started_from"] = describe_start(profile.start_from, settings)
    if is_finished(run, record):  # asked before the lock, too: the run may lie where nothing can be written
        progress(f"{run} is finished already")
        return run
    with exclusive_lock(run, progress):
        if is_finished(run, record):  # by another process, while this one waited
            progress(f"{run} is finished already")
            return run
        work = partial_folder(run)
        if (work / "run.json").is_file():  # killed when only its clearing up was left
            compare(work, read_record(work), record)
            _finish(work, run)
            return run
        refuse_anothers(work)
        prepare_backend(profile, network)
        width = 4 if settings.precision == "float32" else 2
        machine.warn_if_too_large(network, profile.training_bytes(network, width), machine.machine_bytes())
        material = load(settings, work)
        claim(work, record)  # only now, when every scan has been read and found good
        with room(work):
            try:
                weights, seconds = fit(work, settings, material, progress)
            except TrainingFailed:
                if not epochs_kept(work / "epochs"):  # nothing to go on with, and in the way of better settings
                    _leave_nothing(work)
                raise
            progress("choosing the threshold")
            _record(work, settings, record, material, weights, seconds)
        _finish(work, run)
    return run


def bytes_to_write(settings: Settings, cohort: Cohort, subjects: Sequence[str], cache: Path, work: Path) -> int:
    """How much a training has yet to write: scans that are not in the cache, what it goes on with, and its network.

    It keeps the state after the last epoch, and after the best one if the recipe asks for that, while it writes the
    next.
    """
    recipe, cost = settings.recipe, settings.profile.cost(settings.network)
    state = cost.state_bytes(recipe.keep == "average")
    written = sum(file.stat().st_size for file in (work / "epochs").glob("*.npz"))
    states = max(state, (3 if recipe.keep == "best" else 2) * state - written)
    return bytes_to_cache(cohort, subjects, settings.grid, cache) + states + 4 * cost.weights


def split(cohort: Cohort, profile: Profile, fold: int | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the subjects to train on and to validate on; without a fold all train and none validates.

    Raises:
        DataError: there is no such fold, or there are fewer patients than folds.
    """
    if fold is None:
        return tuple(s.id for s in cohort.subjects), ()
    if not 0 <= fold < profile.folds:
        raise DataError(f"Fold {fold} does not exist; 0 to {profile.folds - 1} was expected.", "Folds count from 0.")
    try:
        chosen = folds(cohort, profile.folds, profile.seed)[fold]
    except ValueError as error:
        raise DataError(f"{cohort.root}: {error}.", "Add patients, or choose fewer folds.") from None
    return chosen.training, chosen.validation


def of_cohort(cohort: Cohort, settings: Settings, training: list[Sample], validation: list[Sample]) -> Material:
    """What a training learns from scans that lie on disk."""
    s, recipe, border = settings, settings.recipe, settings.recipe.loss == "border-weighted"
    passes = s.passes(len(training))
    batches = HipDataset(training, s.architecture, s.batch_size, recipe.augmentation, s.seed, border, passes)
    held_out = HipDataset(validation, s.architecture, s.batch_size, border_weights=border) if validation else None
    # The paper lets the validation scans choose; other recipes leave them alone and take the last epoch.
    chosen_on = "validation" if recipe.keep == "best" and validation else "training"
    choosing = [sample.subject for sample in (validation if chosen_on == "validation" else training)]

    def threshold(segmenter: Segmenter) -> float:
        def look_at(name: str) -> ProbabilityHistogram:
            image, mask = read_subject(cohort[name])
            counts = ProbabilityHistogram()
            counts.add(mask.array, predict_volume(segmenter, image).array)
            return counts

        return sum(machine.side_by_side(look_at, choosing), ProbabilityHistogram()).best_threshold()

    spacing = np.median([sample.spacing_mm for sample in training], axis=0)
    return Material(batches, held_out, [sample.mask for sample in training], threshold, chosen_on, spacing)


def fit(work: Path, settings: Settings, material: Material, progress: Progress) -> tuple[Path, float]:
    """Train until the recipe says stop, or go on with what lies in ``work``, which then holds ``history.csv``.

    Returns:
        The weights to keep, and the seconds spent, those of earlier starts included.

    Raises:
        TrainingFailed: the loss is not a number, or no femur is found.
    """
    s, profile, recipe, batches = settings, settings.profile, settings.recipe, material.batches
    keras.utils.set_random_seed(s.seed)
    model = unet(s.architecture, s.input_size(), s.precision)
    loss = loss_of(recipe.loss, material.masks)
    model.compile(optimiser(settings, len(batches)), loss, metrics=["accuracy", FemurDice()])

    history, epochs = work / "history.csv", work / "epochs"
    done = epochs_kept(epochs)
    if profile.start_from and not done:
        model.set_weights(load_run(profile.start_from).model.get_weights())
    past = _past(history, done)
    callbacks: list[keras.callbacks.Callback] = [
        keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(batches, "epoch", epoch)),
        FailureWatch(past),
        keras.callbacks.CSVLogger(history, append=True),
        EpochLine(progress, profile.epochs),
    ]
    early, kept = None, KeptEpochs(epochs, past)
    if recipe.keep == "best" and material.held_out is not None:
        watched, mode = recipe.watched
        early = PaperEarlyStopping(
            past, monitor=watched, mode=mode, min_delta=profile.min_delta, patience=profile.patience,
            start_from_epoch=profile.first_epochs,
        )  # fmt: skip
        kept = KeptEpochs(epochs, past, watched, mode)
        callbacks.append(early)
    callbacks.append(kept)  # last: an epoch counts as done only when everything else about it has been written
    watch_file = work / "seconds.json"
    before = _seconds(watch_file)
    if early is not None and early.had_stopped(model):
        return kept.best(), before
    if done:
        model.optimizer.build(model.trainable_variables)
        load_state(kept.path(done), model)
    started = time.monotonic()
    callbacks.append(
        keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: write_json(watch_file, before + time.monotonic() - started)
        )
    )
    batches.epoch = done  # JAX and PyTorch look at a batch before the first epoch begins
    model.fit(
        batches,
        epochs=profile.epochs,
        initial_epoch=done,
        validation_data=material.held_out,
        callbacks=callbacks,
        verbose=0,
        shuffle=False,  # the dataset shuffles
    )
    seconds = before + time.monotonic() - started
    if early is not None:
        return kept.best(), seconds
    last = work / "last.npz"
    save_state(last, model)  # where the optimiser averages weights, these are not the last epoch's
    return last, seconds


def _seconds(file: Path) -> float:
    """What earlier starts took."""
    try:
        return float(json.loads(file.read_bytes())) if file.is_file() else 0.0
    except (TypeError, ValueError):
        raise DataError(f"{file} is damaged; a number of seconds was expected.", "Write 0 into it.") from None


def optimiser(settings: Settings, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Adam (paper, Methods). In float16 it multiplies the loss, so that small gradients do not become zero."""
    average = {"use_ema": True, "ema_momentum": 1 - 1 / AVERAGED_STEPS} if settings.recipe.keep == "average" else {}
    adam = keras.optimizers.Adam(learning_rate(settings, steps_per_epoch), **average)
    return keras.optimizers.LossScaleOptimizer(adam) if settings.precision == "mixed_float16" else adam


def learning_rate(settings: Settings, steps_per_epoch: int):
    """The rate, or its schedule over the whole training: a cosine to zero after an epoch of warming up."""
    rate = settings.profile.learning_rate
    if settings.recipe.schedule == "constant":
        return rate
    steps = settings.profile.epochs * steps_per_epoch
    warmup = min(steps_per_epoch, steps // 10)
    return keras.optimizers.schedules.CosineDecay(
        rate / 10, steps - warmup, warmup_target=rate, warmup_steps=warmup, alpha=0.001
    )


def _past(history: Path, epochs: int) -> pd.DataFrame:
    """Rows of so many epochs; those of a later epoch, which was cut short, are struck out."""
    if not epochs:
        history.unlink(missing_ok=True)
        return pd.DataFrame()
    rows = pd.read_csv(history, float_precision="round_trip")  # else pandas 2 reads some in with another last bit
    rows = rows[rows.epoch < epochs].drop_duplicates("epoch", keep="last")
    write_csv(history, rows)
    return rows


def _record(work: Path, settings: Settings, record: dict, material: Material, weights: Path, seconds: float) -> None:
    """Choose the threshold, and save the network and, last, its record."""
    s, keep = settings, settings.recipe.keep
    model = unet(s.architecture, s.input_size())  # float32: a saved network suits any machine
    load_state(weights, model)
    flip, patches, every = s.profile.flip_predictions, s.profile.patches, s.profile.evaluation_slices == "all"
    predictor = rebuilt(model, s.architecture, s.input_size(patches), s.precision)
    segmenter = Segmenter(predictor, s.architecture, s.grid, flip=flip, patches=patches, every_slice=every)
    threshold = material.threshold(segmenter)
    model.save(work / "model.keras")
    history, peak = pd.read_csv(work / "history.csv"), machine.peak_bytes()
    found = {
        "threshold": threshold,
        "threshold_chosen_on": material.chosen_on,
        "kept": keep if keep != "best" or material.held_out is not None else "last",
        "grid_spacing_mm": np.round(material.spacing_mm, 4).tolist(),
        "epochs_trained": len(history),
        "seconds_training": round(seconds, 1),
        "peak_memory_gib": None if peak is None else round(peak / 2**30, 2),
        "parameters": model.count_params(),
        "backend": machine.backend(),
        "float_type": keras.config.floatx(),  # of weights; "precision" says what was computed in
        "versions": machine.versions(),
        "devices": machine.devices(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "files": checksums(work, ("model.keras", "history.csv")),
    }
    write_json(work / "run.json", record | found)


def _finish(work: Path, run: Path) -> None:
    """Remove what only the training needed, and give the folder its name."""
    _clear(work)
    work.rename(run)


def _leave_nothing(work: Path) -> None:
    """Remove all that a training has written, but no file of anybody else's."""
    (work / "history.csv").unlink(missing_ok=True)
    _clear(work)
    with suppress(OSError):
        work.rmdir()


def _clear(work: Path) -> None:
    leftovers = [work / name for name in ("last.npz", "settings.json", "seconds.json")]
    half_written = [path for path in work.iterdir() if HALF_WRITTEN.fullmatch(path.name)]  # when it was killed
    for path in (*leftovers, *half_written, *files_of_epochs(work / "epochs")):
        path.unlink(missing_ok=True)
    with suppress(OSError):  # not there, or it has files that are not ours
        (work / "epochs").rmdir()
