"""A whole pelvis without labels: both hips are found, segmented, and brought back to the pelvis's own grid.

The importer of the public set cuts hips by a box beside the image's mid-column and above its lower edge. Here a scan is
new, so the first look is into that box beside the column about which the body is symmetric. Then the box follows the
femur that the network sees in it, until the femur lies in it as it did in training; the last look counts.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from nibabel.affines import voxel_sizes
from scipy import ndimage

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.words import Progress
from femur_lib.evaluation import PICTURE, Scan
from femur_lib.inference import (
    SPACING_TOLERANCE,
    SUFFIXES,
    Segmenter,
    check_fits,
    check_free,
    largest_component,
    predict_average,
    threshold_mask,
    write_seg_if_dicom,
    write_segmentation,
)
from femur_lib.volumes import Volume, from_stack, read_volume, to_stack, write_volume

Box = tuple[slice, slice]
Predict = Callable[[Volume], Volume]

SIDES = {"R": "right", "L": "left"}  # of the patient, in the order of their labels, 1 and 2
LABELS, DICOM_LABELS = "_labels.nii.gz", "_labels.dcm"
SEGMENTS = {1: ("Right femur", "R"), 2: ("Left femur", "L")}

# The box of one hip. In the 16 scans that we developed with, femora lie 48 to 164 mm from the image's mid-column and
# begin at most 150 mm above its lower edge, which cuts the shaft in every scan.
INNER_MM, OUTER_MM, HEIGHT_MM = 40.0, 171.2, 174.9
ABOVE = 0.1, 0.2  # of a box's height is above the femur, at least and at most; in those scans 0.14 to 0.32
NEAR = 0.05  # of a box's size that a hip may be off; training shifts hips as far (femur_lib.augmentation.deform)
LOOKS = 10  # at most; where the first ones show nothing but the shaft, each goes a tenth of the box further up


def half(shape: tuple[int, ...], side: str, middle: int | None = None) -> slice:
    """Columns of the patient's right or left half of a stack, beside its mid-column or another one.

    Columns of a stack grow to the patient's left (see :mod:`femur_lib.volumes`). So the right hip lies before the
    mid-column and the left hip after it, however the file was stored.
    """
    middle = shape[1] // 2 if middle is None else middle
    return slice(0, middle) if side == "R" else slice(middle, shape[1])


def crop(stack: Volume, box: Box) -> Volume:
    """The rows and columns of a box, with the affine that keeps every voxel where it was in the patient."""
    affine = stack.affine.copy()
    affine[:, 3] = stack.affine @ (box[0].start, box[1].start, 0, 1)
    return Volume(stack.array[box], affine)


def middle_column(array: np.ndarray) -> int:
    """The column about which a stack is most like its mirror image; half of the body lies on either side of it."""
    flat = ndimage.gaussian_filter(np.asarray(array, np.float32).mean(2), 2)
    columns = flat.shape[1]

    def likeness(middle: int) -> float:
        reach = min(middle, columns - middle)
        part = flat[:, middle - reach : middle + reach]
        return float(np.corrcoef(part.ravel(), part[:, ::-1].ravel())[0, 1]) if np.ptp(part) else -1.0

    return max(range(columns // 4, columns - columns // 4), key=likeness)


def hip_box(
    shape: tuple[int, ...],
    affine: np.ndarray,
    side: str,
    middle: int | None = None,
    box_mm: tuple[float, float] | None = None,
) -> Box:
    """Rows and columns of one hip in a coronal stack of the whole pelvis, from geometry alone.

    Args:
        shape: of the stack.
        affine: of the stack.
        side: "R" or "L", of the patient.
        middle: the column between the hips, if it is not the image's.
        box_mm: height and width, if they are not those for the public set.
    """
    row_mm, column_mm, _ = voxel_sizes(affine)
    height_mm, width_mm = box_mm or (HEIGHT_MM, OUTER_MM - INNER_MM)
    height = min(shape[0], round(height_mm / row_mm))
    inner, outer = round(INNER_MM / column_mm), round((INNER_MM + width_mm) / column_mm)
    middle = shape[1] // 2 if middle is None else middle
    start, stop = (middle - outer, middle - inner) if side == "R" else (middle + inner, middle + outer)
    return slice(shape[0] - height, shape[0]), slice(max(0, start), min(shape[1], stop))


def in_pixels(box_mm: tuple[float, float], stack: Volume) -> tuple[int, int]:
    """Rows and columns of a box that is so high and so wide."""
    rows, columns = (max(1, round(mm / step)) for mm, step in zip(box_mm, stack.spacing_mm, strict=False))
    return rows, columns


def box_around(femur: np.ndarray, size: tuple[int, int]) -> Box:
    """The box of ``size`` in which a femur lies as in training: in the middle columns, and not far below the top.

    Its lower end is in the box if that is possible.
    """
    along, across = (np.flatnonzero(femur.any(axes)) for axes in ((1, 2), (0, 2)))
    least, most = (along[0] - above * size[0] for above in ABOVE)
    wanted = max(most, min(least, along[-1] + 1 - size[0])), (across[0] + across[-1] + 1 - size[1]) / 2
    starts = [round(max(0, min(w, n - s))) for w, n, s in zip(wanted, femur.shape, size, strict=False)]
    rows, columns = (slice(start, min(n, start + s)) for start, n, s in zip(starts, femur.shape, size, strict=False))
    return rows, columns


def is_near(box: Box, other: Box, size: tuple[int, int]) -> bool:
    """Whether two boxes are so close to one another that a network does not mind."""
    return all(
        max(abs(a.start - b.start), abs(a.stop - b.stop)) <= NEAR * n for a, b, n in zip(box, other, size, strict=True)
    )


def segment_pelvis(
    predict: Predict, pelvis: Volume, box_mm: tuple[float, float], threshold: float, one_piece: bool = False
) -> list[tuple[Volume, Volume]]:
    """Probability and mask of the right and of the left femur, each on the pelvis's own grid.

    A voxel that both sides claim goes to the one with the higher probability.

    Args:
        predict: gives the femur's probability in a coronal stack of one hip.
        pelvis: a scan of both hips, on any axes.
        box_mm: height and width of the scans that ``predict`` was trained on.
        threshold: voxels with a higher probability are femur.
        one_piece: whether only the largest component of each femur is kept.
    """
    stack = to_stack(pelvis)
    size, middle = in_pixels(box_mm, stack), middle_column(stack.array)
    found = []
    for side in SIDES:
        box = hip_box(stack.array.shape, stack.affine, side, middle, box_mm)
        beside = half(stack.array.shape, side, middle)
        for _ in range(LOOKS):
            p = np.zeros(stack.array.shape, np.float32)
            p[box] = predict(crop(stack, box)).array
            mine = np.zeros(p.shape, bool)
            mine[:, beside] = threshold_mask(p[:, beside], threshold)
            better = box_around(largest_component(mine), size) if mine.any() else box
            if is_near(box, better, size):
                break
            box = better
        found.append(p)
    right, left = found
    masks = [threshold_mask(right, threshold) & (right >= left), threshold_mask(left, threshold) & (left > right)]
    if one_piece:
        masks = [largest_component(mask) for mask in masks]
    return [(from_stack(p, pelvis), from_stack(mask, pelvis)) for p, mask in zip(found, masks, strict=True)]


def predict_pelves(
    segmenter: Segmenter,
    scans: Sequence[Scan],
    out: str | os.PathLike,
    overwrite: bool = False,
    progress: Progress = lambda line: None,
    axes: str = "",
    series: str = "",
) -> list[Path]:
    """Segment both hips of whole pelves into ``out``, as :func:`femur_lib.evaluation.predict_files` does single hips.

    Each scan gives ``<name>_labels.nii.gz`` (1 the right femur, 2 the left one), for each side
    ``<name>_right_probability.nii.gz`` and ``<name>_right_mask.nii.gz``, and ``<name>_overlay.png``. All lie on the
    scan's own grid. Of a DICOM series the labels are also written as DICOM SEG, ``<name>_labels.dcm``. A side without
    a femur is named in a warning, and its mask is empty.

    Returns:
        The paths of the labels.

    Raises:
        DataError: a scan cannot be used, or an output exists and ``overwrite`` is False.
    """
    from femur_lib.plotting import overlay_page, save

    out = Path(out)
    of_sides = [f"_{side}{suffix}" for side in SIDES.values() for suffix in SUFFIXES.values()]
    for scan in scans:
        check_free(out, scan.name, [LABELS, DICOM_LABELS, PICTURE, *of_sides], overwrite)
        image = read_volume(scan.image, axes, series)
        check_fits_pelvis(segmenter, scan.image, image)
    written = []
    for number, scan in enumerate(scans, 1):
        pelvis = read_volume(scan.image, axes, series)
        hips = segment_pelvis(
            partial(predict_average, segmenter),
            pelvis,
            trained_mm(segmenter),
            segmenter.threshold,
            segmenter.largest_component,
        )
        labels = np.zeros(pelvis.array.shape, np.uint8)
        for label, (side, (probability, mask)) in enumerate(zip(SIDES.values(), hips, strict=True), 1):
            if not mask.array.any():
                warnings.warn(f"{scan.image}: no femur was found on the {side} side; its mask is empty.", stacklevel=2)
            write_segmentation(out, f"{scan.name}_{side}", probability, replace(mask, frames=None))
            labels[mask.array] = label
        write_seg_if_dicom(out / f"{scan.name}{DICOM_LABELS}", replace(pelvis, array=labels), SEGMENTS)
        written.append(write_volume(out / f"{scan.name}{LABELS}", labels, pelvis.affine, pelvis.forms))
        save(overlay_page(pelvis, replace(pelvis, array=labels > 0), None, scan.name), out / f"{scan.name}{PICTURE}")
        progress(f"{scan.name} ({number} of {len(scans)})")
    return written


def trained_mm(segmenter: Segmenter) -> tuple[float, float]:
    """Height and width of the scans that a network was trained on."""
    row_mm, column_mm, _ = segmenter.grid_spacing_mm
    return segmenter.grid.rows * row_mm, segmenter.grid.columns * column_mm


def check_fits_pelvis(segmenter: Segmenter, path: str | os.PathLike, volume: Volume) -> None:
    """Raise a DataError if a scan is not much wider than one hip, or if a hip cut from it does not fit the network."""
    stack, (height, width) = to_stack(volume), trained_mm(segmenter)
    found = stack.array.shape[1] * stack.spacing_mm[1]
    if found <= SPACING_TOLERANCE * width:
        raise DataError(
            f"{path} is {found:.0f} mm wide; a scan of both hips was expected, much wider than the single hips of "
            f"{width:.0f} mm that the network was trained on.",
            "If it shows one hip, leave out --pelvis.",
        )
    rows, columns = in_pixels((height, width), stack)
    check_fits(segmenter, path, crop(stack, (slice(0, rows), slice(0, columns))))
