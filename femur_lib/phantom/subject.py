"""Draws the women of a cohort from a seed: shape, marrow, group, protocol and artefacts."""

from dataclasses import replace

import numpy as np
from scipy.special import betaincinv

from femur_lib.phantom.femur import recentred
from femur_lib.phantom.parameters import DIFFICULTIES, Difficulty, Hip, Person, Protocol
from femur_lib.phantom.tissue import FLIP_DEGREES

# [S] paper, Dataset: 36 of 86 women had a fragility fracture, never of the scanned hip.
COHORT = 86
FRACTURE_SITES = ("spine",) * 4 + ("arm",) * 15 + ("leg",) * 12 + ("pelvis",) + ("ribs",) * 4
FOLD_OVERS, CYSTS = 3, 1


def stream(seed: int, subject: int, purpose: int) -> np.random.Generator:
    """Random numbers for one purpose of one subject: the same in every cohort, order and process."""
    return np.random.default_rng((seed, subject, purpose))


def draw_person(seed: int, k: int, difficulty: Difficulty = DIFFICULTIES["usual"]) -> Person:
    """The ``k``-th synthetic woman, from 0: for one seed she is the same at every size, in a cohort of any length.

    Every 86 in a row have exactly 36 fractures, 3 fold-overs and 1 cyst (at artefacts x 1), and 43 left and 43 right
    hips. A knob of difficulty changes what it names, and nothing else about her.
    """
    # Roles are dealt like cards: their counts are exact, and no role goes with a side or with another role.
    deal = stream(seed, k // COHORT, 0)
    place = k % COHORT
    right = bool(deal.permutation(COHORT)[place] % 2)
    fracture_card = int(deal.permutation(COHORT)[place])
    artefact_card = int(deal.permutation(COHORT)[place])
    fracture = fracture_card < len(FRACTURE_SITES)
    fold_overs, cysts = (round(n * difficulty.artefacts) for n in (FOLD_OVERS, CYSTS))
    rng = stream(seed, k, 1)

    def near(mean: float, sd: float, spread: float = 2.5) -> float:
        return float(mean + sd * np.clip(rng.standard_normal(), -spread, spread))

    size = float(np.clip(rng.standard_normal(), -2, 2))

    def with_head(mean: float, sd: float, correlation: float) -> float:
        own = float(np.clip(rng.standard_normal(), -2, 2))
        return float(mean + sd * (correlation * size + np.sqrt(1 - correlation**2) * own))

    # Correlations with the head's diameter are [S] PMC9532221. A neck's length follows from offset and angle.
    hip = Hip(
        head_diameter=Hip.head_diameter + 2.2 * size,
        neck_shaft_angle=with_head(Hip.neck_shaft_angle, 5, -0.14),
        anteversion=near(Hip.anteversion, 7, 2),
        offset=with_head(Hip.offset, 4, 0.05),
        neck_height=with_head(Hip.neck_height, 1.7, 0.50),
        neck_depth=with_head(Hip.neck_depth, 1.7, 0.25),
        shaft_radius=with_head(Hip.shaft_radius, 0.7, 0.35),
        greater_trochanter=near(Hip.greater_trochanter, 0.07, 1.5),
        lesser_trochanter=near(Hip.lesser_trochanter, 0.08, 1.5),
        lesser_trochanter_height=near(Hip.lesser_trochanter_height, 3.2, 1.5),
        lesser_trochanter_width=near(Hip.lesser_trochanter_width, 3.9, 1.5),
        lesser_trochanter_version=near(Hip.lesser_trochanter_version, 11.5, 1.5),
        alpha_angle=near(Hip.alpha_angle, 7.4),
        cortex=difficulty.cortex * (0.90 if fracture else 1.0) * float(np.exp(near(0, 0.12))),
        superior_neck_cortex=0.80 / 0.90 if fracture else 1.0,
        joint_space=near(Hip.joint_space, 0.6),
        centre_edge_angle=near(Hip.centre_edge_angle, 6, 2),
        soft_tissue=float(np.clip(near(Hip.soft_tissue, 11), 12, 70)),
        abduction=Hip.abduction + near(0, 2.5) + near(0, 2),
        flexion=near(0, 2.5, 2),
        pelvic_tilt=near(0, 3, 2),
        distal_cut=near(Hip.distal_cut, 5, 1.5),
        bone_fraction=(0.86 if fracture else 1.0) * float(np.exp(near(0, 0.15))),
        ward_fraction=0.75 / 0.86 if fracture else 1.0,
        # A beta distribution whose first parameter is 1.2 [A]. We draw its quantile: whatever the knob, that takes one
        # random number.
        red_marrow=float(betaincinv(1.2, 1.2 / difficulty.red_marrow - 1.2, rng.uniform())),
        marbling=float(np.clip(difficulty.marbling * np.exp(near(0, 0.5)), 0.01, 0.4)),
        trabecular_contrast=difficulty.trabecular_contrast,
        pelvic_marrow_similarity=difficulty.pelvic_marrow_similarity,
        cyst_radius=float(rng.uniform(6, 9)) * (fold_overs <= artefact_card < fold_overs + cysts),
    )
    age = float(np.clip(near(62, 8), 50, 85))
    rng = stream(seed, k, 2)
    x, y, z = Protocol.place + difficulty.position_mm * np.clip(rng.standard_normal(3), -2, 2)
    turn = difficulty.rotation_degrees * np.clip(rng.standard_normal(3), -2, 2) * (0.5, 1, 0.5)
    protocol = Protocol(
        place=(float(x), float(y), float(z)),
        turn=(float(turn[0]), float(turn[1]), float(turn[2])),
        flip_degrees=FLIP_DEGREES * float(rng.uniform(0.9, 1.1)),
        muscle_t1_ms=float(rng.uniform(900, 1420)),
        snr=difficulty.snr * float(np.exp(near(0, 0.22))),
        coil_bias=difficulty.coil_bias * float(rng.uniform(0.6, 1.4)),
        gain=float(np.exp(near(0, 0.2))),
        fold_over=float(rng.uniform(0.3, 0.8)) * (artefact_card < fold_overs),
        ghost=float(rng.uniform(0.05, 0.25)) * (rng.uniform() < min(1.0, 0.08 * difficulty.artefacts)),
    )
    return Person(
        seed=seed,
        number=k,
        side="R" if right else "L",
        group="fracture" if fracture else "control",
        fracture_site=FRACTURE_SITES[fracture_card] if fracture else "n/a",
        age=age,
        hip=hip,
        protocol=replace(protocol, place=recentred(hip, protocol)),
        rater_border_mm=difficulty.rater_border_mm,
        rater_cut_mm=near(0, difficulty.rater_cut_mm, 2),
    )
