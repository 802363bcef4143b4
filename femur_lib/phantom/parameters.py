"""Who is scanned and how: every number in which two synthetic scans can differ.

The tags say where a number comes from: [S] a source about elderly women, [A] an assumption.
"""

from dataclasses import dataclass

from femur_lib.phantom.tissue import FLIP_DEGREES


@dataclass(frozen=True)
class Difficulty:
    """What makes the task easy or hard, one knob each."""

    pelvic_marrow_similarity: float = 0.8  # 1: pelvic marrow looks like the femur's
    rater_border_mm: float = 0.7  # sd of the expert's error along the border
    rater_cut_mm: float = 4.0  # sd of the expert's error at the lower end
    snr: float = 18.0  # median signal-to-noise ratio, of fatty marrow
    coil_bias: float = 1.0  # exponent of the coils' sensitivity; 0 is an even coil
    position_mm: float = 3.5  # sd of where the hip lies in the field of view
    rotation_degrees: float = 4.0  # sd of how the patient lies
    trabecular_contrast: float = 0.62
    marbling: float = 0.06  # share of fat within muscle
    cortex: float = 1.0  # scales every thickness of cortex
    red_marrow: float = 0.23  # mean share of red marrow in the neck
    artefacts: float = 1.0  # scales how many have one: 3 fold-overs and 1 cyst in 86, and 8 % ghosts


DIFFICULTIES = {
    "easy": Difficulty(0.0, 0.0, 0.0, 30.0, 0.0, 1.5, 1.5, 0.3, 0.02, 1.0, 0.1, 0.0),
    "usual": Difficulty(),
    "hard": Difficulty(1.0, 1.0, 8.0, 8.0, 1.6, 12.0, 12.0, 0.9, 0.25, 0.6, 0.7, 10.0),
}


@dataclass(frozen=True)
class Hip:
    """Shape and marrow of one hip; a left one has the same numbers as a right one. Lengths in mm, angles in degrees.

    The defaults make a woman of average shape.
    """

    head_diameter: float = 43.2  # [S]; sd 2.2 [A]
    neck_shaft_angle: float = 125.0  # [S] ± 5, PMC4775021
    anteversion: float = 10.0  # [S] 16.4 in truth; less is seen, because the feet are turned in
    offset: float = 41.0  # [S] from the head's centre to the shaft's axis, pooled 42.9 ± 6.8; sd 4 [A]
    neck_height: float = 30.6  # [S] Jamali
    neck_depth: float = 25.0  # [S] Jamali; how her width splits into height and depth is [A]
    shaft_radius: float = 13.6  # [A] below the lesser trochanter
    greater_trochanter: float = 0.92  # [S] from its tip to the head's centre, in head diameters, APM-21-2538
    lesser_trochanter: float = 1.16  # [S] to the head's centre, in head diameters, s12891-021-04131-w
    lesser_trochanter_height: float = 14.2  # [S] ± 3.2
    lesser_trochanter_width: float = 21.5  # [S] ± 3.9
    lesser_trochanter_version: float = 24.0  # [S] ± 11.5, backwards from medial
    alpha_angle: float = 53.5  # [S] ± 7.4, Gollwitzer; above 60 a cam bump is drawn [A]
    cortex: float = 1.0  # [A] scales every thickness of cortex
    superior_neck_cortex: float = 1.0  # [A] scales that of the upper neck once more
    joint_space: float = 3.8  # [S] ± 0.6, Lanyon 2003
    centre_edge_angle: float = 34.0  # [S] ± 6, Fowkes 2011
    soft_tissue: float = 34.0  # [S] ± 11 over the greater trochanter (of men)
    abduction: float = 6.0  # [A] of the shaft, from the body's axis
    flexion: float = 0.0  # [A]
    pelvic_tilt: float = 0.0  # [A]
    distal_cut: float = 22.0  # [A] where the mask ends, below the lesser trochanter
    bone_fraction: float = 1.0  # [A] scales the bone volume fraction everywhere
    ward_fraction: float = 1.0  # [A] scales that of Ward's triangle and the tensile group once more
    red_marrow: float = 0.23  # [S] share in the neck and the intertrochanteric region, the only places that have any
    marbling: float = 0.06
    trabecular_contrast: float = 0.62
    pelvic_marrow_similarity: float = 0.8
    cyst_radius: float = 0.0  # 0: no cyst
    metal_radius: float = 0.0  # 0: no metal


@dataclass(frozen=True)
class Protocol:
    """How the hip lay in the scanner, and what the scanner did."""

    place: tuple[float, float, float] = (
        -17.0,
        0.0,
        24.0,
    )  # [A] of the head from the field's centre: lateral, front, up
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)  # [A] of the patient about those three axes, in degrees
    flip_degrees: float = FLIP_DEGREES
    muscle_t1_ms: float = 1420.0
    snr: float = 18.0  # of fatty marrow where the coils' sensitivity is average; infinite: no noise
    coil_bias: float = 1.0
    gain: float = 1.0  # MR numbers have no unit
    chemical_shift: float = 1.0  # 0 switches it off
    slab_profile: float = 1.0  # 0 switches it off
    gibbs: bool = True
    ghost: float = 0.0  # how strongly the lines of k-space are modulated
    fold_over: float = 0.0  # how strongly it shows what wraps round


@dataclass(frozen=True)
class Person:
    """One woman of the cohort: her side, her group, and everything her scan is made from."""

    seed: int
    number: int  # her place in the cohort, from 0
    side: str
    group: str
    fracture_site: str
    age: float
    hip: Hip
    protocol: Protocol
    rater_border_mm: float
    rater_cut_mm: float  # this expert's error at the lower end; positive cuts lower
    whole_femur: bool = False  # whether this expert draws all of the femur, with its cortex, down to the image's edge

    @property
    def name(self) -> str:
        """Her name in the cohort, as BIDS wants it."""
        return f"sub-{self.number + 1:03d}"
