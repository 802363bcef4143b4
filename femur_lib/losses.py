"""What training minimises, and the overlap it is watched by.

Labels are whole numbers (0 background, 1 femur) of shape (N, ...); predictions are softmax outputs of shape
(N, ..., 2). The paper's loss is :class:`WeightedCrossEntropy`; recipes name it, its other readings and its rivals
(:mod:`femur_lib.recipes`), and :func:`loss_of` builds them.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops
from scipy import ndimage

from femur_lib.recipes import Recipe

EPSILON = 1e-7
BORDER_WEIGHT, BORDER_WIDTH = 10.0, 2.0  # at the border, and the Gaussian's standard deviation in pixels


def class_weights(masks: Sequence[np.ndarray]) -> tuple[float, float]:
    """Weights of background and femur, N / N_b and N / N_p, counted over the training masks (paper, Eq. 1)."""
    total = sum(mask.size for mask in masks)
    femur = sum(int(np.count_nonzero(mask)) for mask in masks)
    if not 0 < femur < total:
        raise ValueError(f"class weights need voxels of both classes, got {femur} femur voxels of {total}")
    return total / (total - femur), total / femur


def border_weights(mask: np.ndarray) -> np.ndarray:
    """How much more each voxel counts for being near the femur's border: 1 + w0 exp(-d^2 / 2 s^2).

    The paper proposes "a surface-based weighting, a variant of weight-map for the borders" of the U-net (Discussion;
    Ronneberger et al. 2015, Eq. 2). There d is the distance to the borders of two cells; one femur has one border.
    It is measured within slices, in pixels, from each voxel to the nearest one of the other class; a slice without
    femur has no border.

    Args:
        mask: (rows, columns) or (rows, columns, slices).

    Returns:
        float32, the mask's shape.
    """
    slices = mask[..., None] if mask.ndim == 2 else mask
    weight = np.ones(slices.shape, np.float32)
    for k in np.flatnonzero(slices.any((0, 1)) & ~slices.all((0, 1))):
        inside = slices[..., k] > 0
        distance = np.where(inside, ndimage.distance_transform_edt(inside), ndimage.distance_transform_edt(~inside))
        weight[..., k] += BORDER_WEIGHT * np.exp(-((distance - 1) ** 2) / (2 * BORDER_WIDTH**2))
    return weight.reshape(mask.shape)


def loss_of(recipe: Recipe, masks: Sequence[np.ndarray]) -> keras.losses.Loss:
    """The loss that a recipe names.

    "border-weighted" is Eq. 1 on samples that come with :func:`border_weights`; the feed brings them.

    Args:
        recipe: how to train.
        masks: the training masks, over which Eq. 1 counts its voxels.
    """
    if recipe.loss in ("weighted-cross-entropy", "border-weighted"):
        return WeightedCrossEntropy(*class_weights(masks))
    others = {
        "weighted-by-scan": CrossEntropyWeightedByScan,
        "cross-entropy": WeightedCrossEntropy,  # both weights 1
        "dice-cross-entropy": DiceCrossEntropy,
        "tversky": FemurTversky,
        "focal": Focal,
    }
    return others[recipe.loss]()


def _probability_of_truth(y_true, y_pred):
    femur = ops.cast(y_true, y_pred.dtype)
    return femur * y_pred[..., 1] + (1 - femur) * y_pred[..., 0]


@keras.saving.register_keras_serializable("femur_lib")
class WeightedCrossEntropy(keras.losses.Loss):
    """Eq. 1: the negative log-probability of the true label, weighted by class, averaged over voxels.

    The equation itself is lost in the paper's text; PAPER.md lists its readings. Ours: mean of w_y * -log p_y with
    w = N / N_class, so that the two classes, however unequal in size, count the same.
    """

    def __init__(self, background: float = 1.0, femur: float = 1.0, name: str = "weighted_cross_entropy", **kwargs):
        super().__init__(name=name, reduction="mean", **kwargs)
        self.background, self.femur = float(background), float(femur)

    def call(self, y_true, y_pred):
        """The loss of every voxel, shape (N, ...); the base class averages it."""
        femur = ops.cast(y_true, y_pred.dtype)
        weight = femur * self.femur + (1 - femur) * self.background
        return -weight * ops.log(ops.clip(_probability_of_truth(y_true, y_pred), EPSILON, 1.0))

    def get_config(self):
        """What is needed to build it again."""
        return {"name": self.name, "background": self.background, "femur": self.femur}


@keras.saving.register_keras_serializable("femur_lib")
class CrossEntropyWeightedByScan(keras.losses.Loss):
    """Eq. 1 in another reading: N, N_b and N_p are counted in each volume (3D) or slice (2D) by itself.

    A slice without femur then weighs its background by 1.
    """

    def __init__(self, name: str = "cross_entropy_weighted_by_scan", **kwargs):
        super().__init__(name=name, reduction="mean", **kwargs)

    def call(self, y_true, y_pred):
        """The loss of every voxel, shape (N, ...)."""
        femur = ops.cast(y_true, y_pred.dtype)
        axes = tuple(range(1, len(y_pred.shape) - 1))
        share = ops.mean(femur, axis=axes, keepdims=True)
        tiny = 1e-7  # where a class is absent its weight multiplies nothing
        weight = femur / ops.maximum(share, tiny) + (1 - femur) / ops.maximum(1 - share, tiny)
        return -weight * ops.log(ops.clip(_probability_of_truth(y_true, y_pred), EPSILON, 1.0))

    def get_config(self):
        """What is needed to build it again."""
        return {"name": self.name}


@keras.saving.register_keras_serializable("femur_lib")
class DiceCrossEntropy(keras.losses.Loss):
    """Ours, not the paper's: unweighted cross-entropy plus one minus the soft Dice of the femur, over the batch.

    Dice counts the femur alone, so no class weight is needed, and it is the score we are judged by.
    """

    def __init__(self, name: str = "dice_cross_entropy", **kwargs):
        super().__init__(name=name, reduction="sum_over_batch_size", **kwargs)

    def call(self, y_true, y_pred):
        """One value for the whole batch."""
        femur = ops.cast(y_true, y_pred.dtype)
        p = y_pred[..., 1]
        cross_entropy = -ops.mean(ops.log(ops.clip(_probability_of_truth(y_true, y_pred), EPSILON, 1.0)))
        dice = (2 * ops.sum(femur * p) + 1) / (ops.sum(femur) + ops.sum(p) + 1)
        return ops.reshape(cross_entropy + 1 - dice, (1,))

    def get_config(self):
        """What is needed to build it again."""
        return {"name": self.name}


@keras.saving.register_keras_serializable("femur_lib")
class FemurTversky(keras.losses.Loss):
    """One minus the Tversky index of the femur over the batch, TP / (TP + a FP + b FN) (Salehi et al. 2017).

    b > a makes a missed voxel dearer than a false one. Not keras.losses.Tversky: in Keras 3.15 its ``alpha``, which
    is documented to weigh false positives, weighs false negatives.
    """

    def __init__(self, false_positive: float = 0.3, false_negative: float = 0.7, name: str = "tversky", **kwargs):
        super().__init__(name=name, reduction="sum_over_batch_size", **kwargs)
        self.false_positive, self.false_negative = float(false_positive), float(false_negative)

    def call(self, y_true, y_pred):
        """One value for the whole batch."""
        p = y_pred[..., 1]
        femur = ops.cast(y_true, p.dtype)
        found, marked, there = ops.sum(femur * p), ops.sum(p), ops.sum(femur)
        wrong = self.false_positive * (marked - found) + self.false_negative * (there - found)
        return ops.reshape(1 - (found + 1) / (found + wrong + 1), (1,))

    def get_config(self):
        """What is needed to build it again."""
        return {"name": self.name, "false_positive": self.false_positive, "false_negative": self.false_negative}


@keras.saving.register_keras_serializable("femur_lib")
class Focal(keras.losses.Loss):
    """Cross-entropy times (1 - p)^gamma, p the probability of the truth: easy voxels fade away (Lin et al. 2017)."""

    def __init__(self, gamma: float = 2.0, name: str = "focal", **kwargs):
        super().__init__(name=name, reduction="mean", **kwargs)
        self.gamma = float(gamma)

    def call(self, y_true, y_pred):
        """The loss of every voxel, shape (N, ...)."""
        truth = ops.one_hot(ops.cast(y_true, "int32"), 2, dtype=y_pred.dtype)
        return keras.losses.categorical_focal_crossentropy(truth, y_pred, alpha=1.0, gamma=self.gamma)

    def get_config(self):
        """What is needed to build it again."""
        return {"name": self.name, "gamma": self.gamma}


@keras.saving.register_keras_serializable("femur_lib")
class FemurAccuracy(keras.metrics.Recall):
    """Accuracy over the femur's voxels alone, which is recall: what code related to the paper's stops by."""

    def __init__(self, name: str = "femur_accuracy", dtype=None, **kwargs):
        super().__init__(name=name, dtype=dtype, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Count one batch."""
        return super().update_state(y_true, y_pred[..., 1])


@keras.saving.register_keras_serializable("femur_lib")
class FemurDice(keras.metrics.IoU):
    """Dice of the femur over all voxels seen in an epoch, by argmax. (Dice is 2 IoU / (1 + IoU).)"""

    def __init__(self, name: str = "dice", dtype=None):
        super().__init__(2, [1], name=name, dtype=dtype, sparse_y_true=True, sparse_y_pred=False)

    def result(self):
        """2 IoU / (1 + IoU)."""
        iou = super().result()
        return 2 * iou / (1 + iou)

    def get_config(self):
        """What is needed to build it again."""
        return {"name": self.name, "dtype": self.dtype}
