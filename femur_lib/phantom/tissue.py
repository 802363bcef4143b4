"""How bright each tissue is in the paper's sequence: 3D FLASH, TR 31 ms, TE 4.92 ms, flip angle 25 degrees."""

from dataclasses import dataclass

import numpy as np

TR_MS, TE_MS, FLIP_DEGREES = 31.0, 4.92, 25.0  # paper, Dataset


@dataclass(frozen=True)
class Tissue:
    """Proton density (water in bone-free tissue is 1), T1 and T2* in ms at 3 T.

    [S] marrow and fat T1: de Bazelaire 2004. The rest is recalled or assumed; see the design notes.
    """

    density: float
    t1_ms: float
    t2star_ms: float


TISSUES = {
    "fatty marrow": Tissue(0.95, 365, 25),
    "dense trabecular marrow": Tissue(0.95, 365, 12),
    "subcutaneous fat": Tissue(0.95, 371, 30),
    "muscle": Tissue(0.80, 1420, 25),
    "cartilage": Tissue(0.75, 1240, 22),
    "cortex": Tissue(0.25, 220, 0.5),
}


def flash(tissue: Tissue, flip_degrees: float = FLIP_DEGREES) -> float:
    """Signal of a spoiled gradient echo (Ernst equation times T2* decay), for proton density 1 and full excitation.

    S = PD sin(a) (1 - E1) / (1 - cos(a) E1) exp(-TE / T2*), E1 = exp(-TR / T1).
    """
    angle, e1 = np.deg2rad(flip_degrees), np.exp(-TR_MS / tissue.t1_ms)
    steady = np.sin(angle) * (1 - e1) / (1 - np.cos(angle) * e1)
    return float(tissue.density * steady * np.exp(-TE_MS / tissue.t2star_ms))


def signal(name: str) -> float:
    """Brightness of a tissue relative to fatty marrow."""
    return flash(TISSUES[name]) / flash(TISSUES["fatty marrow"])
