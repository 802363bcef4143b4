"""What a whole synthetic cohort is like, as a table: the statistics that are too large for the tests.

    python benchmarks/phantom_statistics.py COHORT

COHORT is made by `femur phantom COHORT --subjects 86 --size paper` (or workshop). Everything is measured on the files:
volumes, pieces, the margin around the femur, the agreement of expert and exact masks, and the diameter of the head from
a sphere that is fitted to the labels' border. The two groups are compared by the volume of the mask and by how much
bone the brightness of the head suggests.
"""

import argparse
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from scipy import ndimage, optimize

from femur_lib.cohort import read_cohort, read_subject
from femur_lib.metrics.overlap import overlap
from femur_lib.phantom.cohort import exact_labels_path
from femur_lib.volumes import Volume, read_labels


def around(volume: Volume, centre_mm: np.ndarray, reach_mm: float) -> tuple[tuple[slice, ...], np.ndarray]:
    """The box of voxels within ``reach_mm`` of a point, and their offsets from it in mm, (3, rows, columns, slices)."""
    middle = np.linalg.solve(volume.affine, [*centre_mm, 1])[:3]
    reach = reach_mm / np.array(volume.spacing_mm)
    low = np.maximum(0, np.floor(middle - reach)).astype(int)
    high = np.minimum(volume.array.shape, np.ceil(middle + reach) + 1).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    indices = np.indices(high - low) + low[:, None, None, None]
    place = np.tensordot(volume.affine[:3, :3], indices, 1) + volume.affine[:3, 3][:, None, None, None]
    return box, place - centre_mm[:, None, None, None]


def head_diameter(femur: np.ndarray, away_mm: np.ndarray, medial: float, pixel_mm: float) -> float:
    """Diameter (mm) of the sphere that best fits the femur's in-plane border, where that border is the head's alone.

    Only the in-plane border is used: slices are thick, and a border found across them would lie too far inside. The
    centres of border pixels lie half a pixel inside the border.
    """
    border = femur & ~ndimage.binary_erosion(femur, np.ones((3, 3, 1)))
    upper_medial = 0.8 * medial * away_mm[0] + 0.6 * away_mm[2]
    points = away_mm[:, border & (upper_medial > 4) & (np.abs(away_mm[1]) < 14)]

    def misfit(sphere: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points - sphere[:3, None], axis=0) - sphere[3]

    # The fovea is a dent in the sphere; a robust loss ignores it.
    fitted = optimize.least_squares(misfit, [0.0, 0.0, 0.0, 20.0], loss="soft_l1", f_scale=0.2).x
    return 2 * float(fitted[3]) + pixel_mm


def measure(root: Path, name: str, row: pd.Series) -> dict[str, object]:
    """All measurements of one subject."""
    image, expert = read_subject(read_cohort(root)[name])
    labels = read_labels(exact_labels_path(root, name))
    mask = labels.array == 1
    used = np.flatnonzero(mask.any((0, 1)))
    tenth = mask.shape[2] // 10
    centre = row[["head_centre_r_mm", "head_centre_a_mm", "head_centre_s_mm"]].to_numpy(float)
    box, away = around(labels, centre, 27)
    femur = np.isin(labels.array[box], (1, 2))
    fitted = head_diameter(femur, away, -1.0 if row.side == "R" else 1.0, labels.spacing_mm[0])
    head = image.array[box][np.linalg.norm(away, axis=0) < 14].mean()
    lesser = np.linalg.solve(labels.affine, [0, 0, row.lesser_trochanter_s_mm, 1])[0]  # its row; rows run downwards
    fat = np.median(image.array[int(lesser) :][mask[int(lesser) :]])
    return {
        "participant_id": name,
        "group": row.group,
        "mask_cm3": mask.sum() * np.prod(labels.spacing_mm) / 1000,
        "pieces": int(ndimage.label(mask, np.ones((3, 3, 3)))[1]),
        "share_outside_central": (mask[..., :tenth].sum() + mask[..., -tenth:].sum()) / mask.sum(),
        "first_slice": used[0],
        "last_slice": used[-1],
        "expert_dice": overlap(mask, expert.array)["dice"],
        "head_error_mm": fitted - row.head_diameter,
        "head_bone_fraction": 1 - head / fat,
        "fold_over": row.fold_over > 0,
        "cyst": row.cyst_radius > 0,
        "ghost": row.ghost > 0,
    }


def cohens_d(a: pd.Series, b: pd.Series) -> float:
    """The difference of the means divided by the pooled standard deviation."""
    return float((a.mean() - b.mean()) / np.sqrt((a.var() + b.var()) / 2))


def main() -> None:
    """Measure every subject and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cohort", type=Path)
    root = parser.parse_args().cohort
    truth = pd.read_csv(root / "derivatives" / "truth" / "truth.tsv", sep="\t")
    jobs = (joblib.delayed(measure)(root, row.participant_id, row) for _, row in truth.iterrows())
    table = pd.DataFrame(joblib.Parallel(n_jobs=2)(jobs))
    pd.set_option("display.width", 160)
    numbers = table.drop(columns=["participant_id", "group", "fold_over", "cyst", "ghost"])
    print(numbers.describe().T[["mean", "std", "min", "max"]].round(3).to_string())
    groups = table.groupby("group")
    print(groups[["mask_cm3", "head_bone_fraction"]].agg(["mean", "std", "count"]).round(3).to_string())
    control, fracture = (groups.get_group(g) for g in ("control", "fracture"))
    for column in ("mask_cm3", "head_bone_fraction"):
        print(f"{column}: Cohen's d, control - fracture: {cohens_d(control[column], fracture[column]):.2f}")
    print({name: int(table[name].sum()) for name in ("fold_over", "cyst", "ghost")}, len(fracture), "fractures")


if __name__ == "__main__":
    main()
