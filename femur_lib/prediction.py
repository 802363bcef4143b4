"""From a finished run and scans to files: probability, mask and a picture of each, on the scan's own grid."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from femur_lib import segmentation
from femur_lib.cohort import Cohort, read_cohort
from femur_lib.errors import DataError
from femur_lib.scores.overlap import overlap
from femur_lib.scores.surfaces import distances
from femur_lib.segmentation import Segmenter, check_fits, check_free, scans_by_name, segment, write_segmentation
from femur_lib.volumes import (
    Volume,
    check_same_grid,
    read_labels,
    read_mask,
    read_volume,
)

SUFFIXES = {**segmentation.SUFFIXES, "picture": "_overlay.png"}


@dataclass(frozen=True)
class Scan:
    """Something to predict: a name for the files, the scan, and its true mask where there is one."""

    name: str
    image: Path
    truth: Path | None = None


def scans_of_files(images: Sequence[str | os.PathLike]) -> list[Scan]:
    """Scans named after their files.

    Raises:
        DataError: two files of one name.
    """
    return [Scan(name, image) for name, image in scans_by_name(images).items()]


def scans_of_cohort(cohort: Cohort, leave_out: Sequence[str] = ()) -> list[Scan]:
    """The scans of a cohort, with their masks, but for those named."""
    return [Scan(s.id, s.image, s.mask) for s in cohort.subjects if s.id not in leave_out]


def predict_files(
    segmenter: Segmenter,
    scans: Sequence[Scan],
    out: str | os.PathLike,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Segment scans into ``out``: ``<name>_probability.nii.gz``, ``<name>_mask.nii.gz``, ``<name>_overlay.png``.

    Every scan is read and checked before the first is segmented, so bad input leaves nothing behind.

    Returns:
        The masks' paths.

    Raises:
        DataError: a scan cannot be used, or an output exists and ``overwrite`` is False.
    """
    from femur_lib.figures import overlay_page, save

    out = Path(out)
    for scan in scans:
        if not overwrite:
            check_free(out, scan.name, SUFFIXES.values())
        image = read_volume(scan.image)
        check_fits(segmenter, scan.image, image)
        if scan.truth is not None:
            check_same_grid(scan.truth, read_mask(scan.truth), scan.image, image)
    masks = []
    for number, scan in enumerate(scans, start=1):
        image = read_volume(scan.image)
        probability, mask = segment(segmenter, image)
        masks.append(write_segmentation(out, scan.name, probability, mask))
        truth = read_mask(scan.truth) if scan.truth else None
        save(overlay_page(image, mask, truth, title=scan.name), out / f"{scan.name}{SUFFIXES['picture']}")
        progress(f"{scan.name} ({number} of {len(scans)})")
    return masks


def truth_paths(truth: str | os.PathLike) -> dict[str, Path]:
    """Masks by name: of a cohort by participant, of a plain folder by file name less ``_mask`` and ``.nii.gz``."""
    truth = Path(truth)
    if (truth / "participants.tsv").is_file():
        return {s.id: s.mask for s in read_cohort(truth).subjects}
    files = sorted([*truth.glob("*.nii"), *truth.glob("*.nii.gz")])
    files = [f for f in files if not f.name.endswith(SUFFIXES["probability"])]
    return {f.name.removesuffix(".gz").removesuffix(".nii").removesuffix("_mask"): f for f in files}


def score_files(truth: Mapping[str, Path], predictions: str | os.PathLike) -> pd.DataFrame:
    """Score every predicted mask of a folder against the true mask of its name, on the truth's grid.

    Returns:
        One row a mask: participant_id, dice, precision, recall, specificity, asd_mm, msd_mm, hd95_mm, nsd (NaN where
        undefined: an empty prediction has no precision and no surface).

    Raises:
        DataError: no predictions, one without a truth, a file that cannot be used, or grids that differ.
    """
    predictions = Path(predictions)
    files = sorted(predictions.glob(f"*{SUFFIXES['mask']}"))
    if not files:
        raise DataError(predictions, "no *_mask.nii.gz", "the output of femur predict", "Check the folder.")
    rows = []
    for file in files:
        name = file.name.removesuffix(SUFFIXES["mask"])
        if name not in truth:
            raise DataError(
                file, f"no true mask named {name}", f"one of {', '.join(truth) or 'none'}", "Check the names."
            )
        true = read_mask(truth[name])
        predicted = read_prediction(file)
        check_same_grid(file, predicted, truth[name], true)
        rows.append({"participant_id": name, **score(true, predicted)})
    return pd.DataFrame(rows)


def score(true: Volume, predicted: Volume) -> dict[str, float]:
    """All scores of one mask: overlap, and surface distances in mm by the scan's spacing."""
    return {
        **overlap(true.array, predicted.array),
        **distances(true.array, predicted.array, true.spacing_mm),
    }


def read_prediction(path: Path) -> Volume:
    """A predicted mask, which unlike a true one may be empty.

    Raises:
        DataError: it cannot be read, or has values other than 0 and 1.
    """
    labels = read_labels(path)
    if labels.array.max() > 1 or labels.array.min() < 0:
        raise DataError(path, "values other than 0 and 1", "a mask", "Predict again.")
    return Volume(labels.array == 1, labels.affine)
