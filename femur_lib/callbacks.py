"""What happens between epochs: the paper's stopping rule, what is kept, a line on the screen, an eye on failures."""

import re
import time
from pathlib import Path

import numpy as np
import pandas as pd

from femur_lib._runtime.backend import keras
from femur_lib._runtime.errors import TrainingFailed
from femur_lib._runtime.files import atomic_write
from femur_lib._runtime.words import Progress, duration

EMPTY_EPOCHS = 10  # in which no femur voxel was found, after which a training is given up


class PaperEarlyStopping(keras.callbacks.EarlyStopping):
    """The paper's stopping rule: Keras's early stopping, which here knows the epochs trained before a restart.

    "Training is stopped when the accuracy on the validation set does not improve by 1e-4 within the last 10 epochs.
    First 30 epochs are trained without early stopping" (Model selection). Keras keeps the best value and the waiting
    time in memory only, so they are found again from the history.
    """

    def __init__(self, past: pd.DataFrame, **kwargs):
        super().__init__(**kwargs)
        self.past = past

    def on_train_begin(self, logs=None):
        """Begin anew, then go through the past epochs."""
        super().on_train_begin(logs)
        for row in self.past.to_dict("records"):
            self.on_epoch_end(int(row["epoch"]), row)

    def had_stopped(self, model: keras.Model) -> bool:
        """Whether the past epochs end where training was to stop: it was killed then, before the run was finished."""
        model.stop_training = False
        self.set_model(model)
        self.on_train_begin()
        return model.stop_training


def save_state(path: Path, model: keras.Model) -> None:
    """Write what a training goes on with: weights and, in a compiled model, the optimiser's state.

    NumPy writes it, not Keras: where the disk or a quota is full, the HDF5 library ends the process without a word.

    Raises:
        DataError: there is no room.
    """
    state = [keras.ops.convert_to_numpy(variable) for variable in _state(model)]
    with atomic_write(path, sum(array.nbytes for array in state)) as half_written:
        np.savez(half_written, *state)


def load_state(path: Path, model: keras.Model) -> None:
    """Give a model the state of another of the same architecture; without an optimiser it gets the weights alone."""
    with np.load(path) as state:
        for variable, name in zip(_state(model), state.files, strict=False):
            variable.assign(state[name])


def _state(model: keras.Model) -> list:
    optimiser = getattr(model, "optimizer", None)
    return [*model.variables, *(optimiser.variables if optimiser else ())]


class KeptEpochs(keras.callbacks.Callback):
    """Weights and the optimiser's state after the last epoch, to go on with, and after the best one, to keep.

    Each file is there whole or not at all, and its name says after how many epochs. Keras's ModelCheckpoint and
    BackupAndRestore overwrite the one file they have, and write its number into another; if it is killed in between, a
    training does not start again, or trains an epoch twice.
    """

    def __init__(self, folder: Path, past: pd.DataFrame, monitor: str = "", mode: str = "max"):
        """Also keep the epoch with the best ``monitor``, if one is named; ``past`` is the history before a restart."""
        super().__init__()
        self.folder, self.monitor, self.mode = folder, monitor, mode
        self.values = pd.Series(past[monitor].to_numpy(), past.epoch + 1) if monitor and len(past) else pd.Series()

    def path(self, epochs: int) -> Path:
        """The weights after so many epochs."""
        return self.folder / f"{epochs:04}.npz"

    def best(self) -> Path:
        """The weights after the best epoch, the first of equals."""
        return self.path(self.values.agg(f"idx{self.mode}"))

    def on_epoch_end(self, epoch, logs=None):
        """Keep this epoch, and remove those that are neither the last nor the best."""
        save_state(self.path(epoch + 1), self.model)
        keep = {self.path(epoch + 1)}
        if self.monitor:
            self.values[epoch + 1] = (logs or {})[self.monitor]
            keep.add(self.best())
        for file in files_of_epochs(self.folder) - keep:
            file.unlink()


def files_of_epochs(folder: Path) -> set[Path]:
    """What :class:`KeptEpochs` has written into a folder, half-written files of an earlier start included."""
    return {file for file in folder.glob("*") if re.fullmatch(r"(\.\d+-)?\d+\.npz", file.name)}


def epochs_kept(folder: Path) -> int:
    """How many epochs the latest weights in a folder of :class:`KeptEpochs` have seen; 0 if there are none."""
    return max((int(path.name.split(".")[0]) for path in folder.glob("[0-9]*.npz")), default=0)


class EpochLine(keras.callbacks.Callback):
    """One line an epoch: loss, Dice, and the time left if every epoch is trained."""

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
            f"epoch {epoch + 1}/{self.epochs}  {shown}  {self.times[-1]:.0f} s, at most {duration(left)} left"
        )


class FailureWatch(keras.callbacks.Callback):
    """Stop a training whose loss is not a number, or that has found no femur for many epochs, and say why.

    Such a network is not worth another hour, although its accuracy looks good: calling everything background is mostly
    right.
    """

    def __init__(self, past: pd.DataFrame):
        super().__init__()
        self.empty = 0
        for dice in past.get("dice", []):
            self._count(dice)

    def _count(self, dice: float) -> None:
        self.empty = self.empty + 1 if dice == 0 else 0

    def on_train_batch_end(self, batch, logs=None):
        """Look at the loss."""
        loss = (logs or {}).get("loss", 0.0)
        if not np.isfinite(loss):
            raise TrainingFailed(
                f"The loss became {loss} in batch {batch + 1} of an epoch. Lower the learning rate (profile: "
                "learning_rate) or compute in float32 (profile: precision), and look for scans with odd intensities."
            )

    def on_epoch_end(self, epoch, logs=None):
        """Look at the Dice of the training scans."""
        self._count((logs or {}).get("dice", 1.0))
        if self.empty >= EMPTY_EPOCHS:
            raise TrainingFailed(
                f"In {self.empty} epochs no femur voxel was found: the network calls everything background, which is "
                "mostly right. Raise or lower the learning rate, take a loss that weights the femur (profile: recipe), "
                "and check whether the masks fit their images (femur check)."
            )
