"""From subjects to what a training step eats.

Everything random follows from (seed, epoch): a training that was stopped and goes on sees the same samples in the
same order as one that was not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from femur_lib.architecture import CHANNELS_2D, Architecture, unpadded_geometry
from femur_lib.augmentation import augment, flip
from femur_lib.cohort import Cohort, read_subject
from femur_lib.inputs import pad_to_multiple, three_slices
from femur_lib.volumes import Grid, mask_to_grid, to_grid, to_stack


@dataclass(frozen=True)
class Sample:
    """One subject on the network's grid: image (rows, columns, slices) float32, mask uint8 of the same shape."""

    subject: str
    image: np.ndarray
    mask: np.ndarray


def load_samples(cohort: Cohort, subjects: Sequence[str], grid: Grid) -> list[Sample]:
    """Read subjects onto a grid; they stay in memory (86 hips at 256 x 256 x 48: 1.4 GB)."""
    samples = []
    for name in subjects:
        image, mask = read_subject(cohort[name])
        samples.append(Sample(name, to_grid(to_stack(image).array, grid), mask_to_grid(to_stack(mask).array, grid)))
    return samples


class Feed:
    """Batches of one epoch.

    Set ``epoch`` before each epoch begins (a Keras callback does). ``recipe`` is "paper" (flips), "ours" (flips,
    deformation, intensity) or "none" (validation: as they are, in order).
    """

    def __init__(self, samples: Sequence[Sample], architecture: Architecture, batch_size: int, recipe: str, seed: int):
        self.samples, self.architecture, self.batch_size = list(samples), architecture, batch_size
        self.recipe, self.seed, self.epoch = recipe, seed, 0
        if architecture.dimensions == 2:
            self.items = [(i, k) for i, s in enumerate(self.samples) for k in range(s.image.shape[2])]
        else:
            self.items = [(i, 0) for i in range(len(self.samples))]
        if not architecture.padded and self.samples:
            sizes = [unpadded_geometry(n, architecture.levels) for n in self.samples[0].image.shape[:2]]
            self.seen = tuple(slice(g.before, g.before + g.output) for g in sizes)
        else:
            self.seen = (slice(None), slice(None))

    def __len__(self) -> int:
        return -(-len(self.items) // self.batch_size)

    def _item(self, item: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        i, k = item
        image, mask = self.samples[i].image, self.samples[i].mask
        if self.architecture.dimensions == 2:  # three slices in, the middle one's mask out
            image, mask = three_slices(image, k), mask[..., k : k + 1]
        if self.recipe == "paper":
            image, mask = flip(image, mask, rng)
        elif self.recipe == "ours":
            image, mask = augment(image, mask, rng)
        if self.architecture.dimensions == 2:
            if self.architecture.padded:
                multiples = self.architecture.size_multiple
                return pad_to_multiple(image, multiples), pad_to_multiple(mask, multiples)[..., 0]
            return image, mask[..., 0][self.seen]
        multiples = self.architecture.size_multiple
        return pad_to_multiple(image, multiples)[..., None], pad_to_multiple(mask, multiples)

    def batch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """One batch of the current epoch: float32 images (N, ..., C) and uint8 masks (N, ...)."""
        if self.recipe == "none":
            order = np.arange(len(self.items))
        else:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.items))
        rng = np.random.default_rng((self.seed, self.epoch, number))
        chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
        pairs = [self._item(self.items[j], rng) for j in chosen]
        return np.stack([x for x, _ in pairs]).astype(np.float32), np.stack([y for _, y in pairs])

    def dataset(self):
        """The same as a ``tf.data.Dataset`` that prepares the next batches while the network works.

        A batch is computed from its number, so nothing is carried over from one epoch to the next.
        """
        import tensorflow as tf

        dimensions = self.architecture.dimensions

        def batch(number):
            x, y = tf.numpy_function(self.batch, [number], (tf.float32, tf.uint8))
            x.set_shape((None,) * (dimensions + 1) + (CHANNELS_2D if dimensions == 2 else 1,))
            y.set_shape((None,) * (dimensions + 1))
            return x, y

        return tf.data.Dataset.range(len(self)).map(batch).prefetch(2)
