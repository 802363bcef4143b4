"""From shapes and tissues to a scan: partial volume, trabecular texture, coil sensitivity, noise."""

import numpy as np
from scipy import ndimage

from femur_lib.phantom import anatomy
from femur_lib.phantom.anatomy import Hip
from femur_lib.phantom.tissue import signal
from femur_lib.volumes import Volume

FIELD_OF_VIEW_MM = (
    119.8,
    119.8,
    90.0,
)  # rows, columns, slices: 512 x 0.234 mm and 60 x 1.5 mm (paper, Dataset)


def spacing_of(shape: tuple[int, int, int]) -> tuple[float, float, float]:
    """Millimetres a voxel when the paper's field of view is divided into ``shape``."""
    a, b, c = (f / n for f, n in zip(FIELD_OF_VIEW_MM, shape, strict=True))
    return a, b, c


def stack_affine(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The affine of a coronal stack (axes I, L, P) centred on the scanner's origin."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2] = (-s for s in spacing_mm)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[3, 3] = 1
    return affine


def inside(distance: np.ndarray, blur_mm: float) -> np.ndarray:
    """How much of a voxel lies inside a surface: 1 to 0 over ``blur_mm``, so that borders show partial volume."""
    return np.clip(0.5 - distance / blur_mm, 0, 1)


def noise_field(rng: np.random.Generator, shape: tuple[int, int, int], sigma: tuple[float, ...]) -> np.ndarray:
    """Smooth noise with mean 0 and standard deviation 1; ``sigma`` in voxels."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), sigma, mode="wrap")
    return field / field.std()


def tissues(hip: Hip, shape: tuple[int, int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The noiseless brightness of every voxel, and the mask; columns grow laterally."""
    spacing = spacing_of(shape)
    p = anatomy.points(shape, spacing, hip)
    blur = 1.2 * max(spacing[0], 1.0)
    image = np.full(shape, signal("subcutaneous fat"), np.float32)
    nearest, gap = anatomy.muscles(p)
    muscle = inside(nearest - 6, 3) * np.clip((gap - 0.8) / 1.5, 0, 1) * inside(anatomy.skin(p, hip) + 14, 3)
    image += muscle * (signal("muscle") - image)
    femur, pelvis = anatomy.femur(p, hip), anatomy.pelvis(p, hip)
    near_head = anatomy.sphere(p, (0, 0, 0), hip.head_radius + hip.joint_space)
    image += inside(near_head, blur) * (signal("cartilage") - image)
    grain = noise_field(rng, shape, (1.6, 0.8, 0.5))
    dense = signal("dense trabecular marrow") * (1 + 0.10 * grain)
    image += inside(pelvis, blur) * (signal("cortex") - image)
    image += inside(pelvis + 1.5, blur) * (0.95 * dense - image)
    image += inside(femur, blur) * (signal("cortex") - image)
    # Marrow is dense in the head, sparse in the trochanters and the shaft.
    from_head = np.clip((np.sqrt(sum(a**2 for a in p)) - 0.8 * hip.head_radius) / 30, 0, 1)
    marrow = dense + from_head * (signal("fatty marrow") * (1 + 0.04 * grain) - dense)
    image += inside(femur + anatomy.cortex_mm(p, hip), blur) * (marrow - image)
    image *= inside(anatomy.skin(p, hip), blur)
    return image, anatomy.mask(p, hip)


def coil_field(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """How strongly the surface coils receive: brighter on the side, and in front or at the back; median 1."""
    rows, columns, slices = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij", sparse=True)
    slope = rng.uniform([-0.1, 0.15, -0.2], [0.1, 0.45, 0.2])
    field = np.exp(slope[0] * rows + slope[1] * columns + slope[2] * slices + 0.15 * columns**2)
    return (field / np.median(field)).astype(np.float32)


def scan(hip: Hip, shape: tuple[int, int, int], side: str, rng: np.random.Generator) -> tuple[Volume, np.ndarray]:
    """One scan and its exact mask, as a coronal stack.

    Args:
        hip: shape parameters.
        shape: rows, columns, slices over the paper's field of view.
        side: "R" or "L".
        rng: where texture, coil field and noise come from.

    Returns:
        A volume of int16-like brightness (fatty marrow about 1000), and a boolean mask.
    """
    image, mask = tissues(hip, shape, rng)
    image *= coil_field(shape, rng)
    # Noise is complex; a magnitude image of it is Rician. Thinner voxels hold less signal, but a fixed ratio keeps
    # every size equally hard.
    snr = 18 * np.exp(0.22 * rng.standard_normal())
    real, imaginary = rng.standard_normal((2, *shape), np.float32) / np.float32(snr)
    image = np.hypot(image + real, imaginary)
    if side == "R":  # columns of a stack grow to the patient's left, so lateral is the other way on the right
        image, mask = image[:, ::-1], mask[:, ::-1]
    affine = stack_affine(shape, spacing_of(shape))
    return Volume(np.round(1000 * image).astype(np.int16), affine), mask
