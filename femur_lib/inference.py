"""The probability of every voxel, on the scan's own grid."""

from math import prod

import numpy as np

from femur_lib.architecture import Architecture, UnpaddedGeometry, unpadded_geometry
from femur_lib.costs import cost, machine_bytes
from femur_lib.inputs import pad_to_multiple, padded_size, three_slices, unpad
from femur_lib.volumes import Grid, Volume, from_grid, from_stack, to_grid, to_stack

BATCH_PIXELS = 2**20  # slices go through a 2D network in batches of at most about this many pixels
MEMORY_SHARE = 4  # and of at most one part in so many of the machine's memory


def patch_starts(geometry: UnpaddedGeometry, multiple: int = 1) -> tuple[int, int, int]:
    """Where the three patches along one axis begin in the mirrored image.

    The image is mirrored outwards by the margin that an unpadded network loses. Three patches of the image's own
    size then fit at the start, the middle and the end; along two axes that makes nine (paper, Inference).

    Args:
        geometry: of the network along this axis.
        multiple: patches begin at multiples of this. 1 is the paper's "ordered overlap". At a multiple of
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


def nine_patches(model, images: np.ndarray, levels: int, multiple: int = 1) -> np.ndarray:
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
            # The margin in front of the image equals the margin that the network loses there, so an output that
            # begins `before` pixels into the patch begins at r in the image. The last may reach beyond the image.
            seen = np.s_[r : r + rows.output, c : c + columns.output]
            answer = model.predict_on_batch(patch)[..., 1]
            total[(slice(None), *seen)] += answer[:, : height - r, : width - c]
            count[seen] += 1
    return total / count


def size_for_output(output: int, levels: int) -> int:
    """The smallest input of an unpadded network whose output is at least so many pixels."""
    size = output
    while True:
        try:
            if unpadded_geometry(size, levels).output >= output:
                return size
        except ValueError:
            pass
        size += 1


def pass_size(architecture: Architecture, rows: int, columns: int) -> tuple[int, int]:
    """The input size of an unpadded network that answers for a whole slice in one pass."""
    return size_for_output(rows, architecture.levels), size_for_output(columns, architecture.levels)


def one_mirrored_pass(larger, images: np.ndarray, levels: int) -> np.ndarray:
    """Femur probability of whole slices from an unpadded network, in one pass over the mirrored image.

    The same as the average of nine patches that begin at multiples of 2^poolings, for a fraction of the work: the
    patches overlap, and where they do they agree. Patches that begin elsewhere, as the paper's do, pool other pixels
    together; their average is an ensemble, and differs.

    Args:
        larger: the network for inputs of :func:`size_for_output` of the images' height and width
            (:func:`femur_lib.networks.rebuilt`).
        images: (N, H, W, 3), slices with their neighbours.
        levels: how often the network pools.

    Returns:
        (N, H, W) float32.
    """
    widths = [(0, 0)]
    for n in images.shape[1:3]:
        geometry = unpadded_geometry(size_for_output(n, levels), levels)
        widths.append((geometry.before, geometry.size - n - geometry.before))
    mirrored = np.pad(images, [*widths, (0, 0)], mode="reflect")
    return larger.predict_on_batch(mirrored)[:, : images.shape[1], : images.shape[2], 1]


def slices_at_once(architecture: Architecture, size: tuple[int, ...], memory: int) -> int:
    """How many slices of so many rows and columns go through a 2D network together on a machine of so many bytes."""
    room = memory // MEMORY_SHARE - 4 * cost(architecture, size).weights
    by_memory = room // (4 * cost(architecture, size).widest)
    return max(1, min(by_memory, BATCH_PIXELS // prod(size)))


def grid_probability(model, architecture: Architecture, stack: np.ndarray, patches: str = "nine") -> np.ndarray:
    """Femur probability of a stack that is on the network's grid.

    Args:
        model: the network; anything whose ``predict_on_batch`` answers as a Keras model's.
        architecture: what it is.
        stack: (rows, columns, slices), any size if the network is padded.
        patches: of an unpadded network, "nine" as in the paper, or "one" pass over the mirrored slice, for which
            ``model`` is built for inputs of :func:`size_for_output`.

    Returns:
        float32, the stack's shape.
    """
    a = architecture
    if a.dimensions == 3:
        padded = pad_to_multiple(stack, a.size_multiple)
        return unpad(model.predict_on_batch(padded[None, ..., None])[0, ..., 1], stack.shape)
    rows, columns, slices = stack.shape
    if a.padded:
        size = padded_size((rows, columns), a.size_multiple)
    else:
        size = (rows, columns) if patches == "nine" else pass_size(a, rows, columns)
    at_once = slices_at_once(a, size, machine_bytes())
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


def predict_volume(
    model, architecture: Architecture, grid: Grid, volume: Volume, flip: bool = False, patches: str = "nine"
) -> Volume:
    """Femur probability of a scan as it lies on disk: any axis order, oblique or not.

    Args:
        model: a trained network.
        architecture: what it is.
        grid: the size at which it was trained.
        volume: a scan.
        flip: average with the prediction for the mirrored scan, mirrored back.
        patches: see :func:`grid_probability`.

    Returns:
        Probabilities in [0, 1], float32, with the scan's own axes, shape and affine.
    """
    stack = to_stack(volume).array
    seen = to_grid(stack, grid)
    p = grid_probability(model, architecture, seen, patches)
    if flip:
        p = (p + grid_probability(model, architecture, seen[:, ::-1], patches)[:, ::-1]) / 2
    return from_stack(from_grid(p, stack.shape), volume)
