"""How bright each tissue is in the paper's sequence: 3D FLASH, TR 31 ms, TE 4.92 ms, flip angle 25 degrees.

The tags say where a number comes from: [S] read in a source, [R] recalled, [A] assumed.
"""

from dataclasses import dataclass, replace

import numpy as np

TR_MS, TE_MS, FLIP_DEGREES = 31.0, 4.92, 25.0  # [S] paper, Dataset
FAT_SHIFT_HZ = 3.4 * 123.2  # [S] 3.4 ppm at 2.894 T: 419 Hz
BANDWIDTH_HZ = 200.0  # [S] per pixel of 512 (paper, Dataset)


@dataclass(frozen=True)
class Tissue:
    """Proton density (1 is water without bone), T1 and T2* in ms at 3 T."""

    density: float
    t1_ms: float
    t2star_ms: float


# T1 of marrow and fat: de Bazelaire 2004 [S]; of muscle, cartilage and fluid: Gold 2004 [R]. Densities and T2* are [A].
TISSUES = {
    "fatty marrow": Tissue(0.95, 365, 25),  # where trabeculae are few: Ward's triangle, trochanter, shaft
    "dense trabecular marrow": Tissue(0.95, 365, 12),  # of the head, before its share of bone is taken off
    "red marrow": Tissue(0.90, 586, 14),
    "subcutaneous fat": Tissue(0.95, 371, 30),
    "muscle": Tissue(0.80, 1420, 25),  # de Bazelaire has a T1 of 898, so it is a knob of the protocol
    "cartilage": Tissue(0.75, 1240, 22),
    "fluid": Tissue(1.00, 3620, 100),
    "cyst": Tissue(0.90, 1600, 45),  # proteinaceous
    "blood": Tissue(0.90, 1932, 40),
    "capsule": Tissue(0.70, 600, 2),  # and tendon, and labrum
    "calcification": Tissue(0.30, 500, 2),
    "cortex": Tissue(0.25, 220, 0.5),
}


def flash(tissue: Tissue, flip_degrees: float = FLIP_DEGREES) -> float:
    """Signal of a spoiled gradient echo: the Ernst equation times the T2* decay.

    S = PD sin(a) (1 - E1) / (1 - cos(a) E1) exp(-TE / T2*), where E1 = exp(-TR / T1).
    """
    angle, e1 = np.deg2rad(flip_degrees), np.exp(-TR_MS / tissue.t1_ms)
    steady = np.sin(angle) * (1 - e1) / (1 - np.cos(angle) * e1)
    return float(tissue.density * steady * np.exp(-TE_MS / tissue.t2star_ms))


def signals(flip_degrees: float = FLIP_DEGREES, muscle_t1_ms: float = 1420.0) -> dict[str, float]:
    """Brightness of every tissue; 1 is fatty marrow at the paper's flip angle."""
    table = TISSUES | {"muscle": replace(TISSUES["muscle"], t1_ms=muscle_t1_ms)}
    return {name: flash(tissue, flip_degrees) / flash(TISSUES["fatty marrow"]) for name, tissue in table.items()}


def bone_attenuation(fraction: np.ndarray, local: np.ndarray) -> np.ndarray:
    """The share of fatty marrow's brightness that is left where there is trabecular bone.

    Bone takes the room of marrow, and makes its signal decay faster: R2* = 29 + 217 BV per second [A].

    Args:
        fraction: bone volume fraction (BV/TV) of the neighbourhood.
        local: bone volume fraction of the voxel itself; what it has more than its neighbourhood shows as a dark strand.
    """
    room = np.clip((1 - fraction) * (1 - 2.2 * (local - fraction)), 0.04, 1.2)
    r2_star = 29 + 217 * fraction
    return room * np.exp(-TE_MS * 1e-3 * r2_star + TE_MS / TISSUES["fatty marrow"].t2star_ms)
