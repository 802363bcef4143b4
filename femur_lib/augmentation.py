"""Making more of few scans: each epoch sees every training hip in a slightly different way.

The paper flips left and right, since its scans are of either hip. The rest is ours, for the recipe "ours".
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def augment(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, kinds: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """A copy of one volume and its mask, changed in the ways that a recipe names (femur_lib.config.Augmentation).

    "rotate" also shifts; "intensity" is gamma and coil field. Image and mask move together.
    """
    if "flip" in kinds:
        image, mask = flip(image, mask, rng)
    left_out = {"rotate": {"degrees": 0.0, "shift": 0.0}, "scale": {"scale": 0.0}, "elastic": {"elastic": 0.0}}
    if not left_out.keys().isdisjoint(kinds):
        nothing = {k: v for kind, settings in left_out.items() if kind not in kinds for k, v in settings.items()}
        image, mask = deform(image, mask, rng, **nothing)
    if "intensity" in kinds:
        image = change_intensity(image, rng)
    if "noise" in kinds:
        image = add_noise(image, rng)
    return image, mask


def flip(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mirror both from left to right (axis 1, columns) in half of the cases (paper, Methods)."""
    if rng.random() < 0.5:
        return image[:, ::-1], mask[:, ::-1]
    return image, mask


def deform(
    image: np.ndarray,
    mask: np.ndarray,
    rng: np.random.Generator,
    degrees: float = 12.0,
    shift: float = 0.05,
    scale: float = 0.15,
    elastic: float = 1.5,
) -> tuple[np.ndarray, np.ndarray]:
    """Rotate, scale, shift and bend both in-plane, every slice in the same way. Beyond its border an image goes on.

    Args:
        image: (rows, columns, slices).
        mask: with the same rows and columns.
        rng: where chance comes from.
        degrees: rotation, at most.
        shift: at most, as a fraction of the field of view.
        scale: change of size, at most, as a fraction.
        elastic: standard deviation, in pixels, of a smooth displacement with a knot every eighth of the image.
    """
    shape = np.array(image.shape[:2], float)
    angle = np.deg2rad(rng.uniform(-degrees, degrees))
    size = rng.uniform(1 - scale, 1 + scale, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / size
    centre = (shape - 1) / 2
    grid = np.indices(image.shape[:2], float)
    where = np.tensordot(turn, grid - centre[:, None, None], 1) + centre[:, None, None]
    where += (rng.uniform(-shift, shift, 2) * shape)[:, None, None]
    if elastic:
        knots = rng.normal(0, elastic, (2, 8, 8))
        where += np.stack([ndimage.zoom(k, shape / 8, order=3, mode="nearest", grid_mode=True) for k in knots])
    new_image, new_mask = np.empty_like(image), np.empty_like(mask)
    for k in range(image.shape[2]):  # a sample of a 2D network has three slices of the image, and one of the mask
        new_image[..., k] = ndimage.map_coordinates(image[..., k], where, order=1, mode="nearest")
    for k in range(mask.shape[2]):
        soft = ndimage.map_coordinates(mask[..., k].astype(np.float32), where, order=1, mode="nearest")
        new_mask[..., k] = soft >= 0.5
    return new_image, new_mask


def change_intensity(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change gamma, a smooth coil field and contrast, as another scanner on another day would; z-score again."""
    low, high = image.min(), image.max()
    unit = ((image - low) / (high - low)) ** np.exp(rng.uniform(-0.4, 0.4))
    knots = np.exp(rng.normal(0, 0.15, (3, 3, 2)))
    field = ndimage.zoom(knots, np.array(image.shape) / knots.shape, order=1, mode="nearest", grid_mode=True)
    changed = (unit * field).astype(np.float32)
    return (changed - changed.mean()) / changed.std()


def add_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add noise of up to 0.15 standard deviations of the image, in three cases of ten."""
    if rng.random() < 0.3:
        return image + rng.normal(0, rng.uniform(0, 0.15), image.shape).astype(np.float32)
    return image
