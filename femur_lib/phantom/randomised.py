"""Scans at random of a painted woman: other contrasts, slices, places, coils and noise, so that none is left to learn.

This is domain randomisation (Tobin 2017), for brains SynthSeg (Billot 2023): a network that has seen every contrast
looks for shape, and takes a real scan for one more variation. Ranges are wide on purpose, and all are assumptions.
"""

from collections.abc import Collection

import numpy as np
from scipy import ndimage

from femur_lib.phantom.scanner import fold, k_space, magnitude
from femur_lib.phantom.shares import KINDS, VIEW_MM, Shares
from femur_lib.phantom.tissue import TISSUES, signals

T2_MS = dict(zip((kind[0] for kind in KINDS), (110, 60, 130, 32, 40, 800, 40, 6), strict=True))  # at 3 T, recalled
SKIN = 0.25  # of the brightness of muscle, for what is painted but is none of KINDS


def random_scan(
    woman: Shares,
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    random: Collection[str],
) -> tuple[np.ndarray, np.ndarray]:
    """One scan of a painted woman, by chance in every respect that ``random`` names and as usual in the others.

    Args:
        woman: from :func:`femur_lib.phantom.shares.paint_shares`.
        rng: where chance comes from.
        shape: rows, columns and slices of the scan.
        spacing_mm: of its voxels; "slices" changes it by up to 15 % in-plane and 25 % from slice to slice, and makes
            slices thinner than their distance (gaps).
        random: some of a recipe's ``drawing`` (:mod:`femur_lib.config`): where the hip lies, how it is sliced, how
            bright tissues are, how unevenly coils receive, noise and blur, ghosts and fold-over.

    Returns:
        Image, float32, 1 for its brightest voxels; and mask, uint8: the femur within its cortex, as the paper's, but
        down to the image's edge. Both (rows, columns, slices), lateral to the right.
    """
    # Slices, rows, columns, as the phantom has them.
    spacing, thickness = np.roll(spacing_mm, 1), 1.0
    if "slices" in random:
        in_plane = rng.uniform(0.85, 1.15)
        spacing = spacing * (rng.uniform(0.75, 1.25), in_plane, in_plane * rng.uniform(0.95, 1.05))
        thickness = rng.uniform(0.7, 1.0)
    offset = rng.uniform(-1, 1, 3) * ((25, 30, 30) if "position" in random else 0)
    folded = rng.uniform(0.2, 0.8) if "artefacts" in random and rng.random() < 0.05 else 0.0
    margin = shape[1] // 8 if folded else 0

    points, views = (shape[2], shape[0], shape[1] + 2 * margin), np.roll(VIEW_MM, 1)
    matrices, seen = [], []
    for n, mm, shift, cells, view, width in zip(
        points, spacing, offset, woman.labels.shape, views, (thickness, 1, 1), strict=True
    ):
        matrix = averaging(n, mm, shift, cells, view, width)
        used = np.flatnonzero(matrix.any(0))
        seen.append(slice(used[0], used[-1] + 1))
        matrices.append(matrix[:, seen[-1]])

    labels = woman.labels[tuple(seen)]
    image = np.zeros(labels.shape, np.float32)
    for weight, share in zip(_brightness(rng, "contrast" in random), woman.shares, strict=True):
        image += np.float32(weight) * share[tuple(seen)].astype(np.float32)
    if "contrast" in random:
        image[labels == 3] *= np.float32(np.exp(rng.normal(0, 0.15)))  # the pelvis is not quite like the femur
        if rng.random() < 0.7:  # cortex is not black in every sequence, and neither is air
            image += np.float32(rng.uniform(0, 0.12)) * ((labels == 2) | (image < 0.02))
    image, mask = _averaged(image, matrices), _averaged((labels == 1).astype(np.float32), matrices) >= 0.5
    if folded:
        image, mask = np.stack([fold(slice_, margin, folded) for slice_ in image]), mask[..., margin:-margin]

    if "coils" in random:
        knots = np.exp(rng.normal(0, rng.uniform(0.1, 0.6), (2, 3, 3)))
        zoom = np.array(image.shape) / knots.shape
        image = image * ndimage.zoom(knots, zoom, order=1, mode="nearest", grid_mode=True).astype(np.float32)
    if "noise" in random:
        if rng.random() < 0.5:
            image = ndimage.gaussian_filter(image, (0, *rng.uniform(0, 0.8, 2)))
        snr = np.exp(rng.uniform(np.log(12), np.log(200)))
        image = magnitude(image, float(snr / max(np.percentile(image, 95), 1e-3)), rng)
    if "artefacts" in random and rng.random() < 0.1:
        ghost = rng.uniform(0.05, 0.25)
        image = np.stack([np.abs(k_space(slice_, ghost, shutter=False)) for slice_ in image])
    image = np.clip(image / np.percentile(image, 99.8), 0, None)
    return _stack(image.astype(np.float32)), _stack(mask.astype(np.uint8))


def averaging(points: int, mm: float, offset: float, cells: int, view: float, width: float = 1.0) -> np.ndarray:
    """The matrix (points, cells) that averages over each voxel along one axis, which is partial volume.

    Args:
        points: voxels of the scan, ``mm`` apart, their middle ``offset`` mm from the middle of what is painted.
        cells: painted ones, which cover ``view`` mm; beyond them there is air.
        width: of a voxel, in units of ``mm``; never less than a cell.
    """
    edges = (np.arange(cells + 1) / cells - 0.5) * view
    half = max(mm * width, view / cells) / 2
    centres = (np.arange(points) - (points - 1) / 2) * mm + offset
    start, end = centres[:, None] - half, centres[:, None] + half
    overlap = np.minimum(end, edges[1:]) - np.maximum(start, edges[:-1])
    return (np.clip(overlap, 0, None) / (2 * half)).astype(np.float32)


def _stack(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(array, 0, 2))


def _averaged(array: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    slices, rows, columns = matrices
    thick = (slices @ array.reshape(len(array), -1)).reshape(-1, *array.shape[1:])
    return rows @ thick @ columns.T


def _brightness(rng: np.random.Generator, by_chance: bool) -> np.ndarray:
    """Of each kind of tissue and of the skin; the paper's sequence, or physics or plain chance, six to four."""
    if not by_chance:
        usual = signals()
        levels = np.array([usual[kind[0]] for kind in KINDS])
    elif rng.random() < 0.6:
        levels = _by_physics(rng)
    else:
        levels = rng.uniform(0.05, 1, len(KINDS))
        levels[7] *= rng.uniform(0, 0.5)  # capsule and tendons are dark nearly everywhere
        if rng.random() < 0.6:  # fat is fat, in the marrow and under the skin
            levels[2] = np.clip(levels[0] * np.exp(rng.normal(0, 0.15)), 0, 1)
        levels[1] = levels[0] * rng.uniform(0.3, 1.0)
    return np.append(levels, SKIN * levels[3]) / levels.max()


def _by_physics(rng: np.random.Generator) -> np.ndarray:
    """A spoiled gradient echo or a spin echo with random times, angle and field; some with suppressed fat."""
    tissues = [TISSUES[kind[0]] for kind in KINDS]
    density = np.array([t.density for t in tissues])
    t1 = np.array([t.t1_ms for t in tissues]) * (rng.uniform(1.0, 3.0) / 3) ** (1 / 3)  # T1 grows with the field
    if rng.random() < 0.5:
        tr, te, angle = np.exp(rng.uniform(np.log(6), np.log(60))), rng.uniform(2, 8), np.deg2rad(rng.uniform(10, 60))
        e1 = np.exp(-tr / t1)
        t2star = np.array([t.t2star_ms for t in tissues])
        levels = density * np.sin(angle) * (1 - e1) / (1 - np.cos(angle) * e1) * np.exp(-te / t2star)
    else:
        tr, te = np.exp(rng.uniform(np.log(350), np.log(5000))), np.exp(rng.uniform(np.log(8), np.log(110)))
        levels = density * (1 - np.exp(-tr / t1)) * np.exp(-te / np.array(list(T2_MS.values())))
    levels *= np.exp(rng.normal(0, 0.12, len(levels)))
    if rng.random() < 0.15:
        levels[[0, 2]] *= rng.uniform(0.05, 0.4)
    return levels
