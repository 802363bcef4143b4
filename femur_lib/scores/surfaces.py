"""Scores that measure distance between surfaces, in millimetres (paper, Evaluation)."""

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree


def surface(mask: np.ndarray) -> np.ndarray:
    """Voxels of the mask that have a face neighbour outside it (or lie at the array's border)."""
    return mask & ~ndimage.binary_erosion(mask, ndimage.generate_binary_structure(mask.ndim, 1), border_value=0)


def surface_distances(truth: np.ndarray, predicted: np.ndarray, spacing_mm) -> tuple[np.ndarray, np.ndarray]:
    """Distances (mm) from each surface voxel of one mask to the nearest surface voxel of the other, both ways.

    Returns:
        Two arrays: from the prediction's surface to the truth's, and from the truth's to the prediction's. Both are
        empty if either mask is.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth has shape {truth.shape}, prediction {predicted.shape}")
    truth, predicted = truth.astype(bool), predicted.astype(bool)
    if not truth.any() or not predicted.any():
        return np.empty(0), np.empty(0)
    # Outside the box around both masks there is nothing to measure; one voxel of air keeps the surfaces whole.
    box = ndimage.find_objects((truth | predicted).view(np.uint8))[0]
    truth_surface, predicted_surface = surface(np.pad(truth[box], 1)), surface(np.pad(predicted[box], 1))
    return (
        _to_nearest(predicted_surface, truth_surface, spacing_mm),
        _to_nearest(truth_surface, predicted_surface, spacing_mm),
    )


def _to_nearest(start: np.ndarray, end: np.ndarray, spacing_mm) -> np.ndarray:
    """From each voxel of ``start``, in array order, to the nearest of ``end``. Voxels of both are at 0: most, often."""
    found = np.zeros(start.shape)
    apart = start & ~end
    found[apart] = KDTree(np.argwhere(end) * spacing_mm).query(np.argwhere(apart) * spacing_mm, workers=-1)[0]
    return found[start]


def distances(truth: np.ndarray, predicted: np.ndarray, spacing_mm) -> dict[str, float]:
    """Average and maximum symmetric surface distance, ASD and MSD, in mm.

    ASD is the sum of all distances both ways over the number of surface voxels of both, N_S + N_G; MSD is the
    largest of them, the symmetric Hausdorff distance. Both are NaN if either mask is empty.
    """
    both = np.concatenate(surface_distances(truth, predicted, spacing_mm))
    if both.size == 0:
        return {"asd_mm": float("nan"), "msd_mm": float("nan")}
    return {"asd_mm": float(both.mean()), "msd_mm": float(both.max())}
