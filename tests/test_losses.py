"""Losses by hand and against Keras, their gradients against slopes, and the overlap that training shows."""

import keras
import numpy as np
import pytest

from femur_lib._runtime.backend import gradient
from femur_lib.architecture import Architecture
from femur_lib.losses import (
    BORDER_WEIGHT,
    DiceCrossEntropy,
    FemurDice,
    WeightedCrossEntropy,
    border_weights,
    class_weights,
    loss_of,
)
from femur_lib.unet import unet


def predictions(femur: list) -> np.ndarray:
    """Softmax outputs (..., 2) of given probabilities of femur."""
    p = np.asarray(femur, np.float32)
    return np.stack([1 - p, p], axis=-1)


def some_batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (rng.random((2, 5, 4, 3)) < 0.3).astype(np.uint8), predictions(rng.random((2, 5, 4, 3)))


pytestmark = pytest.mark.backends

# Two voxels of femur and two of background; each is seen with another probability of femur.
TRUTH = np.array([[1, 1, 0, 0]], np.uint8)
P = predictions([[0.8, 0.5, 0.1, 0.4]])
OF_TRUTH = np.array([0.8, 0.5, 0.9, 0.6])
ALL = pytest.mark.parametrize("loss", [WeightedCrossEntropy(2, 5), DiceCrossEntropy()], ids=lambda loss: loss.name)

# --- Eq. 1


def test_weighted_cross_entropy_by_hand():
    by_voxel = np.array([5, 5, 2, 2]) * -np.log(OF_TRUTH)
    assert float(WeightedCrossEntropy(background=2, femur=5)(TRUTH, P)) == pytest.approx(by_voxel.mean(), rel=1e-5)


def test_weights_of_1_make_it_plain_cross_entropy():
    truth, p = some_batch()
    plain = keras.losses.SparseCategoricalCrossentropy()(truth, p)
    assert float(WeightedCrossEntropy()(truth, p)) == pytest.approx(float(plain), rel=1e-5)


def test_a_certain_mistake_costs_much_but_not_infinitely():
    loss = float(WeightedCrossEntropy()(np.array([[1]]), predictions([[0.0]])))
    assert np.isfinite(loss)
    assert loss > 10


def test_class_weights_by_hand():
    masks = [np.array([1, 0, 0, 0]), np.array([[1, 1, 0], [0, 0, 0]])]
    assert class_weights(masks) == (pytest.approx(10 / 7), pytest.approx(10 / 3))


@pytest.mark.parametrize("masks", [[np.zeros(4)], [np.ones(4)], []])
def test_class_weights_need_both_classes(masks):
    with pytest.raises(ValueError, match="both classes"):
        class_weights(masks)


def test_with_the_class_weights_both_classes_count_the_same():
    truth = np.zeros((1, 100), np.uint8)
    truth[0, :5] = 1
    loss = WeightedCrossEntropy(*class_weights([truth]))
    wrong_on_femur = predictions(np.where(truth, 0.3, 0.001))
    wrong_on_background = predictions(np.where(truth, 0.999, 0.7))
    assert float(loss(truth, wrong_on_femur)) == pytest.approx(float(loss(truth, wrong_on_background)), rel=1e-3)


# --- weights at the border


def test_border_weights_fall_off_on_both_sides_of_the_border():
    mask = np.zeros((5, 40), np.uint8)
    mask[:, 20:] = 1
    weight = border_weights(mask)
    np.testing.assert_allclose(weight[2, [19, 20]], 1 + BORDER_WEIGHT)
    np.testing.assert_allclose(weight[2, [17, 22]], 1 + BORDER_WEIGHT * np.exp(-(2**2) / (2 * 2.0**2)), rtol=1e-6)
    np.testing.assert_allclose(weight[2, [0, 39]], 1, atol=1e-4)


def test_borders_lie_within_slices_and_a_slice_without_one_weighs_1():
    mask = np.zeros((8, 8, 3), np.uint8)
    mask[2:5, 2:5, 1] = 1
    mask[..., 2] = 1
    weight = border_weights(mask)
    assert (weight[..., [0, 2]] == 1).all()
    np.testing.assert_array_equal(weight[..., 1], border_weights(mask[..., 1]))


def test_border_weights_as_sample_weights_multiply_the_loss_of_each_voxel():
    weight = np.array([[1, 3, 2, 1]], np.float32)
    by_voxel = np.array([5, 5, 2, 2]) * -np.log(OF_TRUTH)
    assert float(WeightedCrossEntropy(2, 5)(TRUTH, P, weight)) == pytest.approx((weight * by_voxel).mean(), rel=1e-5)


# --- our loss


def test_dice_cross_entropy_by_hand():
    dice = (2 * (0.8 + 0.5) + 1) / (2 + 1.8 + 1)
    assert float(DiceCrossEntropy()(TRUTH, P)) == pytest.approx(-np.log(OF_TRUTH).mean() + 1 - dice, rel=1e-5)
    assert float(DiceCrossEntropy()(TRUTH, predictions(TRUTH))) == pytest.approx(0, abs=1e-5)


def test_its_dice_is_taken_over_the_batch_and_not_over_each_scan():
    truth, p = some_batch()
    apart = np.mean([float(DiceCrossEntropy()(truth[i : i + 1], p[i : i + 1])) for i in range(2)])
    in_one_row = float(DiceCrossEntropy()(truth.reshape(1, -1), p.reshape(1, -1, 2)))
    assert float(DiceCrossEntropy()(truth, p)) == pytest.approx(in_one_row, rel=1e-5)
    assert in_one_row != pytest.approx(apart, rel=1e-5)


# --- every loss


@ALL
def test_gradients_are_the_slopes_and_push_each_voxel_to_its_truth(loss):
    truth, p = some_batch()
    truth, logits = truth[:, :2, :2, 0], np.log(p[:, :2, :2, 0])

    def of_logits(values):
        return loss(truth, keras.ops.softmax(values, axis=-1))

    found = gradient(of_logits, logits)
    step = 1e-2
    for where in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[where], down[where] = up[where] + step, down[where] - step
        slope = (float(of_logits(up)) - float(of_logits(down))) / (2 * step)
        assert found[where] == pytest.approx(slope, rel=0.02, abs=2e-4)
    assert ((found[..., 1] < 0) == (truth == 1)).all()


def test_a_training_loop_of_gradients_takes_the_steps_of_fit():
    truth = (np.arange(64).reshape(1, 8, 8) % 5 == 0).astype("uint8")
    image, loss = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype("float32"), WeightedCrossEntropy(1, 4)

    def begin():
        keras.utils.set_random_seed(0)
        return unet(Architecture(dimensions=2, features=2, levels=1)), keras.optimizers.Adam(0.01)

    model, adam = begin()
    for _ in range(3):
        weights = [variable.value for variable in model.trainable_variables]
        slopes = gradient(lambda at: loss(truth, model.stateless_call(at, [], image)[0]), weights)
        adam.apply(slopes, model.trainable_variables)
    fitted, adam = begin()
    fitted.compile(adam, loss)
    fitted.fit(image, truth, epochs=3, verbose=0)
    for ours, theirs in zip(model.get_weights(), fitted.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "kind", "weights"),
    [
        ("weighted-cross-entropy", WeightedCrossEntropy, class_weights([TRUTH[:, :3]])),
        ("border-weighted", WeightedCrossEntropy, class_weights([TRUTH[:, :3]])),
        ("cross-entropy", WeightedCrossEntropy, (1, 1)),
        ("dice-cross-entropy", DiceCrossEntropy, None),
    ],
)
def test_a_recipe_names_its_loss_and_eq_1_counts_the_training_masks(name, kind, weights):
    loss = loss_of(name, [TRUTH[:, :3]])
    assert type(loss) is kind
    assert weights is None or (loss.background, loss.femur) == weights


@ALL
def test_a_loss_comes_back_from_its_configuration(loss):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    truth, p = some_batch()
    assert type(again) is type(loss)
    assert float(again(truth, p)) == pytest.approx(float(loss(truth, p)))


def test_a_compiled_model_is_saved_and_loaded(tmp_path):
    inputs = keras.Input((4, 1))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(inputs))
    model.compile("adam", WeightedCrossEntropy(2, 5), metrics=[FemurDice()])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert (again.loss.background, again.loss.femur) == (2, 5)


# --- the overlap that training shows


def test_femur_dice_over_two_batches_by_hand_and_after_a_reset():
    dice = FemurDice()
    dice.update_state(np.array([[1, 1, 0, 0]]), predictions([[0.9, 0.2, 0.6, 0.1]]))  # 1 hit, 1 missed, 1 too many
    dice.update_state(np.array([[1, 1, 1, 0]]), predictions([[0.9, 0.7, 0.6, 0.3]]))  # 3 hits
    assert float(dice.result()) == pytest.approx(2 * 4 / (2 * 4 + 1 + 1))
    dice.reset_state()
    dice.update_state(np.array([[0] * 99 + [1]]), predictions([[0.1] * 100]))  # the background does not count
    assert float(dice.result()) == 0


def test_the_metric_comes_back_from_its_configuration():
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(FemurDice(name="overlap")))
    again.update_state(TRUTH, P)
    assert again.name == "overlap"
    assert float(again.result()) == pytest.approx(2 / 3)
