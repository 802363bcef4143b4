"""Metrics: how well a mask or a probability agrees with the truth (paper, Evaluation)."""

from femur_lib.metrics.surface_distance import TOLERANCE_MM

# What stands beside each score in our figures and reports.
TITLES = {
    "dice": "Dice",
    "precision": "precision",
    "recall": "recall",
    "asd_mm": "ASD [mm]",
    "msd_mm": "MSD [mm]",
    "hd95_mm": "HD95 [mm]",
    "nsd": f"NSD ({TOLERANCE_MM:g} mm)",
}
