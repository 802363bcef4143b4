"""Which predictions should a person look at first? Masks are judged without a truth to score them against.

Nothing here knows whether a mask is right. We look for what wrong masks have in common: several pieces, a volume or a
shape unlike the others', a border of the scan that is touched, a network that is unsure, networks that disagree. Each
finding is expressed as the Dice that it may cost. Their sum, the ``suspicion``, is a guess at 1 - Dice, and its order
means more than its value.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from femur_lib._runtime.errors import DataError
from femur_lib.cohort import Cohort, read_cohort
from femur_lib.evaluation import read_prediction
from femur_lib.inference import NEIGHBOURS, SUFFIXES, largest_component
from femur_lib.metrics.overlap import overlap
from femur_lib.volumes import (
    Volume,
    by_name,
    check_same_grid,
    faces_touched,
    on_grid_of,
    read_mask,
    read_volume,
    scan_files,
    to_stack,
    volume_cm3,
)

CUT = "inferior"  # the border at which a scan normally ends, within the shaft
BORDERS = ("superior", CUT, "right", "left", "anterior", "posterior")
EXTENTS = {"superior_inferior_mm": "height", "right_left_mm": "width", "anterior_posterior_mm": "depth"}
UNSURE = (0.1, 0.9)  # between these probabilities a network has not made up its mind
FEWEST = 5  # so many other scans make a usual range
LIMIT = 3.0  # robust standard deviations from the median that are still within the range
LEAST_SPREAD = 0.05  # of the median: where scans are all alike, a small difference is still not strange
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
        other_folders: other predictions of the same scans, about as good: by other folds' networks, or with and without
            ``--flip``. If a network that is worse fails, these masks get the blame. A folder may lack some scans.
        cohort: hips whose masks are trusted, for the usual range of volume and shape. A scan is never compared with its
            own mask in it. None compares with the other predictions of the folder instead.
        images: the scans by name (:func:`find_images`), to check that each mask lies on its scan's grid.

    Returns:
        One row for each scan, likely failures first:

        * name, suspicion, and reasons (in words);
        * components (26 neighbours), outside_largest (the share of the mask that is not in the largest), volume_cm3;
        * of the largest component: its extents superior_inferior_mm, right_left_mm and anterior_posterior_mm, fill (the
          share of the box around it that it fills), and touches (the borders of the scan that it touches);
        * volume_z and shape_z: robust standard deviations from the median of the others, for the volume, and for the
          most unusual of extents and fill; NaN if there are fewer than five others;
        * uncertain: the number of voxels with a probability between 0.1 and 0.9, divided by that of the mask's voxels;
        * disagreement: 1 - mean Dice with the other folders' masks.

    Raises:
        DataError: there is no prediction; one lacks its probability, its image or any counterpart; a file cannot be
            used; or grids differ.
    """
    predictions, others = Path(predictions), [Path(folder) for folder in other_folders]
    names = _names(predictions, others, images)
    rows = [_measured(name, predictions, others, (images or {}).get(name)) for name in names]
    trusted = None if cohort is None else [{"name": s.id, **measures(read_mask(s.mask))} for s in cohort.subjects]
    for row in rows:
        compared = [r for r in (trusted or rows) if r["name"] != row["name"] and r["components"]]
        row |= _judged(row, compared, [r for r in rows if r is not row])
    table = pd.DataFrame(rows)
    table["touches"] = table.touches.map(", ".join)
    first = ["name", "suspicion", "reasons"]
    table = table[first + [c for c in table if c not in first]]
    return table.sort_values(["suspicion", "name"], ascending=[False, True], ignore_index=True)


def find_images(source: str | os.PathLike) -> dict[str, Path]:
    """Scans by the names of their predictions: by participant in a cohort, by file name in a plain folder.

    Raises:
        DataError: there is no scan, or two files have one name.
    """
    source = Path(source)
    if (source / "participants.tsv").is_file():
        return {s.id: s.image for s in read_cohort(source).subjects}
    found = by_name(scan_files(source))
    if not found:
        raise DataError(f"{source} holds no scan; a cohort or a folder of scans was expected.", "Check the folder.")
    return found


def read_predicted(
    name: str, predictions: Path, others: Sequence[Path]
) -> tuple[Volume, np.ndarray | None, list[np.ndarray]]:
    """A scan's predicted mask, its probability, and its masks in those of the other folders that have one.

    The probability of an empty or a full mask may be constant, which ``read_volume`` refuses. Nothing is in doubt then,
    and None stands for it.

    Raises:
        DataError: a file cannot be used, or their grids differ.
    """
    path = predictions / f"{name}{SUFFIXES['mask']}"
    mask, probability, masks = read_prediction(path), None, []
    if mask.array.any() and not mask.array.all():
        file = predictions / f"{name}{SUFFIXES['probability']}"
        read = read_volume(file)
        check_same_grid(file, read, path, mask)
        probability = read.array
    for file in (folder / path.name for folder in others):
        if file.is_file():
            masks.append(on_grid_of(file, read_prediction(file), path, mask).array)
    return mask, probability, masks


def measures(mask: Volume) -> dict:
    """What can be measured on one mask (:func:`quality`); of an empty one, lengths are zero and fill is NaN."""
    stack = to_stack(mask)
    array = stack.array.astype(bool)
    _, components = ndimage.label(array, NEIGHBOURS)
    largest = largest_component(array)
    voxels, most = int(array.sum()), int(largest.sum())
    box = ndimage.find_objects(largest.view(np.uint8))[0] if most else (slice(0, 0),) * 3
    sides = [s.stop - s.start for s in box]
    return {
        "components": int(components),
        "outside_largest": 1 - most / voxels if voxels else 0.0,
        "volume_cm3": volume_cm3(stack),
        **{column: float(n * mm) for column, n, mm in zip(EXTENTS, sides, stack.spacing_mm, strict=True)},
        "fill": most / float(np.prod(sides)) if most else float("nan"),
        "touches": faces_touched(Volume(largest, stack.affine)),
    }


def unsure(probability: np.ndarray) -> np.ndarray:
    """True where the network has not made up its mind."""
    return (probability > UNSURE[0]) & (probability < UNSURE[1])


def disagreement(mask: np.ndarray, others: Sequence[np.ndarray]) -> float:
    """1 - mean Dice with other masks of the same scan. Two empty masks agree; without another mask it is NaN."""
    dice = [overlap(other, mask)["dice"] if other.any() or mask.any() else 1.0 for other in others]
    return 1 - float(np.mean(dice)) if dice else float("nan")


def robust_z(value: float, others: Sequence[float]) -> float:
    """How many robust standard deviations (1.4826 MAD) a value is from the others' median; NaN for fewer than five."""
    if len(others) < FEWEST:
        return float("nan")
    median = float(np.median(others))
    spread = 1.4826 * float(np.median(np.abs(np.asarray(others) - median)))
    return (value - median) / max(spread, LEAST_SPREAD * abs(median), 1e-6)


def _names(predictions: Path, others: list[Path], images: Mapping[str, Path] | None) -> list[str]:
    """Names of the predicted scans, after a check that every file that will be read is there."""
    masks = sorted(predictions.glob(f"[!.]*{SUFFIXES['mask']}"))
    if not masks:
        raise DataError(
            f"{predictions} holds no *{SUFFIXES['mask']}; the output of femur predict was expected.",
            "Check the folder.",
        )
    names = [file.name.removesuffix(SUFFIXES["mask"]) for file in masks]
    for name in names:
        file = predictions / f"{name}{SUFFIXES['probability']}"
        if not file.is_file():
            raise DataError(
                f"{file} does not exist; the probability that belongs to the mask was expected.", "Predict again."
            )
        if images is not None and name not in images:
            raise DataError(
                f"{predictions} has a mask of {name}, and no image has this name; one was expected.",
                "Give the scans that were predicted from.",
            )
    for folder in others:
        if folder.resolve() == predictions.resolve():
            raise DataError(
                f"{folder} is the folder to be judged; other predictions were expected.", "Give another folder."
            )
        if not any((folder / file.name).is_file() for file in masks):
            raise DataError(
                f"{folder} has no mask of any of these scans; masks such as {masks[0].name} were expected.",
                "Check the folder.",
            )
    return names


def _measured(name: str, predictions: Path, others: list[Path], image: Path | None) -> dict:
    """What one scan's predictions show by themselves, before any other scan is looked at."""
    mask, probability, masks = read_predicted(name, predictions, others)
    if image is not None:
        check_same_grid(predictions / f"{name}{SUFFIXES['mask']}", mask, image, read_volume(image))
    return {
        "name": name,
        **measures(mask),
        "uncertain": float("nan") if probability is None else unsure(probability).sum() / np.count_nonzero(mask.array),
        "disagreement": disagreement(mask.array, masks),
    }


def _judged(row: dict, compared: list[dict], rest: list[dict]) -> dict:
    """What a scan's measures mean: z values, suspicion, reasons.

    Args:
        row: the scan's measures.
        compared: measures of the masks that give the usual range of volume and shape.
        rest: measures of the folder's other scans, for what only a prediction has.
    """
    usual = {c: [r[c] for r in compared] for c in ("volume_cm3", *EXTENTS, "fill")}
    z = {c: robust_z(row[c], values) for c, values in usual.items()}
    shape = max((z[c] for c in (*EXTENTS, "fill")), key=lambda v: 0 if np.isnan(v) else abs(v))
    found = {"volume_z": z["volume_cm3"], "shape_z": shape}
    if not row["components"]:
        return {**found, "suspicion": EMPTY, "reasons": "the mask is empty"}
    reasons, excess = [], [0.0]
    for column, value in z.items():
        if abs(value) > LIMIT:
            median = float(np.median(usual[column]))
            excess.append(abs(row[column] / median - 1) * (1 - LIMIT / abs(value)))
            reasons.append(_out_of_range(column, row[column], median))
    if row["outside_largest"] > 0.005:
        reasons.append(f"{row['components']} pieces, {row['outside_largest']:.1%} of the mask outside the largest")
    for column, words, too_much in (
        ("disagreement", "other predictions of this scan differ: Dice {0:.3f} with them on average", 0.1),
        ("uncertain", "the network's unsure voxels are {1:.0%} of the number it marked", 1.0),
    ):
        others = [r[column] for r in rest if not np.isnan(r[column])]
        median = float(np.median(others)) if others else float("nan")
        if robust_z(row[column], others) > LIMIT or (row[column] > too_much and not row[column] <= median):
            theirs = f"{1 - median:.3f}" if column == "disagreement" else f"{median:.0%}"
            aside = f" (the other scans': {theirs})"
            reasons.append(words.format(1 - row[column], row[column]) + aside * bool(others))
    borders = _unusual_borders(row["touches"], [r["touches"] for r in compared])
    costs = [
        STRAY_COST * row["outside_largest"],
        UNSURE_COST * row["uncertain"],
        row["disagreement"],
        RANGE_COST * min(1.0, max(excess)),
        BORDER_COST * len(borders),
    ]
    return {**found, "suspicion": float(np.nansum(costs)), "reasons": "; ".join(reasons + borders) or "nothing unusual"}


def _out_of_range(column: str, value: float, median: float) -> str:
    if column == "volume_cm3":
        return f"its volume is {value:.3g} cm³, that of most others {median:.3g} cm³ (median)"
    if column == "fill":
        return f"it fills {value:.0%} of the box around it, most others {median:.0%}"
    return f"its {EXTENTS[column]} is {value:.0f} mm, that of most others {median:.0f} mm"


def _unusual_borders(touched: Sequence[str], others: list[Sequence[str]]) -> list[str]:
    """Borders of the scan that a mask touches and most others do not; the cut through the shaft is never one."""
    usual = {border for border in BORDERS if sum(border in other for other in others) > len(others) / 2}
    found = [f"it touches the scan's {b} border" for b in BORDERS if b in touched and b not in usual | {CUT}]
    if len(others) >= FEWEST and CUT in usual and CUT not in touched:
        found.append("it ends before the scan's lower border, which most others reach")
    return found
