"""A training that leads nowhere is stopped, and told why."""

import numpy as np
import pandas as pd
import pytest

from femur_lib.callbacks import EMPTY_EPOCHS, EpochLine, FailureWatch, tensorboard
from femur_lib.errors import TrainingFailed


def watched(dice: list[float], past: list[float] = ()) -> int:
    """How many epochs are trained before the watch stops them."""
    watch = FailureWatch(pd.DataFrame({"dice": list(past)}))
    for epoch, value in enumerate(dice):
        try:
            watch.on_epoch_end(epoch, {"dice": value})
        except TrainingFailed:
            return epoch + 1
    return len(dice)


def test_ten_epochs_without_a_femur_voxel_are_enough():
    assert watched([0.0] * 30) == EMPTY_EPOCHS == 10


def test_one_voxel_found_begins_the_count_anew():
    assert watched([0.0] * 9 + [0.001] + [0.0] * 9 + [0.5]) == 20


def test_epochs_before_a_restart_count():
    assert watched([0.0] * 30, past=[0.3, *[0.0] * 8]) == 2


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_is_no_number_stops_at_once_and_says_what_to_do(loss):
    with pytest.raises(TrainingFailed, match=r"batch 3 .* learning_rate"):
        FailureWatch(pd.DataFrame()).on_train_batch_end(2, {"loss": loss})


def test_the_line_of_an_epoch_tells_the_time_left():
    said: list[str] = []
    line = EpochLine(said.append, 5)
    line.on_epoch_begin(1)
    line.started -= 120
    line.on_epoch_end(1, {"loss": 0.25, "val_dice": 0.5})
    assert said == ["epoch 2/5  loss 0.2500  val_dice 0.5000  120 s, at most 6 min left"]


def test_without_tensorboard_there_is_no_callback_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert tensorboard(tmp_path) == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    (callback,) = tensorboard(tmp_path)
    assert callback.log_dir == str(tmp_path)
