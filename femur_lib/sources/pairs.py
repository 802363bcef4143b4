"""Import any folder of images beside a folder of masks."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from femur_lib.cohort import COLUMNS, new_cohort
from femur_lib.errors import DataError
from femur_lib.volumes import check_same_grid, read_mask, read_volume


def _nifti(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(folder, "no such folder", "a folder of NIfTI files", "Check the path.")
    files = sorted([*folder.glob("*.nii"), *folder.glob("*.nii.gz")])
    return {file.name.removesuffix(".gz").removesuffix(".nii"): file for file in files}


def match(images: Path, masks: Path) -> list[tuple[str, Path, Path]]:
    """Pair files: a mask belongs to the image whose name its own begins with (the longest such name).

    ``case01.nii.gz`` goes with ``case01.nii.gz``, ``case01_mask.nii.gz`` or ``case01-label.nii.gz``; an image may end
    in ``_image``, ``_T1w`` or nnU-Net's ``_0000``, which does not count.

    Raises:
        DataError: an image without a mask, or with two.
    """
    pairs = []
    mask_files = _nifti(masks)
    names = {re.sub(r"_(image|T1w|0000)$", "", name): file for name, file in _nifti(images).items()}
    if images.resolve() == masks.resolve():  # one folder for both: what is named after another file is its mask
        names = {n: f for n, f in names.items() if not any(n != m and _begins(n, m) for m in names)}
        mask_files = {n: f for n, f in mask_files.items() if f not in names.values()}
    owners: dict[str, list[Path]] = {name: [] for name in names}
    for mask_name, file in mask_files.items():
        candidates = [name for name in names if _begins(mask_name, name)]
        if candidates:
            owners[max(candidates, key=len)].append(file)
    for name, found in owners.items():
        if len(found) != 1:
            listed = ", ".join(f.name for f in found) or "no mask"
            raise DataError(
                names[name],
                f"{listed} for it in {masks}",
                f"one mask whose name begins with {name}",
                "Rename the files.",
            )
        pairs.append((name, names[name], found[0]))
    if not pairs:
        raise DataError(images, "no .nii or .nii.gz file", "scans", "Check the path.")
    return pairs


def _begins(longer: str, name: str) -> bool:
    return longer == name or (longer.startswith(name) and not longer[len(name)].isalnum())


def import_pairs(
    images: str | os.PathLike,
    masks: str | os.PathLike,
    out: str | os.PathLike,
    label: int = 1,
    ignore_other_labels: bool = False,
    participants: str | os.PathLike | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> pd.DataFrame:
    """Write a cohort from pairs of files.

    Args:
        images, masks: folders of NIfTI files (see :func:`match` for the names).
        out: the cohort's folder.
        label: the value that means femur.
        ignore_other_labels: take other values for background.
        participants: a tab-separated table with columns participant_id (the image's name), patient, side, group.
            Without it each image is a patient of its own, side and group "n/a": right only if no patient has two.

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
                    image_file,
                    f"a name that, like {taken[subject]}, becomes {subject}",
                    "another",
                    "Rename it.",
                )
            taken[subject] = name
            image, mask = read_volume(image_file), read_mask(mask_file, label, ignore_other_labels)
            check_same_grid(mask_file, mask, image_file, image)
            patient, side, group = who.get(name, (subject, "n/a", "n/a"))
            add(subject, patient, side, group, image, mask.array.astype(np.uint8))
            rows.append((subject, patient, side, group))
            progress(subject)
    return pd.DataFrame(rows, columns=COLUMNS)


def _read_participants(path: Path, pairs: list[tuple[str, Path, Path]]) -> dict[str, tuple[str, str, str]]:
    if not path.is_file():
        raise DataError(path, "no such file", "a tab-separated table", "Check the path.")
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    missing = [c for c in COLUMNS if c not in table.columns]
    if missing:
        raise DataError(path, f"no column {', '.join(missing)}", ", ".join(COLUMNS), "Add the column.")
    who = {name: (patient, side, group) for name, patient, side, group in table[COLUMNS].to_numpy().tolist()}
    unnamed = [name for name, _, _ in pairs if name not in who]
    if unnamed:
        raise DataError(path, f"no row for {', '.join(unnamed)}", "a row for every image", "Add the rows.")
    return who
