"""What happens between epochs: the paper's stopping rule, a line on the screen, and an eye on trainings gone wrong."""

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from femur_lib.errors import TrainingFailed
from femur_lib.files import whole
from femur_lib.words import duration

Progress = Callable[[str], None]
EMPTY_EPOCHS = 10  # without one femur voxel found, after which nothing is to be expected any more


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


class KeptEpochs(keras.callbacks.Callback):
    """Weights, with the optimiser's state, after the last epoch and after the best one: to go on with, and to keep.

    Each file is there whole or not at all, and its name says after how many epochs. Keras's ModelCheckpoint and
    BackupAndRestore write over the one file they have, and the number into another; killed meanwhile, a training does
    not start again, or trains an epoch twice.
    """

    def __init__(self, folder: Path, past: pd.DataFrame, monitor: str = "", mode: str = "max"):
        """Keep the epoch with the best ``monitor``, too, if one is named; ``past`` is the history before a restart."""
        super().__init__()
        self.folder, self.monitor, self.mode = folder, monitor, mode
        self.values = pd.Series(past[monitor].to_numpy(), past.epoch + 1) if monitor and len(past) else pd.Series()

    def path(self, epochs: int) -> Path:
        """The weights after so many epochs."""
        return self.folder / f"{epochs:04}.weights.h5"

    def best(self) -> Path:
        """The weights after the best epoch, the first of equals."""
        return self.path(self.values.agg(f"idx{self.mode}"))

    def on_epoch_end(self, epoch, logs=None):
        """Keep this one, and remove those that are neither last nor best."""
        with whole(self.path(epoch + 1)) as half_written:
            self.model.save_weights(half_written)
        keep = {self.path(epoch + 1)}
        if self.monitor:
            self.values[epoch + 1] = (logs or {})[self.monitor]
            keep.add(self.best())
        for file in set(self.folder.iterdir()) - keep:  # a killed start's half-written ones, too
            file.unlink()


def epochs_kept(folder: Path) -> int:
    """How many epochs the latest weights in a folder of :class:`KeptEpochs` have seen; 0 where there are none."""
    return max((int(path.name.split(".")[0]) for path in folder.glob("[0-9]*.weights.h5")), default=0)


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
            f"epoch {epoch + 1}/{self.epochs}  {shown}  {self.times[-1]:.0f} s, at most {duration(left)} left"
        )


class FailureWatch(keras.callbacks.Callback):
    """Stop a training whose loss is no number, or that has found no femur for many epochs, and say why.

    Such a network is not worth an hour more, and by its accuracy it looks well: all background is mostly right.
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
                f"the loss became {loss} in batch {batch + 1} of an epoch. Lower the learning rate (profile: "
                "learning_rate), or compute in float32 (profile: precision), and look for scans of odd intensities."
            )

    def on_epoch_end(self, epoch, logs=None):
        """Look at the Dice of the training scans."""
        self._count((logs or {}).get("dice", 1.0))
        if self.empty >= EMPTY_EPOCHS:
            raise TrainingFailed(
                f"in {self.empty} epochs no voxel was called femur rightly: the network has learned that background is "
                "frequent, and nothing else. Raise or lower the learning rate, take a loss that weighs the femur "
                "(profile: recipe), and look whether masks lie on their images (femur check)."
            )


def tensorboard(folder: Path) -> list[keras.callbacks.Callback]:
    """Keras's TensorBoard callback, where that is installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return []
    return [keras.callbacks.TensorBoard(folder, write_graph=False)]
