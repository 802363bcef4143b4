"""Import any folder of images that comes with a folder of masks."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.words import Progress
from femur_lib.cohort import COLUMNS, new_cohort
from femur_lib.inference import scans_by_name
from femur_lib.volumes import check_same_grid, read_mask, read_volume


def import_pairs(
    images: str | os.PathLike,
    masks: str | os.PathLike,
    out: str | os.PathLike,
    label: int = 1,
    ignore_other_labels: bool = False,
    participants: str | os.PathLike | None = None,
    progress: Progress = lambda line: None,
) -> pd.DataFrame:
    """Write a cohort from pairs of files.

    Args:
        images, masks: folders of NIfTI files (:func:`match` says how they are named).
        out: the cohort's folder.
        label: the value that means femur.
        ignore_other_labels: take other values for background.
        participants: a tab-separated table with the columns participant_id (the image's name), patient, side and group.
            Without it each image counts as a patient of its own, and side and group are "n/a". That is right only if no
            patient has two images.
        progress: gets a line for each scan.

    Returns:
        The new cohort's table.

    Raises:
        DataError: a file cannot be used, or the table does not name every image.
    """
    images, masks = Path(images), Path(masks)
    pairs = match(images, masks)
    who = _read_participants(Path(participants), pairs) if participants else {}
    taken: dict[str, str] = {}
    rows = []
    with new_cohort(out, "Imported pairs", "femur import pairs") as add:
        for name, image_file, mask_file in pairs:
            subject = "sub-" + re.sub(r"[^A-Za-z0-9]", "", name.removeprefix("sub-"))
            if subject in taken:
                raise DataError(
                    f"{image_file} would be named {subject}, as {taken[subject]} is; a name of its own was expected.",
                    "Rename the file so that it differs in a letter or a digit.",
                )
            taken[subject] = name
            image, mask = read_volume(image_file), read_mask(mask_file, label, ignore_other_labels)
            check_same_grid(mask_file, mask, image_file, image)
            patient, side, group = who.get(name, (subject, "n/a", "n/a"))
            add(subject, patient, side, group, image, mask.array.astype(np.uint8))
            rows.append((subject, patient, side, group))
            progress(subject)
    return pd.DataFrame(rows, columns=COLUMNS)


def match(images: Path, masks: Path) -> list[tuple[str, Path, Path]]:
    """Pair files by their names: a mask belongs to the image whose name its own starts with (the longest that fits).

    ``case01.nii.gz`` goes with ``case01.nii.gz``, ``case01_mask.nii.gz`` or ``case01-label.nii.gz``. An image's name
    may end in ``_image``, in ``_T1w`` or in nnU-Net's ``_0000``; these endings do not count.

    Raises:
        DataError: there is no image, two of them have one name, or one has no mask or more than one.
    """
    image_files, mask_files = _nifti(images), _nifti(masks)
    names = {re.sub(r"_(image|T1w|0000)$", "", name): file for name, file in image_files.items()}
    if images.resolve() == masks.resolve():  # one folder for both: a file named after another is its mask
        names = {n: f for n, f in names.items() if not any(n != m and _begins(n, m) for m in names)}
        mask_files = {n: f for n, f in mask_files.items() if f not in names.values()}
    elif len(names) < len(image_files):
        second = min(set(image_files.values()) - set(names.values()))
        raise DataError(
            f"{second} has the name of another image, except for its ending; one image for each mask was expected.",
            "Move one of the two away, or rename it.",
        )
    if not names:
        raise DataError(f"{images} holds no .nii or .nii.gz file; scans were expected.", "Check the path.")
    owned: dict[str, list[Path]] = {name: [] for name in names}
    for mask_name, file in mask_files.items():
        candidates = [name for name in names if _begins(mask_name, name)]
        if candidates:
            owned[max(candidates, key=len)].append(file)
    for name, found in owned.items():
        if len(found) != 1:
            listed = f"{len(found)} masks in {masks} ({', '.join(f.name for f in found)})" if found else "no mask"
            raise DataError(
                f"{names[name]} has {listed}; one mask in {masks} whose name begins with {name} was expected.",
                "Rename the files.",
            )
    return [(name, names[name], found[0]) for name, found in owned.items()]


def _nifti(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; one that holds NIfTI files was expected.", "Check the path.")
    return scans_by_name(sorted([*folder.glob("*.nii"), *folder.glob("*.nii.gz")]))


def _begins(longer: str, name: str) -> bool:
    return longer == name or (longer.startswith(name) and not longer[len(name)].isalnum())


def _read_participants(path: Path, pairs: list[tuple[str, Path, Path]]) -> dict[str, tuple[str, str, str]]:
    if not path.is_file():
        raise DataError(f"{path} does not exist; a tab-separated table was expected.", "Check the path.")
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    missing = [c for c in COLUMNS if c not in table.columns]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}; the columns {', '.join(COLUMNS)} were expected.",
            "Add what is missing.",
        )
    who = {name: (patient, side, group) for name, patient, side, group in table[COLUMNS].to_numpy().tolist()}
    unnamed = [name for name, _, _ in pairs if name not in who]
    if unnamed:
        raise DataError(
            f"{path} has no row for {', '.join(unnamed)}; one for each image was expected.", "Add the rows."
        )
    return who
