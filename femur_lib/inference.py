"""From a scan to the probability of every voxel, and from there to a mask, on the scan's own grid.

Padded networks predict a whole slice or volume at once. For unpadded ones "we extrapolate the missing content by
mirroring the input image" and "divide the mirrored image into 9 patches that cover the full mirrored image with an
ordered overlap" (Inference and Post-processing). Voxels above a threshold are femur; of 2D networks' masks only the
largest component is kept.

What has been trained travels as one value, a :class:`Segmenter`. Nothing here needs Keras: a model is what predicts.
"""

import os
import threading
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy import ndimage

from femur_lib._runtime.errors import DataError
from femur_lib.architecture import (
    Architecture,
    UnpaddedGeometry,
    cost,
    pass_size,
    size_for_output,
    unpadded_geometry,
)
from femur_lib.preprocessing import (
    Grid,
    from_grid,
    grid_spacing_mm,
    pad_to_multiple,
    padded_size,
    reference_slices,
    resample_slices,
    three_slices,
    to_grid,
    unpad,
    with_slices_of,
)
from femur_lib.volumes import Volume, from_stack, to_stack, write_dicom_seg, write_volume

BATCH_PIXELS, BATCH_BYTES = 2**20, 2**30  # slices share a batch up to so many pixels, and bytes of their widest layer
LONGEST_NAME = 240  # bytes; file systems take 255, some of which a half-written file needs
NEIGHBOURS = np.ones((3, 3, 3))  # voxels that share a face, an edge or a corner touch one another
SUFFIXES = {"probability": "_probability.nii.gz", "mask": "_mask.nii.gz", "dicom": "_mask.dcm"}
SEGMENT = {1: ("Femur", "")}  # of a DICOM SEG: what the label is called, and its side where we know it
PLANES = ("axial", "sagittal", "coronal")  # a stack's axis along which a scan's slices follow one another
SPACING_TOLERANCE = 1.5  # a network is not asked about pixels so much larger or smaller than those it was trained on

_one_at_a_time = threading.Lock()  # scans may be read, resampled and scored side by side, but a network takes one


class Model(Protocol):
    """What predicts: a Keras model, or anything else with this method."""

    def predict_on_batch(self, x: np.ndarray) -> Any:
        """(N, ..., C) images to (N, ..., 2) probabilities of background and femur."""


@dataclass(frozen=True)
class Segmenter:
    """A trained network with everything around it that turns a scan into a mask.

    Attributes:
        model: the network; an unpadded one is built for the input size that ``patches`` asks for.
        architecture: what it is.
        grid: how it sees a scan. Of a scan with more slices it is asked about every one, in windows.
        threshold: voxels with a higher probability are femur.
        largest_component: whether only the largest component is kept; the paper does so after 2D networks alone.
        flip: whether each prediction is averaged with that of the mirrored scan.
        patches: for unpadded networks, the paper's "nine", or "one" pass over the mirrored slice.
        grid_spacing_mm: of the scans it was trained on, once on the grid.
        resample: whether a scan is first given slices as thick as those of the training.
        every_slice: False leaves all but the grid's central slices empty, as the paper's evaluation does.
        others: further networks whose probabilities are averaged with this one's, on the scan's own grid. Threshold and
            largest_component are this one's.
    """

    model: Model
    architecture: Architecture
    grid: Grid
    threshold: float = 0.5
    largest_component: bool = False
    flip: bool = False
    patches: str = "nine"
    grid_spacing_mm: tuple[float, ...] = ()
    resample: bool = False
    every_slice: bool = True
    others: tuple["Segmenter", ...] = ()


def segment(segmenter: Segmenter, volume: Volume) -> tuple[Volume, Volume]:
    """Probability (float32) and mask (boolean) of one scan, with the scan's own axes and affine."""
    probability, mask, _ = segment_by_each(segmenter, volume)
    return probability, mask


def segment_by_each(segmenter: Segmenter, volume: Volume) -> tuple[Volume, Volume, list[Volume]]:
    """As :func:`segment`; and, if there are several networks, the mask that each alone makes by the same threshold.

    How much these differ tells where networks are not to be trusted (:mod:`femur_lib.lab.quality_control`).
    """
    each = _predict_each(segmenter, volume)
    probability, masks = _mean(each), []
    for p in (probability, *each[: len(each) if segmenter.others else 0]):
        mask = threshold_mask(p.array, segmenter.threshold)
        masks.append(replace(volume, array=largest_component(mask) if segmenter.largest_component else mask))
    return probability, masks[0], masks[1:]


def predict_average(segmenter: Segmenter, volume: Volume) -> Volume:
    """The probability of :func:`segment` without its mask: of several networks their mean."""
    return _mean(_predict_each(segmenter, volume))


def _predict_each(segmenter: Segmenter, volume: Volume) -> list[Volume]:
    return [predict_volume(one, volume) for one in (segmenter, *segmenter.others)]


def _mean(each: list[Volume]) -> Volume:
    return replace(each[0], array=np.mean([p.array for p in each], axis=0)) if len(each) > 1 else each[0]


def predict_volume(segmenter: Segmenter, volume: Volume) -> Volume:
    """One network's femur probability of a scan as it lies on disk, in any axis order, oblique or not.

    Returns:
        Probabilities in [0, 1], float32, with the scan's own axes, shape and affine.
    """
    if segmenter.resample:
        like_training = with_slices_of(volume, segmenter.grid_spacing_mm[2])
        p = predict_volume(replace(segmenter, resample=False), like_training).array
        return from_stack(resample_slices(p, to_stack(volume).array.shape[2]), volume)
    stack = to_stack(volume).array
    seen = to_grid(stack, segmenter.grid, segmenter.every_slice)
    with _one_at_a_time:
        p = grid_probability(segmenter, seen)
    return from_stack(from_grid(p, stack.shape), volume)


def grid_probability(segmenter: Segmenter, stack: np.ndarray) -> np.ndarray:
    """Femur probability of a stack that is on the network's grid; with ``flip`` the mean with that of the mirrored one.

    Args:
        segmenter: the trained network.
        stack: (rows, columns, slices), of any size if the network is padded.

    Returns:
        float32, the stack's shape.
    """
    p = _grid_probability(segmenter, stack)
    return (p + _grid_probability(segmenter, stack[:, ::-1])[:, ::-1]) / 2 if segmenter.flip else p


def _grid_probability(segmenter: Segmenter, stack: np.ndarray) -> np.ndarray:
    """Without regard to ``flip``.

    A 2D network sees slice after slice. A 3D network sees all at once if they are not more than it was trained on, and
    otherwise window after window (:func:`slice_windows`). The window that is most like what training showed, usually
    the central one (:func:`femur_lib.preprocessing.reference_slices`), answers alone, and fades into its neighbours
    only towards its ends, where it does not see what follows; and so do these. The steps are small because a network
    knows a femur by its place, too: a window that is far from the reference finds one where none is.
    """
    model, a, patches = segmenter.model, segmenter.architecture, segmenter.patches
    rows, columns, slices = stack.shape
    if a.dimensions == 3:
        blended = np.zeros(stack.shape, np.float32)
        for window in slice_windows(slices, reference_slices(stack, segmenter.grid.slices)):
            part, so_far = stack[..., window], blended[..., window]
            padded = pad_to_multiple(part, a.size_multiple)
            p = unpad(model.predict_on_batch(padded[None, ..., None])[0, ..., 1], part.shape)
            so_far += window_weights(window, slices) * (p - so_far)
        return blended
    if a.padded:
        size = padded_size((rows, columns), a.size_multiple)
    else:
        size = (rows, columns) if patches == "nine" else pass_size(a, rows, columns)
    at_once = slices_at_once(a, size)
    out = np.empty(stack.shape, np.float32)
    for start in range(0, slices, at_once):
        chosen = range(start, min(slices, start + at_once))
        images = np.stack([three_slices(stack, k) for k in chosen])
        if a.padded:
            padded = pad_to_multiple(images, (1, *a.size_multiple))
            p = unpad(model.predict_on_batch(padded)[..., 1], images.shape[:3])
        elif patches == "nine":
            p = nine_patches(model, images, a.levels)
        else:
            p = one_mirrored_pass(model, images, a.levels)
        out[..., chosen.start : chosen.stop] = np.moveaxis(p, 0, -1)
    return out


def slice_windows(slices: int, reference: slice) -> list[slice]:
    """Windows that cover a stack, all as deep as one of them, an eighth of that apart; the farthest from it come first.

    >>> slice_windows(60, slice(6, 54))
    [slice(0, 48, None), slice(12, 60, None), slice(6, 54, None)]
    """
    depth = reference.stop - reference.start
    step, last = max(1, depth // 8), slices - depth
    starts = {0, *range(reference.start % step, last, step), last}
    return [slice(k, k + depth) for k in sorted(starts, key=lambda k: (-abs(k - reference.start), k))]


def window_weights(window: slice, slices: int) -> np.ndarray:
    """How much a window's slices count against what earlier windows said: wholly, but less in the eighth at each end.

    An end of the window that is also an end of the stack counts wholly, too.
    """
    depth = window.stop - window.start
    rising = np.minimum(1, (np.arange(depth, dtype=np.float32) + 1) / (depth // 8 + 1))
    weights = np.ones(depth, np.float32)
    if window.start > 0:
        weights *= rising
    if window.stop < slices:
        weights *= rising[::-1]
    return weights


def slices_at_once(architecture: Architecture, size: tuple[int, ...]) -> int:
    """How many slices of so many rows and columns go through a 2D network together."""
    by_memory = BATCH_BYTES // (4 * cost(architecture, size).widest)
    return max(1, min(by_memory, BATCH_PIXELS // prod(size)))


def nine_patches(model: Model, images: np.ndarray, levels: int, multiple: int = 1) -> np.ndarray:
    """Femur probability of whole slices from an unpadded network, averaged over nine overlapping patches.

    Args:
        model: an unpadded 2D network for inputs of the images' size.
        images: (N, H, W, 3), slices with their neighbours.
        levels: how often the network pools.
        multiple: see :func:`patch_starts`.

    Returns:
        (N, H, W) float32.
    """
    n, height, width, _ = images.shape
    rows, columns = unpadded_geometry(height, levels), unpadded_geometry(width, levels)
    starts = patch_starts(rows, multiple), patch_starts(columns, multiple)
    more = tuple(s[-1] - g.before - g.after for s, g in zip(starts, (rows, columns), strict=True))
    mirrored = mirror(images, rows, columns, (more[0], more[1]))
    total = np.zeros((n, height, width), np.float32)
    count = np.zeros((height, width), np.float32)
    for r in starts[0]:
        for c in starts[1]:
            patch = mirrored[:, r : r + height, c : c + width]
            # The margin in front of the image equals the margin that the network loses there, so an output that starts
            # `before` pixels into the patch starts at r in the image. The last one may reach beyond the image.
            seen = np.s_[r : r + rows.output, c : c + columns.output]
            answer = model.predict_on_batch(patch)[..., 1]
            total[(slice(None), *seen)] += answer[:, : height - r, : width - c]
            count[seen] += 1
    return total / count


def patch_starts(geometry: UnpaddedGeometry, multiple: int = 1) -> tuple[int, int, int]:
    """Where the three patches along one axis start in the mirrored image.

    The image is mirrored outwards by the margin that an unpadded network loses. Three patches of the image's own
    size then fit at the start, the middle and the end; along two axes that makes nine (paper, Inference).

    >>> patch_starts(unpadded_geometry(512, 4))
    (0, 94, 188)

    Args:
        geometry: of the network along this axis.
        multiple: patches start at multiples of this. 1 is the paper's "ordered overlap". At a multiple of
            2^poolings overlapping patches agree exactly, because their poolings fall on the same pixels.

    Raises:
        ValueError: their outputs would leave a gap, because the network's output is smaller than half its margin.
    """
    lost = geometry.before + geometry.after
    middle, last = round(lost // 2 / multiple) * multiple, -(-lost // multiple) * multiple
    if max(middle, last - middle) > geometry.output:
        raise ValueError(f"nine patches of {geometry.output} pixels do not cover {geometry.size}: use fewer levels")
    return 0, middle, last


def mirror(
    images: np.ndarray, rows: UnpaddedGeometry, columns: UnpaddedGeometry, more: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """Mirror (N, H, W, C) outwards by what the network loses, without repeating the border pixels.

    ``more``: further pixels below and to the right.
    """
    widths = ((0, 0), (rows.before, rows.after + more[0]), (columns.before, columns.after + more[1]), (0, 0))
    return np.pad(images, widths, mode="reflect")


def one_mirrored_pass(larger: Model, images: np.ndarray, levels: int) -> np.ndarray:
    """Femur probability of whole slices from an unpadded network, in one pass over the mirrored image.

    This equals the average of nine patches that start at multiples of 2^poolings, for a fraction of the work: the
    patches overlap, and where they do they agree. Patches that start elsewhere, as the paper's do, pool other pixels
    together; their average is an ensemble, and differs.

    Args:
        larger: the network for inputs of :func:`femur_lib.architecture.size_for_output` of the images' height and width
            (:func:`femur_lib.unet.rebuilt`).
        images: (N, H, W, 3), slices with their neighbours.
        levels: how often the network pools.

    Returns:
        (N, H, W) float32.
    """
    height, width = images.shape[1:3]
    rows, columns = (unpadded_geometry(size_for_output(n, levels), levels) for n in (height, width))
    mirrored = mirror(images, rows, columns, (rows.output - height, columns.output - width))
    return larger.predict_on_batch(mirrored)[:, :height, :width, 1]


def threshold_mask(probability: np.ndarray, threshold: float) -> np.ndarray:
    """True where the probability is *higher than* the threshold (paper, Results)."""
    return probability > threshold


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Keep the connected component (26 neighbours) with the most voxels (paper, Inference and Post-processing).

    The femur is one piece; whatever else a network marked is not femur. The paper does this for 2D networks only.

    >>> largest_component(np.array([[[1, 0, 1, 1]]], bool))
    array([[[False, False,  True,  True]]])

    Args:
        mask: boolean, three axes.

    Returns:
        A boolean mask, empty if ``mask`` is. Of components of equal size the first in array order is kept.
    """
    labels, count = ndimage.label(mask, NEIGHBOURS)
    if count == 0:
        return np.zeros(mask.shape, bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def check_fits(segmenter: Segmenter, path: str | os.PathLike, volume: Volume) -> None:
    """Raise a DataError if a scan's pixels, once resampled, differ much from those the network was trained on.

    The slices' thickness may be any where the segmenter resamples them.
    """
    for other in segmenter.others:
        check_fits(other, path, volume)
    stack, grid = to_stack(volume), segmenter.grid
    found, wanted = np.array(grid_spacing_mm(volume, grid)), np.array(segmenter.grid_spacing_mm)
    ratio = found / wanted
    unlike = np.maximum(ratio, 1 / ratio) > SPACING_TOLERANCE
    if segmenter.resample:
        unlike[2] = False
    if not unlike.any():
        return
    reasons, cures = [], []
    if unlike[2]:
        thickest = int(np.argmax(stack.spacing_mm))
        others = max(mm for axis, mm in enumerate(stack.spacing_mm) if axis != thickest)
        other_plane = thickest < 2 and stack.spacing_mm[thickest] > SPACING_TOLERANCE * others
        said = f", as if it had been scanned in {PLANES[thickest]} planes" if other_plane else ""
        reasons.append(f"its coronal slices are {found[2]:.3g} mm thick instead of about {wanted[2]:.3g}{said}")
        cures.append("Pass --resample to femur predict to have its slices resampled.")
    if unlike[:2].any():
        size, usual = ((grid.rows * mm[0], grid.columns * mm[1]) for mm in (found, wanted))
        wider, larger = ratio[1] > SPACING_TOLERANCE, ratio[:2].max() > SPACING_TOLERANCE
        said = ", which is wider than one hip" if wider else ""
        reasons.append(
            f"its field of view is {_times(size)} mm (height x width) instead of about {_times(usual)}{said}"
        )
        if wider:
            cures.append("If it shows both hips, pass --pelvis to femur predict; otherwise crop it to one hip.")
        elif larger:
            cures.append("Crop it to one hip.")
        else:
            cures.append("Segment it with a network that was trained on scans of such a field of view.")
    raise DataError(
        f"{path} has pixels of {_times(found)} mm on the network's grid; about {_times(wanted)} mm were expected, "
        f"as in its training: {'; and '.join(reasons)}.",
        " ".join(cures),
    )


def _times(values) -> str:
    return " x ".join(f"{v:.3g}" for v in values)


def check_free(out: Path, name: str, suffixes: Iterable[str] = SUFFIXES.values(), overwrite: bool = False) -> None:
    """Raise a DataError if one of the files to be written for a scan exists already, or could not have its name."""
    for suffix in suffixes:
        target = out / f"{name}{suffix}"
        if len(os.fsencode(target.name)) > LONGEST_NAME:
            raise DataError(f"{target} is too long a name for a file; shorter ones can be written.", "Rename the scan.")
        if target.exists() and not overwrite:
            raise DataError(f"{target} exists already.", "Choose another folder, or pass --overwrite.")


def write_segmentation(out: Path, name: str, probability: Volume, mask: Volume) -> Path:
    """Write both beside each other, and of a DICOM series the mask as DICOM SEG, too; returns the mask's path."""
    write_seg_if_dicom(out / f"{name}{SUFFIXES['dicom']}", mask, SEGMENT)
    write_volume(out / f"{name}{SUFFIXES['probability']}", probability.array, probability.affine, probability.forms)
    return write_volume(out / f"{name}{SUFFIXES['mask']}", mask.array, mask.affine, mask.forms)


def write_seg_if_dicom(path: Path, labels: Volume, names: Mapping[int, tuple[str, str]]) -> None:
    """Write labels as DICOM SEG if they belong to a DICOM series; a series that cannot have one is named in a warning.

    ``names``: as of :func:`femur_lib.volumes.write_dicom_seg`.
    """
    if path.exists():
        path.unlink()  # it would not belong to these labels
    if labels.frames:
        try:
            write_dicom_seg(path, labels, names)
        except DataError as error:  # the NIfTI file is there all the same
            warnings.warn(str(error), stacklevel=3)
