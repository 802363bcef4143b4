"""From subjects to the batches of a training step.

Everything random follows from the seed and the epoch: a training that was stopped and goes on sees the same samples in
the same order as one that was not.
"""

import os
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
from joblib.memory import CacheWarning

from femur_lib import __version__
from femur_lib._runtime.backend import keras
from femur_lib._runtime.files import room, unpacked_hash
from femur_lib.architecture import Architecture, unpadded_geometry
from femur_lib.augmentation import augment
from femur_lib.cohort import Cohort, Subject, read_subject
from femur_lib.losses import border_weights
from femur_lib.preprocessing import Grid, grid_spacing_mm, mask_to_grid, pad_to_multiple, three_slices, to_grid
from femur_lib.volumes import femur_outside, to_stack


@dataclass(frozen=True)
class Sample:
    """One subject on the network's grid: image (rows, columns, slices) float32, mask uint8 of the same shape.

    ``outside`` counts the femur's voxels, on the scan's own grid, in slices that the grid leaves out. ``spacing_mm`` is
    that of the grid's voxels.
    """

    subject: str
    image: np.ndarray
    mask: np.ndarray
    outside: int = 0
    spacing_mm: tuple[float, ...] = ()


def load_samples(
    cohort: Cohort, subjects: Sequence[str], grid: Grid, cache: str | os.PathLike | None = None
) -> list[Sample]:
    """Read subjects onto a grid.

    Args:
        cohort: where they are.
        subjects: their names.
        grid: what the network sees.
        cache: a folder that keeps what was read, by the contents of the files and by the grid; it may be removed at
            any time. Samples then stay on disk and are read as needed. Without a cache they stay in memory (86 hips at
            256 x 256 x 48: 1.4 GB).
    """
    kept, found = _cached(cache), []
    for name in subjects:
        looked = room(cache, bytes_to_cache(cohort, [name], grid, cache)) if cache else nullcontext()
        with looked, warnings.catch_warnings():
            # joblib only warns that it could not write, and then fails to find what it wrote.
            warnings.simplefilter("error", CacheWarning)
            found.append(Sample(name, *kept(*_asked(cohort[name], grid, cache))))
    return found


def bytes_to_cache(cohort: Cohort, subjects: Sequence[str], grid: Grid, cache: str | os.PathLike) -> int:
    """What :func:`load_samples` would write: float32 and uint8 for each voxel of the grid, if it is not there."""
    missing = len(subjects)
    if Path(cache).is_dir():
        kept = _cached(cache)
        missing = sum(not kept.check_call_in_cache(*_asked(cohort[name], grid, cache)) for name in subjects)
    return missing * grid.rows * grid.columns * grid.slices * 5


def _cached(cache: str | os.PathLike | None):
    return joblib.Memory(cache, mmap_mode="r", verbose=0).cache(_on_grid, ignore=["subject"])


def _asked(subject: Subject, grid: Grid, cache: str | os.PathLike | None) -> tuple:
    key = (unpacked_hash(subject.image), unpacked_hash(subject.mask)) if cache else None
    return subject, key, grid, __version__


def _on_grid(subject: Subject, key, grid: Grid, version: str) -> tuple[np.ndarray, np.ndarray, int, tuple[float, ...]]:
    image, mask = read_subject(subject)
    femur = to_stack(mask).array
    seen, outside = to_grid(to_stack(image).array, grid), femur_outside(femur, grid.slices)
    return seen, mask_to_grid(femur, grid), outside, grid_spacing_mm(image, grid)


class HipDataset(keras.utils.PyDataset):
    """The batches of one epoch, for any backend. Set ``epoch`` before each epoch begins (a Keras callback does).

    A batch is computed from its number, so nothing is carried over from one epoch to the next. TensorFlow prepares the
    next ones while the network works.

    Args:
        samples: what to learn from.
        architecture: of the network that takes the batches.
        batch_size: slices (2D) or volumes (3D).
        augmentation: how the copies of each epoch differ, see :func:`femur_lib.augmentation.augment`.
        seed: of everything random; None takes the samples in order, for validation.
        border_weights: add a weight for every voxel, :func:`femur_lib.losses.border_weights`.
        passes: how often an epoch has each slice or volume, each time with other augmentation.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        architecture: Architecture,
        batch_size: int,
        augmentation: Sequence[str] = (),
        seed: int | None = None,
        border_weights: bool = False,
        passes: int = 1,
    ):
        super().__init__(workers=1)  # more would prepare batches of an epoch before it is told which one it is
        self.samples, self.architecture, self.batch_size = list(samples), architecture, batch_size
        self.augmentation, self.seed, self.border_weights, self.epoch = augmentation, seed, border_weights, 0
        if architecture.dimensions == 2:
            self.items = [(i, k) for i, s in enumerate(self.samples) for k in range(s.image.shape[2])]
        else:
            self.items = [(i, 0) for i in range(len(self.samples))]
        self.items *= passes
        self.seen: tuple[slice, ...] = (slice(None), slice(None))
        if not architecture.padded and self.samples:  # the mask of the centre area alone (Methods)
            sizes = [unpadded_geometry(n, architecture.levels) for n in self.samples[0].image.shape[:2]]
            self.seen = tuple(slice(g.before, g.before + g.output) for g in sizes)

    def __len__(self) -> int:
        return -(-len(self.items) // self.batch_size)

    def volume(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Image and mask of one scan on the grid, before augmentation."""
        return self.samples[i].image, self.samples[i].mask

    def _item(self, item: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        i, k = item
        image, mask = self.volume(i)
        flat = self.architecture.dimensions == 2
        if flat:
            image, mask = three_slices(image, k), mask[..., k : k + 1]
        image, mask = augment(image, mask, rng, self.augmentation)
        targets = [mask, border_weights(mask)] if self.border_weights else [mask]
        if self.architecture.padded:
            multiples = self.architecture.size_multiple
            image, *targets = (pad_to_multiple(a, multiples) for a in (image, *targets))
        else:
            targets = [a[self.seen] for a in targets]
        return (image, *(a[..., 0] for a in targets)) if flat else (image[..., None], *targets)

    def __getitem__(self, number: int) -> tuple[np.ndarray, ...]:
        """One batch of the current epoch: float32 images (N, ..., C), uint8 masks (N, ...), and weights if asked."""
        order = np.arange(len(self.items))
        if self.seed is not None:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(order)
        rng = np.random.default_rng((self.seed or 0, self.epoch, number))
        chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
        images, *targets = (np.stack(a) for a in zip(*(self._item(self.items[j], rng) for j in chosen), strict=True))
        return (images.astype(np.float32), *targets)
