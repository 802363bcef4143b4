"""Scores that measure distance between surfaces, in millimetres (paper, Evaluation)."""

import numpy as np
from scipy import ndimage


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
    box = ndimage.find_objects((truth | predicted).astype(np.uint8))[0]
    truth_surface = surface(np.pad(truth[box], 1))
    predicted_surface = surface(np.pad(predicted[box], 1))
    to_truth = ndimage.distance_transform_edt(~truth_surface, sampling=spacing_mm)
    to_predicted = ndimage.distance_transform_edt(~predicted_surface, sampling=spacing_mm)
    return to_truth[predicted_surface], to_predicted[truth_surface]


def distances(truth: np.ndarray, predicted: np.ndarray, spacing_mm) -> dict[str, float]:
    """Average and maximum symmetric surface distance, ASD and MSD, in mm.

    ASD is the sum of all distances both ways over the number of surface voxels of both, N_S + N_G; MSD is the
    largest of them, the symmetric Hausdorff distance. Both are NaN if either mask is empty.
    """
    both = np.concatenate(surface_distances(truth, predicted, spacing_mm))
    if both.size == 0:
        return {"asd_mm": float("nan"), "msd_mm": float("nan")}
    return {"asd_mm": float(both.mean()), "msd_mm": float(both.max())}
