import keras
import numpy as np
import pytest

from femur_lib.losses import DiceCrossEntropy, FemurDice, WeightedCrossEntropy, class_weights


def predictions(femur: list) -> np.ndarray:
    """Softmax outputs (..., 2) of given probabilities of femur."""
    p = np.asarray(femur, np.float32)
    return np.stack([1 - p, p], axis=-1)


def some_batch(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (rng.random((2, 5, 4, 3)) < 0.3).astype(np.uint8), predictions(rng.random((2, 5, 4, 3)))


# Labels femur, femur, background, background, each seen with another probability of femur.
TRUTH = np.array([[1, 1, 0, 0]], np.uint8)
P = predictions([[0.8, 0.5, 0.1, 0.4]])


# --- Eq. 1


def test_weighted_cross_entropy_by_hand():
    expected = -(5 * np.log(0.8) + 5 * np.log(0.5) + 2 * np.log(0.9) + 2 * np.log(0.6)) / 4
    assert float(WeightedCrossEntropy(background=2, femur=5)(TRUTH, P)) == pytest.approx(expected, rel=1e-5)


def test_weights_of_1_make_it_plain_cross_entropy():
    truth, p = some_batch()
    plain = keras.losses.SparseCategoricalCrossentropy()(truth, p)
    assert float(WeightedCrossEntropy()(truth, p)) == pytest.approx(float(plain), rel=1e-5)


def test_a_certain_mistake_costs_much_but_not_infinitely():
    loss = float(WeightedCrossEntropy()(np.array([[1]]), predictions([[0.0]])))
    assert np.isfinite(loss)
    assert loss > 10


def test_with_the_class_weights_both_classes_count_the_same():
    truth = np.zeros((1, 100), np.uint8)
    truth[0, :5] = 1
    loss = WeightedCrossEntropy(*class_weights([truth]))
    wrong_on_femur, wrong_on_background = np.full((1, 100), 0.001), np.full((1, 100), 0.999)
    wrong_on_background[truth == 0] = wrong_on_femur[truth == 1] = 0.3
    wrong_on_background[truth == 0] = 0.7
    one, other = (
        float(loss(truth, predictions(wrong_on_femur))),
        float(loss(truth, predictions(wrong_on_background))),
    )
    assert one == pytest.approx(other, rel=1e-3)


def test_class_weights_by_hand():
    masks = [np.array([1, 0, 0, 0]), np.array([1, 1, 0, 0, 0, 0])]
    assert class_weights(masks) == (pytest.approx(10 / 7), pytest.approx(10 / 3))


@pytest.mark.parametrize("masks", [[np.zeros(4)], [np.ones(4)], []])
def test_class_weights_need_both_classes(masks):
    with pytest.raises(ValueError, match="both classes"):
        class_weights(masks)


# --- our loss


def test_dice_cross_entropy_by_hand():
    cross_entropy = -np.log([0.8, 0.5, 0.9, 0.6]).mean()
    dice = (2 * (0.8 + 0.5) + 1) / (2 + 1.8 + 1)
    assert float(DiceCrossEntropy()(TRUTH, P)) == pytest.approx(cross_entropy + 1 - dice, rel=1e-5)


def test_dice_is_taken_over_the_batch_and_not_each_scan():
    truth, p = some_batch()
    apart = np.mean([float(DiceCrossEntropy()(truth[i : i + 1], p[i : i + 1])) for i in range(2)])
    in_one_row = float(DiceCrossEntropy()(truth.reshape(1, -1), p.reshape(1, -1, 2)))
    assert float(DiceCrossEntropy()(truth, p)) == pytest.approx(in_one_row, rel=1e-5)
    assert in_one_row != pytest.approx(apart, rel=1e-5)


def test_dice_cross_entropy_of_a_perfect_prediction_is_0():
    assert float(DiceCrossEntropy()(TRUTH, predictions(TRUTH))) == pytest.approx(0, abs=1e-5)


# --- the overlap that training shows


def test_femur_dice_over_two_batches_by_hand():
    dice = FemurDice()
    dice.update_state(np.array([[1, 1, 0, 0]]), predictions([[0.9, 0.2, 0.6, 0.1]]))  # 1 hit, 1 missed, 1 too many
    dice.update_state(np.array([[1, 1, 1, 0]]), predictions([[0.9, 0.7, 0.6, 0.3]]))  # 3 hits
    assert float(dice.result()) == pytest.approx(2 * 4 / (2 * 4 + 1 + 1))


def test_femur_dice_begins_anew_after_reset():
    dice = FemurDice()
    dice.update_state(np.array([[1]]), predictions([[0.1]]))
    dice.reset_state()
    dice.update_state(np.array([[1]]), predictions([[0.9]]))
    assert float(dice.result()) == pytest.approx(1)


def test_background_does_not_count_in_femur_dice():
    dice = FemurDice()
    dice.update_state(np.array([[0] * 99 + [1]]), predictions([[0.1] * 100]))
    assert float(dice.result()) == 0


# --- kept in files


@pytest.mark.parametrize("loss", [WeightedCrossEntropy(2, 5), DiceCrossEntropy()], ids=lambda loss: loss.name)
def test_a_loss_comes_back_from_its_configuration(loss):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    truth, p = some_batch()
    assert type(again) is type(loss)
    assert float(again(truth, p)) == pytest.approx(float(loss(truth, p)))


def test_the_metric_comes_back_from_its_configuration():
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(FemurDice(name="overlap")))
    again.update_state(TRUTH, P)
    assert again.name == "overlap"
    assert float(again.result()) == pytest.approx(2 / 3)


def test_a_compiled_model_is_saved_and_loaded(tmp_path):
    inputs = keras.Input((4, 1))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(inputs))
    model.compile("adam", WeightedCrossEntropy(2, 5), metrics=[FemurDice()])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert (again.loss.background, again.loss.femur) == (2, 5)
