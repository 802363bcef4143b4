"""A training that leads nowhere is stopped, and told why."""

import keras
import numpy as np
import pandas as pd
import pytest

from femur_lib.callbacks import EMPTY_EPOCHS, EpochLine, FailureWatch, KeptEpochs, epochs_kept, tensorboard
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


def kept_after(values: list[float], folder, restart: int, **how) -> KeptEpochs:
    """What remembers these values, one an epoch, having been stopped after some; the weight is the epochs' number."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    for some in (range(restart), range(restart, len(values))):
        kept = KeptEpochs(folder, pd.DataFrame({"epoch": range(some.start), "val": values[: some.start]}), **how)
        kept.set_model(model)
        for epoch in some:
            model.set_weights([np.full((1, 1), epoch + 1.0)])
            kept.on_epoch_end(epoch, {"val": values[epoch]})
    return kept


@pytest.mark.parametrize("restart", range(6))
@pytest.mark.parametrize(("mode", "best"), [("max", 3), ("min", 2)])
def test_the_last_and_the_best_epoch_are_kept_across_a_restart(tmp_path, restart, mode, best):
    kept = kept_after([0.5, 0.4, 0.8, 0.4, 0.8, 0.6], tmp_path, restart, monitor="val", mode=mode)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"000{best}.weights.h5", "0006.weights.h5"]
    assert epochs_kept(tmp_path) == 6
    assert kept.best().name == f"000{best}.weights.h5"
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.load_weights(kept.best())
    assert model.get_weights()[0].item() == best


def test_without_a_value_to_go_by_only_the_last_epoch_is_kept(tmp_path):
    kept_after([0.5, 0.4, 0.8], tmp_path, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["0003.weights.h5"]


def test_what_a_kill_left_half_written_is_no_epoch_and_does_not_stay(tmp_path):
    assert epochs_kept(tmp_path / "nothing yet") == 0
    (tmp_path / ".77-0009.weights.h5").write_bytes(b"half")
    kept_after([0.5], tmp_path, 0)
    assert epochs_kept(tmp_path) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["0001.weights.h5"]


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
