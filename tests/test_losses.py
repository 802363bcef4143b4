import keras
import numpy as np
import pytest
import tensorflow as tf

from femur_lib.losses import (
    BORDER_WEIGHT,
    CrossEntropyWeightedByScan,
    DiceCrossEntropy,
    FemurAccuracy,
    FemurDice,
    FemurTversky,
    Focal,
    WeightedCrossEntropy,
    border_weights,
    class_weights,
    loss_of,
)
from femur_lib.recipes import Recipe


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


def test_counted_by_scan_each_scan_has_weights_of_its_own():
    truth = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]], np.uint8)  # weights 4 and 4/3; 2 and 2; none and 1
    p = predictions([[0.8, 0.1, 0.4, 0.3], [0.5, 0.6, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4]])
    by_hand = [
        4 * np.log(0.8) + 4 / 3 * np.log([0.9, 0.6, 0.7]).sum(),
        2 * np.log([0.5, 0.6, 0.8, 0.7]).sum(),
        np.log([0.9, 0.8, 0.7, 0.6]).sum(),
    ]
    assert float(CrossEntropyWeightedByScan()(truth, p)) == pytest.approx(-np.sum(by_hand) / 12, rel=1e-5)


def test_for_one_scan_both_countings_of_eq_1_agree():
    truth, p = (a[:1] for a in some_batch())
    whole_set = WeightedCrossEntropy(*class_weights(list(truth)))
    assert float(CrossEntropyWeightedByScan()(truth, p)) == pytest.approx(float(whole_set(truth, p)), rel=1e-5)


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


# --- losses of others


def test_tversky_by_hand():
    """0.8 and 0.5 of two femur voxels are found, 0.7 missed; 0.1 and 0.4 of the background are marked."""
    expected = 1 - (1.3 + 1) / (1.3 + 0.3 * 0.5 + 0.7 * 0.7 + 1)
    assert float(FemurTversky()(TRUTH, P)) == pytest.approx(expected, rel=1e-5)


def test_tversky_of_equal_weights_is_dice():
    truth, p = some_batch()
    soft_dice = (2 * (truth * p[..., 1]).sum() + 2) / (truth.sum() + p[..., 1].sum() + 2)
    assert float(FemurTversky(0.5, 0.5)(truth, p)) == pytest.approx(1 - soft_dice, rel=1e-5)


def test_tversky_minds_a_missed_voxel_more_than_a_false_one():
    missed, false = predictions([[0.9, 0.2, 0.1, 0.1]]), predictions([[0.9, 0.9, 0.8, 0.1]])
    assert float(FemurTversky()(TRUTH, missed)) > float(FemurTversky()(TRUTH, false))


def test_focal_by_hand():
    p = np.array([0.8, 0.5, 0.9, 0.6])  # of the truth
    assert float(Focal()(TRUTH, P)) == pytest.approx(-((1 - p) ** 2 * np.log(p)).mean(), rel=1e-5)


def test_focal_without_focus_is_cross_entropy():
    truth, p = some_batch()
    assert float(Focal(gamma=0)(truth, p)) == pytest.approx(float(WeightedCrossEntropy()(truth, p)), rel=1e-5)


ALL = [
    WeightedCrossEntropy(2, 5),
    CrossEntropyWeightedByScan(),
    DiceCrossEntropy(),
    FemurTversky(0.2, 0.8),
    Focal(1.5),
]


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: loss.name)
def test_gradients_are_the_slopes_and_push_each_voxel_to_its_truth(loss):
    truth, p = some_batch()
    truth, logits = truth[:, :2, :2, 0], np.log(p[:, :2, :2, 0])

    def of_logits(values):
        return loss(truth, keras.ops.softmax(values, axis=-1))

    values = tf.Variable(logits, dtype="float32")
    with tf.GradientTape() as tape:
        found = of_logits(values)
    gradient = tape.gradient(found, values).numpy()
    step = 1e-2
    for where in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[where], down[where] = up[where] + step, down[where] - step
        slope = (float(of_logits(up)) - float(of_logits(down))) / (2 * step)
        assert gradient[where] == pytest.approx(slope, rel=0.02, abs=2e-4)
    assert ((gradient[..., 1] < 0) == (truth == 1)).all()


def test_a_sample_weight_is_the_border_weighted_loss():
    weight = np.array([[1, 3, 2, 1]], np.float32)
    by_voxel = np.array([5, 5, 2, 2]) * -np.log([0.8, 0.5, 0.9, 0.6])
    assert float(WeightedCrossEntropy(2, 5)(TRUTH, P, weight)) == pytest.approx((weight * by_voxel).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("weighted-cross-entropy", WeightedCrossEntropy),
        ("border-weighted", WeightedCrossEntropy),
        ("weighted-by-scan", CrossEntropyWeightedByScan),
        ("dice-cross-entropy", DiceCrossEntropy),
        ("tversky", FemurTversky),
        ("focal", Focal),
    ],
)
def test_recipes_name_their_loss(name, kind):
    assert type(loss_of(Recipe(loss=name), [TRUTH])) is kind


def test_eq_1_gets_the_weights_of_the_training_masks_and_plain_cross_entropy_none():
    masks = [np.array([1, 0, 0, 0])]
    weighted, plain = (loss_of(Recipe(loss=name), masks) for name in ("weighted-cross-entropy", "cross-entropy"))
    assert (weighted.background, weighted.femur) == class_weights(masks)
    assert (plain.background, plain.femur) == (1, 1)


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


def test_femur_accuracy_is_the_share_of_the_femur_that_was_found():
    accuracy = FemurAccuracy()
    accuracy.update_state(np.array([[1, 1, 0, 0]]), predictions([[0.9, 0.2, 0.6, 0.1]]))
    accuracy.update_state(np.array([[1, 1, 1, 0]]), predictions([[0.9, 0.7, 0.6, 0.3]]))
    assert float(accuracy.result()) == pytest.approx(4 / 5)


# --- kept in files


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: loss.name)
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
