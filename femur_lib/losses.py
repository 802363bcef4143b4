"""What training minimises, and the overlap by which it is watched (Methods, Eq. 1).

Labels are whole numbers (0 background, 1 femur) of shape (N, ...); predictions are softmax outputs of shape
(N, ..., 2). The paper's loss is :class:`WeightedCrossEntropy`. A recipe names the loss (:mod:`femur_lib.config`), and
:func:`loss_of` builds it: a new loss is a class here and a line there.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from femur_lib._runtime.backend import keras

ops = keras.ops
EPSILON = 1e-7
BORDER_WEIGHT, BORDER_WIDTH = 10.0, 2.0  # the weight at the border, and the Gaussian's standard deviation in pixels


def class_weights(masks: Sequence[np.ndarray]) -> tuple[float, float]:
    """Weights of background and femur, N / N_b and N / N_p, counted over the training masks (paper, Eq. 1).

    >>> class_weights([np.array([0, 0, 0, 1])])
    (1.3333333333333333, 4.0)

    Raises:
        ValueError: one of the two classes has no voxel.
    """
    total = sum(mask.size for mask in masks)
    femur = sum(int(np.count_nonzero(mask)) for mask in masks)
    if not 0 < femur < total:
        raise ValueError(f"class weights need voxels of both classes, got {femur} femur voxels of {total}")
    return total / (total - femur), total / femur


def _probability_of_truth(femur, y_pred):
    return femur * y_pred[..., 1] + (1 - femur) * y_pred[..., 0]


def _cross_entropy(femur, y_pred):
    return -ops.log(ops.clip(_probability_of_truth(femur, y_pred), EPSILON, 1.0))


@keras.saving.register_keras_serializable("femur_lib")
class WeightedCrossEntropy(keras.losses.Loss):
    """Eq. 1: the negative log-probability of the true label, weighted by class and averaged over voxels.

    The equation itself is lost in the paper's text; PAPER.md lists its readings. Ours is the mean of w_y * -log p_y
    with w = N / N_class, so that the two classes count the same however unequal their sizes are. With both weights 1 it
    is the plain cross-entropy.
    """

    def __init__(self, background: float = 1.0, femur: float = 1.0, name: str = "weighted_cross_entropy", **kwargs):
        super().__init__(name=name, reduction="mean", **kwargs)
        self.background, self.femur = float(background), float(femur)

    def call(self, y_true, y_pred):
        """The loss of every voxel, shape (N, ...); the base class averages it."""
        femur = ops.cast(y_true, y_pred.dtype)
        weight = femur * self.femur + (1 - femur) * self.background
        return weight * _cross_entropy(femur, y_pred)

    def get_config(self):
        """What is needed to build it again."""
        return {"name": self.name, "background": self.background, "femur": self.femur}


@keras.saving.register_keras_serializable("femur_lib")
class DiceCrossEntropy(keras.losses.Loss):
    """Ours, not the paper's: unweighted cross-entropy plus one minus the soft Dice of the femur, over the batch.

    Dice counts the femur alone, so no class weight is needed, and it is the score by which masks are judged.
    """

    def __init__(self, name: str = "dice_cross_entropy", **kwargs):
        super().__init__(name=name, reduction="sum_over_batch_size", **kwargs)

    def call(self, y_true, y_pred):
        """One value for the whole batch."""
        femur = ops.cast(y_true, y_pred.dtype)
        p = y_pred[..., 1]
        dice = (2 * ops.sum(femur * p) + 1) / (ops.sum(femur) + ops.sum(p) + 1)
        return ops.reshape(ops.mean(_cross_entropy(femur, y_pred)) + 1 - dice, (1,))

    def get_config(self):
        """What is needed to build it again."""
        return {"name": self.name}


def border_weights(mask: np.ndarray) -> np.ndarray:
    """How much each voxel counts in the "border-weighted" loss: 1 + w0 exp(-d^2 / 2 s^2), most at the femur's border.

    The paper proposes "a surface-based weighting, a variant of weight-map for the borders" of the U-net (Results;
    Ronneberger et al. 2015, Eq. 2). There d is the distance to the borders of two cells; one femur has one border. We
    measure it within slices, in pixels, from each voxel to the nearest one of the other class; a slice without femur
    has no border.

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


def loss_of(name: str, masks: Sequence[np.ndarray]) -> keras.losses.Loss:
    """The loss that a recipe names.

    Args:
        name: "weighted-cross-entropy" (Eq. 1), "border-weighted" (Eq. 1 on samples that the dataset weights by
            :func:`border_weights`), "cross-entropy" (unweighted) or "dice-cross-entropy" (ours).
        masks: the training masks, over which Eq. 1 counts its voxels.
    """
    if name in ("weighted-cross-entropy", "border-weighted"):
        return WeightedCrossEntropy(*class_weights(masks))
    return {"cross-entropy": WeightedCrossEntropy, "dice-cross-entropy": DiceCrossEntropy}[name]()


@keras.saving.register_keras_serializable("femur_lib")
class FemurDice(keras.metrics.Metric):
    """Dice of the femur over all voxels seen in an epoch; a voxel counts as femur where that is the likelier class.

    Keras's IoU would say the same, but on PyTorch it counts voxel by voxel, in Python.
    """

    def __init__(self, name: str = "dice", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.common = self.add_weight(name="common", initializer="zeros")
        self.sizes = self.add_weight(name="sizes", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Count the voxels of a batch; weights of samples do not matter here."""
        femur, found = ops.cast(y_true, self.dtype), ops.cast(y_pred[..., 1] > y_pred[..., 0], self.dtype)
        self.common.assign_add(ops.sum(femur * found))
        self.sizes.assign_add(ops.sum(femur) + ops.sum(found))

    def result(self):
        """Twice the voxels that both call femur, by the voxels of the two; 0 where there are none."""
        return ops.divide_no_nan(2 * self.common, self.sizes)
