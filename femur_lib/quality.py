"""Which predictions should a person look at first? A judgement of masks that have no truth to be scored against.

Nothing here knows whether a mask is right. It looks for what wrong ones have in common: several pieces, a volume or a
shape unlike the others', borders of the scan touched, a network unsure, networks that disagree. Each is expressed as
the Dice that it may cost; ``suspicion`` is the sum, a guess at 1 - Dice whose order means more than its value.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from femur_lib.cohort import Cohort, read_cohort
from femur_lib.errors import DataError
from femur_lib.masks import CONNECTIVITIES, largest_component
from femur_lib.prediction import read_prediction
from femur_lib.scores.overlap import overlap
from femur_lib.segmentation import SUFFIXES, scans_by_name
from femur_lib.volumes import Volume, check_same_grid, read_mask, read_volume, to_stack

# The two faces of a stack along each of its axes, first and last.
FACES = (("superior", "inferior"), ("right", "left"), ("front", "back"))
CUT = "inferior"  # where a scan normally ends within the shaft
SHAPE = {
    "superior_inferior_mm": "height",
    "right_left_mm": "width",
    "front_back_mm": "depth",
    "fill": "share of its box that it fills",
}
UNSURE = (0.1, 0.9)  # probabilities between these are neither
FEWEST = 5  # other scans that a range takes
LIMIT = 3.0  # robust standard deviations from the median that are still within the range
LEAST_SPREAD = 0.05  # of the median: scans that are all alike do not make every other one strange
# What a finding may cost in Dice. A voxel wrongly marked costs half its share of the mask; an unsure one is wrong half
# the time at worst. What a border costs cannot be derived: a twentieth moves a scan up and does not outweigh the rest.
STRAY_COST, UNSURE_COST, RANGE_COST, BORDER_COST = 1 / 2, 1 / 4, 1 / 2, 1 / 20
EMPTY = 2.0  # the suspicion of an empty mask


def quality(
    predictions: str | os.PathLike,
    other_folders: Sequence[str | os.PathLike] = (),
    cohort: Cohort | None = None,
    images: Mapping[str, Path] | None = None,
) -> pd.DataFrame:
    """Judge every predicted mask of a folder, without truth.

    Args:
        predictions: what ``femur predict --out`` wrote.
        other_folders: the same scans predicted otherwise, about as well: by other folds' networks, or with and without
            ``--flip``. Where a worse network fails, its failure is blamed on these masks. A folder need not have every
            scan.
        cohort: hips with masks to be trusted, for the range of volume and shape. A scan's own mask in it is never
            looked at. None takes the other predictions of the folder for the range.
        images: the scans by name (:func:`find_images`), to see that each mask lies on its scan's grid.

    Returns:
        One row a scan, likely failures first: name, suspicion, reasons (words), components (26 neighbours),
        outside_largest (share of the mask outside the largest component), volume_ml, superior_inferior_mm,
        right_left_mm, front_back_mm, fill and touches (of the largest component: extents, share of the box around it,
        faces of the scan that it touches), volume_z and shape_z (robust standard deviations from the median of the
        others; shape_z is the farthest of extents and fill; NaN for fewer than five others), uncertain (voxels with a
        probability from 0.1 to 0.9, over the mask's), disagreement (1 - mean Dice with the other folders' masks).

    Raises:
        DataError: no predictions; one without its probability, image or any counterpart; a file that cannot be used;
            grids that differ.
    """
    files = _find(Path(predictions), [Path(f) for f in other_folders], images)
    rows = [_measured(name, others, Path(predictions), (images or {}).get(name)) for name, others in files.items()]
    trusted = None if cohort is None else [{"name": s.id, **measures(read_mask(s.mask))} for s in cohort.subjects]
    for row in rows:
        range_of = [r for r in (trusted or rows) if r["name"] != row["name"] and r["components"]]
        row |= _judged(row, range_of, [r for r in rows if r is not row])
    columns = ["name", "suspicion", "reasons"]
    table = pd.DataFrame(rows)
    table = table[columns + [c for c in table if c not in columns]]
    return table.sort_values(["suspicion", "name"], ascending=[False, True], ignore_index=True)


def find_images(source: str | os.PathLike) -> dict[str, Path]:
    """Scans by the names that predictions of them have: of a cohort by participant, of a plain folder by file.

    Raises:
        DataError: there is none.
    """
    source = Path(source)
    if (source / "participants.tsv").is_file():
        return {s.id: s.image for s in read_cohort(source).subjects}
    found = scans_by_name(sorted([*source.glob("*.nii"), *source.glob("*.nii.gz")]))
    if not found:
        raise DataError(source, "no .nii or .nii.gz file", "a cohort, or a folder of scans", "Check the folder.")
    return found


def measures(mask: Volume) -> dict:
    """What can be said of a mask by itself: see :func:`quality`. Lengths are zero, and fill NaN, if it is empty."""
    stack = to_stack(mask)
    array = stack.array.astype(bool)
    _, components = ndimage.label(array, ndimage.generate_binary_structure(3, CONNECTIVITIES[26]))
    largest = largest_component(array)
    voxels, most = int(array.sum()), int(largest.sum())
    box = ndimage.find_objects(largest.view(np.uint8))[0] if most else (slice(0, 0),) * 3
    sides = [s.stop - s.start for s in box]
    extents = [float(n * mm) for n, mm in zip(sides, stack.spacing_mm, strict=True)]
    touched = [
        name
        for names, side, size in zip(FACES, box, array.shape, strict=True)
        for name, at_it in zip(names, (side.start == 0, side.stop == size), strict=True)
        if at_it and most
    ]
    return {
        "components": int(components),
        "outside_largest": 1 - most / voxels if voxels else 0.0,
        "volume_ml": float(voxels * np.prod(stack.spacing_mm) / 1000),
        **dict(zip(("superior_inferior_mm", "right_left_mm", "front_back_mm"), extents, strict=True)),
        "fill": most / float(np.prod(sides)) if most else float("nan"),
        "touches": ", ".join(touched),
    }


def uncertain(probability: np.ndarray, mask: np.ndarray) -> float:
    """Voxels that the network is unsure of, over those of its mask; NaN if that is empty."""
    unsure = np.count_nonzero((probability > UNSURE[0]) & (probability < UNSURE[1]))
    return unsure / np.count_nonzero(mask) if mask.any() else float("nan")


def disagreement(mask: np.ndarray, others: Sequence[np.ndarray]) -> float:
    """1 - mean Dice with other masks of the same scan; two empty masks agree; NaN where there is no other."""
    dice = [overlap(other, mask)["dice"] if other.any() or mask.any() else 1.0 for other in others]
    return 1 - float(np.mean(dice)) if dice else float("nan")


def robust_z(value: float, others: Sequence[float]) -> float:
    """How many robust standard deviations (1.4826 MAD) a value is from the others' median; NaN for fewer than five."""
    if len(others) < FEWEST:
        return float("nan")
    median, spread = _range(others)
    return (value - median) / spread


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Median, and a robust standard deviation that is never quite nothing."""
    median = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(np.asarray(values) - median)))
    return median, max(spread, LEAST_SPREAD * abs(median), 1e-6)


def _find(predictions: Path, others: list[Path], images: Mapping[str, Path] | None) -> dict[str, list[Path]]:
    """Names of the scans and each one's masks in the other folders; every file that will be read is there."""
    masks = sorted(predictions.glob(f"*{SUFFIXES['mask']}"))
    if not masks:
        raise DataError(predictions, "no *_mask.nii.gz", "the output of femur predict", "Check the folder.")
    names = [file.name.removesuffix(SUFFIXES["mask"]) for file in masks]
    for name in names:
        file = predictions / f"{name}{SUFFIXES['probability']}"
        if not file.is_file():
            raise DataError(file, "no such file", f"the probability that goes with the mask {name}", "Predict again.")
        if images is not None and name not in images:
            raise DataError(f"the image of {name}", "none", f"a scan named {name}", "Give the scans predicted from.")
    for folder in others:
        if folder.resolve() == predictions.resolve():
            raise DataError(folder, "the folder that is judged", "another prediction", "Give another folder.")
        if not any((folder / f"{name}{SUFFIXES['mask']}").is_file() for name in names):
            raise DataError(
                folder, "no mask of any of these scans", f"masks such as {names[0]}_mask.nii.gz", "Check the folder."
            )
    places = {name: [folder / f"{name}{SUFFIXES['mask']}" for folder in others] for name in names}
    return {name: [file for file in files if file.is_file()] for name, files in places.items()}


def _measured(name: str, others: Sequence[Path], folder: Path, image: Path | None) -> dict:
    """One scan's measures, of which none looks at another scan."""
    path = folder / f"{name}{SUFFIXES['mask']}"
    mask = read_prediction(path)
    if image is not None:
        check_same_grid(path, mask, image, read_volume(image))
    unsure = float("nan")
    if mask.array.any() and not mask.array.all():  # otherwise the probability may be constant, and would be refused
        file = folder / f"{name}{SUFFIXES['probability']}"
        probability = read_volume(file)
        check_same_grid(file, probability, path, mask)
        unsure = uncertain(probability.array, mask.array)
    arrays = []
    for file in others:
        other = read_prediction(file)
        check_same_grid(file, other, path, mask)
        arrays.append(other.array)
    return {"name": name, **measures(mask), "uncertain": unsure, "disagreement": disagreement(mask.array, arrays)}


def _judged(row: dict, range_of: list[dict], rest: list[dict]) -> dict:
    """What a scan's measures mean beside those of others: z values, suspicion, reasons."""
    numbers = {c: [r[c] for r in range_of] for c in ("volume_ml", *SHAPE)}
    z = {c: robust_z(row[c], values) for c, values in numbers.items()}
    shape = max((z[c] for c in SHAPE), key=lambda v: 0 if np.isnan(v) else abs(v))
    found = {"volume_z": z["volume_ml"], "shape_z": shape}
    if not row["components"]:
        return {**found, "suspicion": EMPTY, "reasons": "the mask is empty"}
    reasons, excess = [], [0.0]
    for column, value in z.items():
        if abs(value) > LIMIT:
            median, _ = _range(numbers[column])
            excess.append(abs(row[column] / median - 1) * (1 - LIMIT / abs(value)))
            reasons.append(_out_of_range(column, row[column], median))
    borders = _unusual_borders(row, range_of)
    parts = {
        "outside_largest": STRAY_COST * row["outside_largest"],
        "uncertain": UNSURE_COST * row["uncertain"],
        "disagreement": row["disagreement"],
    }
    if row["outside_largest"] > 0.005:
        reasons.append(f"{row['components']} pieces, {row['outside_largest']:.1%} of the mask outside the largest")
    for column, words, too_much in (
        ("disagreement", "other predictions of this scan differ: Dice {0:.3f} with them on average", 0.1),
        ("uncertain", "the network is unsure of {1:.0%} as many voxels as it marked", 1.0),
    ):
        others = [r[column] for r in rest if not np.isnan(r[column])]
        usual = float(np.median(others)) if others else float("nan")
        if robust_z(row[column], others) > LIMIT or (row[column] > too_much and not row[column] <= usual):
            theirs = f"{1 - usual:.3f}" if column == "disagreement" else f"{usual:.0%}"
            aside = f" (the other scans': {theirs})"
            reasons.append(words.format(1 - row[column], row[column]) + aside * bool(others))
    suspicion = sum(v for v in parts.values() if not np.isnan(v))
    suspicion += RANGE_COST * min(1.0, max(excess)) + BORDER_COST * len(borders)
    return {**found, "suspicion": suspicion, "reasons": "; ".join(reasons + borders) or "nothing unusual"}


def _out_of_range(column: str, value: float, median: float) -> str:
    if column == "volume_ml":
        return f"its volume is {value:.3g} ml, that of most others {median:.3g} ml (median)"
    if column == "fill":
        return f"it fills {value:.0%} of the box around it, most others {median:.0%}"
    return f"its {SHAPE[column]} is {value:.0f} mm, that of most others {median:.0f} mm"


def _unusual_borders(row: dict, others: list[dict]) -> list[str]:
    """Faces of the scan that a mask touches and most others do not; the cut through the shaft is no surprise."""
    touched = set(row["touches"].split(", ")) - {""}
    usual = {
        face: sum(face in r["touches"].split(", ") for r in others) > len(others) / 2 for pair in FACES for face in pair
    }
    unusual = [f"it touches the scan's {face} border" for face in usual if face in touched - {CUT} and not usual[face]]
    if len(others) >= FEWEST and usual[CUT] and CUT not in touched:
        unusual.append("it ends before the scan's lower border, which most others reach")
    return unusual
