"""Stopping, keeping and giving up, each as if a training had never been interrupted."""

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from femur_lib._runtime.errors import TrainingFailed
from femur_lib.callbacks import (
    EMPTY_EPOCHS,
    EpochLine,
    FailureWatch,
    KeptEpochs,
    PaperEarlyStopping,
    epochs_kept,
    load_state,
)


def one_weight() -> keras.Model:
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])


# --- early stopping


def epochs_by_hand(values: list[float], patience: int, first_epochs: int) -> int:
    """The paper's rule: stop after some epochs that do not improve on the best by 1e-4; the first ones are exempt."""
    best, waited = -np.inf, 0
    for epoch, value in enumerate(values[first_epochs:], start=first_epochs):
        waited += 1
        if value > best + 1e-4:
            best, waited = value, 0
        if waited >= patience:
            return epoch + 1
    return len(values)


def epochs_by_callback(values: list[float], patience: int, first_epochs: int, restart: int, model) -> int:
    past = pd.DataFrame({"epoch": range(restart), "val_accuracy": values[:restart]})
    rule = PaperEarlyStopping(
        past, monitor="val_accuracy", mode="max", min_delta=1e-4, patience=patience, start_from_epoch=first_epochs
    )
    if rule.had_stopped(model):
        return restart
    rule.on_train_begin()
    for epoch in range(restart, len(values)):
        rule.on_epoch_end(epoch, {"val_accuracy": values[epoch]})
        if model.stop_training:
            return epoch + 1
    return len(values)


@given(
    values=st.lists(st.sampled_from([0.5, 0.50005, 0.5002, 0.6, 0.9]), min_size=1, max_size=20),
    patience=st.integers(1, 4),
    first_epochs=st.integers(0, 6),
    data=st.data(),
)
def test_training_stops_where_the_papers_rule_says_wherever_it_was_interrupted(values, patience, first_epochs, data):
    expected = epochs_by_hand(values, patience, first_epochs)
    restart = data.draw(st.integers(0, expected))
    assert epochs_by_callback(values, patience, first_epochs, restart, keras.Sequential()) == expected


# --- kept epochs


def keep_epochs(values: list[float], folder, restart: int, **how) -> KeptEpochs:
    """Keep epochs with these values, interrupted after some; the one weight is the number of the epoch."""
    model = one_weight()
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
    kept = keep_epochs([0.5, 0.4, 0.8, 0.4, 0.8, 0.6], tmp_path, restart, monitor="val", mode=mode)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"000{best}.npz", "0006.npz"]
    assert epochs_kept(tmp_path) == 6
    model = one_weight()
    load_state(kept.best(), model)
    assert model.get_weights()[0].item() == best


def test_without_a_value_to_go_by_only_the_last_epoch_is_kept(tmp_path):
    keep_epochs([0.5, 0.4, 0.8], tmp_path, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["0003.npz"]


def test_a_file_that_a_kill_left_half_written_does_not_count_and_does_not_stay(tmp_path):
    assert epochs_kept(tmp_path / "nothing yet") == 0
    (tmp_path / ".77-0009.npz").write_bytes(b"half")
    keep_epochs([0.5], tmp_path, 0)
    assert epochs_kept(tmp_path) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["0001.npz"]


# --- trainings that lead nowhere


def epochs_until_given_up(dice: list[float], past: list[float] = ()) -> int:
    watch = FailureWatch(pd.DataFrame({"dice": list(past)}))
    for epoch, value in enumerate(dice):
        try:
            watch.on_epoch_end(epoch, {"dice": value})
        except TrainingFailed:
            return epoch + 1
    return len(dice)


def test_ten_epochs_without_a_femur_voxel_are_enough_and_those_before_a_restart_count():
    assert epochs_until_given_up([0.0] * 30) == EMPTY_EPOCHS == 10
    assert epochs_until_given_up([0.0] * 30, past=[0.3, *[0.0] * 8]) == 2


def test_one_voxel_found_starts_the_count_again():
    assert epochs_until_given_up([0.0] * 9 + [0.001] + [0.0] * 9 + [0.5]) == 20


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_is_not_a_number_stops_the_training_at_once_and_says_what_to_do(loss):
    with pytest.raises(TrainingFailed, match=r"batch 3 .* learning_rate"):
        FailureWatch(pd.DataFrame()).on_train_batch_end(2, {"loss": loss})


# --- what is shown


def test_the_line_of_an_epoch_tells_the_time_left():
    said: list[str] = []
    line = EpochLine(said.append, 5)
    line.on_epoch_begin(1)
    line.started -= 120
    line.on_epoch_end(1, {"loss": 0.25, "val_dice": 0.5})
    assert said == ["epoch 2/5  loss 0.2500  val_dice 0.5000  120 s, at most 6 min left"]
