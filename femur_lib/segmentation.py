"""From one scan to one mask, with a network that is trained. Needs no TensorFlow: only what its network needs."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from femur_lib.architecture import Architecture
from femur_lib.errors import DataError
from femur_lib.inference import predict_volume
from femur_lib.masks import largest_component, threshold_mask
from femur_lib.volumes import Grid, Volume, grid_spacing_mm, to_stack, write_volume

SUFFIXES = {"probability": "_probability.nii.gz", "mask": "_mask.nii.gz"}
SPACING_TOLERANCE = 1.5  # a network is not asked about pixels that much larger or smaller than it was trained on


class Network(Protocol):
    """What predicts: a Keras model, or anything with this method."""

    def predict_on_batch(self, x: np.ndarray) -> Any:
        """(N, ..., C) images to (N, ..., 2) probabilities of background and femur."""


@dataclass(frozen=True)
class Segmenter:
    """A trained network with everything around it that turns a scan into a mask.

    Attributes:
        network: of unpadded kind, it is built for the input size that ``patches`` asks for.
        architecture: what it is.
        grid: how it sees a scan.
        threshold: voxels whose probability is above it are femur.
        largest_component: whether only the largest component is kept: the paper does so after 2D networks alone.
        flip: whether each prediction is averaged with that of the mirrored scan.
        patches: of unpadded networks, see :func:`femur_lib.inference.grid_probability`.
        grid_spacing_mm: of the scans it was trained on, once on the grid.
    """

    network: Network
    architecture: Architecture
    grid: Grid
    threshold: float
    largest_component: bool
    flip: bool
    patches: str
    grid_spacing_mm: tuple[float, ...]


def segment(segmenter: Segmenter, volume: Volume) -> tuple[Volume, Volume]:
    """Probability (float32) and mask (boolean) of one scan, with the scan's own axes and affine."""
    s = segmenter
    probability = predict_volume(s.network, s.architecture, s.grid, volume, s.flip, s.patches)
    mask = threshold_mask(probability.array, s.threshold)
    if s.largest_component:
        mask = largest_component(mask)
    return probability, Volume(mask, volume.affine)


def check_fits(segmenter: Segmenter, path: str | os.PathLike, volume: Volume) -> None:
    """Raise a DataError if a scan's pixels, once resampled, differ much from those the network was trained on."""
    found, wanted = np.array(grid_spacing_mm(to_stack(volume), segmenter.grid)), np.array(segmenter.grid_spacing_mm)
    ratio = np.maximum(found / wanted, wanted / found).max()
    if ratio > SPACING_TOLERANCE:
        raise DataError(
            path,
            f"pixels of {_times(found)} mm on the network's grid",
            f"about {_times(wanted)} mm, as in its training",
            "Crop or resample the scan to a field of view like that of the training scans.",
        )


def scans_by_name(images: Sequence[str | os.PathLike]) -> dict[str, Path]:
    """Scans by the names of their files, less ``.nii`` and ``.gz``.

    Raises:
        DataError: two files of one name.
    """
    scans: dict[str, Path] = {}
    for image in map(Path, images):
        name = image.name.removesuffix(".gz").removesuffix(".nii")
        if name in scans:
            raise DataError(image, f"the name {name} twice", "a name of its own for each scan", "Rename one.")
        scans[name] = image
    return scans


def check_free(out: Path, name: str, suffixes: Iterable[str] = SUFFIXES.values()) -> None:
    """Raise a DataError if one of the files to be written for a scan is there already."""
    for suffix in suffixes:
        target = out / f"{name}{suffix}"
        if target.exists():
            raise DataError(target, "a file there already", "nothing", "Choose another folder, or pass --overwrite.")


def write_segmentation(out: Path, name: str, probability: Volume, mask: Volume) -> Path:
    """Write both beside each other; returns the mask's path."""
    write_volume(out / f"{name}{SUFFIXES['probability']}", probability.array, probability.affine)
    return write_volume(out / f"{name}{SUFFIXES['mask']}", mask.array, mask.affine)


def _times(values) -> str:
    return " x ".join(f"{v:.3g}" for v in values)
