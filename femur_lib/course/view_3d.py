"""True and predicted masks in 3D: shaded views from three sides, and surfaces to turn (with the package ``k3d``)."""

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy import ndimage

from femur_lib.plotting import PREDICTED, TRUTH
from femur_lib.volumes import Volume, to_stack

# Views of a stack (rows down, columns to the left, slices to the back): the axis that we look along, and whether from
# its end; then the axes that run down and to the right in the picture, and whether each is turned round.
VIEWS = {
    "from the front": (2, False, (0, False), (1, False)),  # the patient's right on the left
    "from the patient's left": (1, True, (0, False), (2, False)),  # the front on the left
    "from above": (0, False, (2, True), (1, False)),  # the front below, the patient's right on the left
}
LIGHT = np.array([-0.4, -0.5, 0.75]) / np.linalg.norm([-0.4, -0.5, 0.75])  # from the upper left, towards the viewer
MOST_VOXELS = 160  # along each axis of a field that is drawn in the browser
MISSING = "volume_view needs the package k3d: pip install k3d (surface_views shows the same without it)"


def seen_from(array: np.ndarray, view: str) -> np.ndarray:
    """A stack turned so that one of ``VIEWS`` looks along its last axis: (down, right, away from the viewer)."""
    axis, from_end, (down, flip_down), (right, flip_right) = VIEWS[view]
    turned = array.transpose(down, right, axis)
    return turned[:: -1 if flip_down else 1, :: -1 if flip_right else 1, :: -1 if from_end else 1]


def depth_mm(mask: np.ndarray, step_mm: float) -> np.ndarray:
    """How many mm behind the first plane the mask begins, along the last axis; NaN where it is not met."""
    return np.where(mask.any(-1), mask.argmax(-1) * step_mm, np.nan)


def shaded(depth: np.ndarray, spacing_mm: tuple[float, float], colour: str) -> np.ndarray:
    """A relief with light from the upper left: (down, right, 3), 0 to 1, white where there is no depth.

    Args:
        depth: in mm, from :func:`depth_mm`.
        spacing_mm: of the pixels, down and to the right.
        colour: of the surface, any that matplotlib knows.
    """
    inside = np.isfinite(depth)
    width = [3.0 / s for s in spacing_mm]  # slices are thick; unsmoothed, the steps between them would show
    weight = ndimage.gaussian_filter(inside.astype(float), width)
    smooth = ndimage.gaussian_filter(np.where(inside, depth, 0.0), width) / np.maximum(weight, 1e-6)
    down, right = np.gradient(smooth, *spacing_mm)
    normal = np.stack([right, down, np.ones_like(smooth)], -1)  # right, down, towards the viewer; depth grows away
    light = np.clip((normal @ LIGHT) / np.linalg.norm(normal, axis=-1), 0, 1)
    picture = (0.25 + 0.75 * light)[..., None] * np.array(to_rgb(colour))
    return np.where(inside[..., None], picture, 1.0)


def surface_views(truth: Volume, predicted: Volume | None = None) -> Figure:
    """Masks as solid bodies, seen from three sides, and how many millimetres of wrong voxels lie behind one another.

    Args:
        truth: boolean or 0 and 1, in any order of axes.
        predicted: on the same grid; None draws the truth alone.
    """
    stacks = [to_stack(m) for m in (truth, predicted) if m is not None]
    spacing = stacks[0].spacing_mm
    masks = [s.array > 0 for s in stacks]
    named = list(zip(("manual", "predicted"), (TRUTH, PREDICTED), masks, strict=False))
    rows = 3 if predicted is not None else 1
    figure, axes = plt.subplots(rows, 3, figsize=(10, 3.4 * rows), layout="constrained", squeeze=False)
    for column, (view, (axis, _, (down, _), (right, _))) in enumerate(VIEWS.items()):
        steps = spacing[down], spacing[right]
        tall, wide = (n * s for n, s in zip(seen_from(masks[0], view).shape, steps, strict=False))
        extent = (0, wide, tall, 0)
        for ax, (name, colour, mask) in zip(axes[:, column], named, strict=False):
            relief = shaded(depth_mm(seen_from(mask, view), spacing[axis]), steps, colour)
            ax.imshow(relief, extent=extent, interpolation="bilinear")
            ax.set_title(f"{name}, {view}", fontsize=10)
        if predicted is not None:
            wrong = seen_from(masks[0] != masks[1], view).sum(-1) * spacing[axis]
            some = np.ma.masked_equal(wrong, 0)
            drawn = axes[2, column].imshow(some, cmap="magma_r", vmin=0, vmax=30, extent=extent)
            axes[2, column].set_title(f"difference, {view}", fontsize=10)
        for ax in axes[:, column]:
            ax.set(xlabel="mm", ylabel="mm")
    if predicted is not None:
        label = "wrong voxels along\nthe line of sight [mm]"
        figure.colorbar(drawn, ax=axes[2, :], label=label, extend="max", shrink=0.9)
    return figure


def drawable(mask: Volume) -> tuple[np.ndarray, list[float]]:
    """A mask as a smooth field that is 0.5 at its surface, and where it lies.

    Returns:
        float32 in the order of k3d (upwards, backwards, to the patient's left), no axis longer than ``MOST_VOXELS``;
        and its bounds in mm, (least, most) to the left, backwards and upwards. So a right femur stays a right one.
    """
    stack = to_stack(mask)
    field = np.pad((stack.array > 0).astype(np.float32), 1)  # so that a bone cut by the scan's border is closed
    sizes = [n * s for n, s in zip(field.shape, stack.spacing_mm, strict=True)]
    # About 1.5 mm of smoothing hides the steps between slices; it is never so much that thin bone is lost.
    field = ndimage.gaussian_filter(field, [min(1.0, 1.5 / s) for s in stack.spacing_mm])
    field = ndimage.zoom(field, [min(1.0, MOST_VOXELS / n) for n in field.shape], order=1)
    up, left, back = sizes
    return np.ascontiguousarray(field.transpose(0, 2, 1)[::-1]), [0.0, left, 0.0, back, 0.0, up]


def volume_view(truth: Volume, predicted: Volume | None = None) -> widgets.Widget:
    """Masks as surfaces to turn with the mouse; each can be switched off.

    Args:
        truth: boolean or 0 and 1, in any order of axes.
        predicted: on the same grid.

    Raises:
        ImportError: the package k3d is not installed.
    """
    try:
        import k3d
    except ImportError as e:
        raise ImportError(MISSING) from e
    plot = k3d.plot(grid_visible=True, camera_auto_fit=False, menu_visibility=False, height=420)
    plot.axes = [rf"\text{{{name} [mm]}}" for name in ("left", "back", "up")]
    boxes = []
    for name, colour, mask in (("manual", TRUTH, truth), ("predicted", PREDICTED, predicted)):
        if mask is None:
            continue
        field, bounds = drawable(mask)
        opacity = 0.5 if name == "manual" and predicted is not None else 1.0
        surface = k3d.marching_cubes(
            field, level=0.5, bounds=bounds, color=int(colour[1:], 16), opacity=opacity, name=name
        )
        plot += surface
        box = widgets.Checkbox(value=True, description=name)
        widgets.jslink((box, "value"), (surface, "visible"))
        boxes.append(box)
    wide, deep, tall = bounds[1::2]
    eye, target, upwards = (wide / 2, deep / 2 - 1.7 * tall, 0.7 * tall), (wide / 2, deep / 2, tall / 2), (0, 0, 1)
    plot.camera = [*eye, *target, *upwards]  # from the front, a little from above
    return widgets.VBox([widgets.HBox(boxes), plot])
