"""From probabilities to one femur."""

import numpy as np
from scipy import ndimage

# How many neighbours of a voxel count as touching it, and the rank scipy names that by.
CONNECTIVITIES = {6: 1, 18: 2, 26: 3}


def threshold_mask(probability: np.ndarray, threshold: float) -> np.ndarray:
    """True where the probability is *higher than* the threshold (paper, Results)."""
    return probability > threshold


def largest_component(mask: np.ndarray, connectivity: int = 26) -> np.ndarray:
    """Keep the connected component with the most voxels (paper, Inference and Post-processing).

    The femur is one piece; whatever else a network marked is not femur. The paper does this for 2D networks only.

    Args:
        mask: boolean, three axes.
        connectivity: 6 (faces), 18 (and edges) or 26 (and corners).

    Returns:
        A boolean mask; empty if ``mask`` is. Of components of equal size the first in array order is kept.
    """
    if connectivity not in CONNECTIVITIES:
        raise ValueError(f"connectivity is 6, 18 or 26, got {connectivity}")
    neighbours = ndimage.generate_binary_structure(3, CONNECTIVITIES[connectivity])
    labels, count = ndimage.label(mask, neighbours)
    if count == 0:
        return np.zeros(mask.shape, bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()
