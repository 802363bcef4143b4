"""What training minimises, and the overlap it is watched by.

Labels are whole numbers (0 background, 1 femur) of shape (N, ...); predictions are softmax outputs of shape
(N, ..., 2).
"""

import keras
import numpy as np
from keras import ops

EPSILON = 1e-7


def class_weights(masks: list[np.ndarray]) -> tuple[float, float]:
    """Weights of background and femur, N / N_b and N / N_p, counted over the training masks (paper, Eq. 1)."""
    total = sum(mask.size for mask in masks)
    femur = sum(int(np.count_nonzero(mask)) for mask in masks)
    if not 0 < femur < total:
        raise ValueError(f"class weights need voxels of both classes, got {femur} femur voxels of {total}")
    return total / (total - femur), total / femur


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
        p = femur * y_pred[..., 1] + (1 - femur) * y_pred[..., 0]
        weight = femur * self.femur + (1 - femur) * self.background
        return -weight * ops.log(ops.clip(p, EPSILON, 1.0))

    def get_config(self):
        """What is needed to build it again."""
        return {"name": self.name, "background": self.background, "femur": self.femur}


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
        true_class = femur * p + (1 - femur) * y_pred[..., 0]
        cross_entropy = -ops.mean(ops.log(ops.clip(true_class, EPSILON, 1.0)))
        dice = (2 * ops.sum(femur * p) + 1) / (ops.sum(femur) + ops.sum(p) + 1)
        return ops.reshape(cross_entropy + 1 - dice, (1,))

    def get_config(self):
        """What is needed to build it again."""
        return {"name": self.name}


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
