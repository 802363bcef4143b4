"""Import any folder of images that comes with a folder of masks."""

import os
import re
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import foreign_format
from femur_lib._runtime.words import Progress
from femur_lib.cohort import COLUMNS, ENDINGS, doubts, new_cohort, read_participants
from femur_lib.volumes import by_name, on_grid_of, read_mask, read_volume, scan_files, scan_name

MOST_NAMED = 10  # files that were not used


def import_pairs(
    images: str | os.PathLike,
    masks: str | os.PathLike,
    out: str | os.PathLike,
    label: int = 1,
    ignore_other_labels: bool = False,
    participants: str | os.PathLike | None = None,
    axes: str = "",
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
        axes: where the arrays' axes point to, such as "LIP", for files that do not say it (sform and qform not set, or
            an identity).
        progress: gets a line for each scan, and one for what was not used.

    Returns:
        The new cohort's table.

    Raises:
        DataError: a file cannot be used, or the table does not name every image.
    """
    images, masks = Path(images), Path(masks)
    pairs = match(images, masks)
    who = _who(Path(participants), pairs, progress) if participants else {}
    taken: dict[str, str] = {}
    rows = []
    with new_cohort(out, "Imported pairs", "femur import pairs") as add:
        for name, image_file, mask_file in pairs:
            subject = _bids_name(name, image_file)
            if subject in taken:
                raise DataError(
                    f"{image_file} would be named {subject}, as {taken[subject]} is; a name of its own was expected.",
                    "Rename the file so that it differs in a letter or a digit.",
                )
            taken[subject] = name
            image, mask = read_volume(image_file, axes), read_mask(mask_file, label, ignore_other_labels, axes)
            mask = on_grid_of(mask_file, mask, image_file, image)
            for doubt in doubts(mask):
                warnings.warn(f"{mask_file} {doubt}.", stacklevel=2)
            patient, side, group = who.get(name, (subject, "n/a", "n/a"))
            add(subject, patient, side, group, image, mask.array.astype(np.uint8))
            rows.append((subject, patient, side, group))
            progress(subject)
        unused = _unused(images, masks, pairs)
        if unused:
            progress(f"not used: {', '.join(unused)}")
    return pd.DataFrame(rows, columns=COLUMNS)


def match(images: Path, masks: Path) -> list[tuple[str, Path, Path]]:
    """Pair files by their names: a mask belongs to the image whose name its own starts with (the longest that fits).

    ``case01.nii.gz`` goes with ``case01.nii.gz``, ``case01_mask.nii.gz`` or ``case01-label.nii.gz``. An image's name
    may end in ``_image``, in ``_T1w`` or in nnU-Net's ``_0000``; these endings do not count.

    Raises:
        DataError: there is no image, two of them have one name, or one has no mask or more than one.
    """
    image_files, mask_files = scan_files(images), scan_files(masks)
    if images.resolve() == masks.resolve():  # one folder for both: a file named after another is its mask
        stems = {file: _plain(file) for file in image_files}
        image_files = [f for f in image_files if not any(_is_mask_of(f, other, stems) for other in image_files)]
        mask_files = [f for f in mask_files if f not in image_files]
    names = {unicodedata.normalize("NFC", n): file for n, file in by_name(image_files, ENDINGS).items()}
    if not names:
        raise DataError(f"{images} holds no .nii or .nii.gz file; scans were expected.", _instead(images))
    owned: dict[str, list[Path]] = {name: [] for name in names}
    for file in mask_files:
        mask_name = unicodedata.normalize("NFC", scan_name(file))
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


def _plain(file: Path) -> str:
    return re.sub(f"({ENDINGS})$", "", scan_name(file))


def _is_mask_of(file: Path, image: Path, stems: dict[Path, str]) -> bool:
    """Whether a file is named after an image beside it; ``a.nii.gz`` is the mask of ``a_0000.nii.gz``."""
    if file == image:
        return False
    if stems[file] == stems[image]:
        return scan_name(file) == stems[file] and scan_name(image) != stems[image]
    return _begins(stems[file], stems[image])


def _instead(folder: Path) -> str:
    """What to do where a folder holds no scan, by what it holds instead."""
    for file in sorted(folder.iterdir()):
        if file.is_file() and not file.name.startswith("."):
            with file.open("rb") as opened:
                what, do = foreign_format(file, opened.read(348)) or (
                    "not a NIfTI file",
                    "Convert it to NIfTI (.nii.gz).",
                )
            return f"{file.name} is {what}. {do}"
    return "Check the path."


def _unused(images: Path, masks: Path, pairs: list[tuple[str, Path, Path]]) -> list[str]:
    """Files of both folders that belong to no pair, as words; hidden ones do not count."""
    used = {file for _, *files in pairs for file in files}
    used |= {f.with_suffix(".hdr") for f in used}
    found = sorted(
        f for folder in {images, masks} for f in folder.iterdir() if not f.name.startswith(".") and f not in used
    )
    return [str(f) for f in found[:MOST_NAMED]] + [f"and {len(found) - MOST_NAMED} more"] * (len(found) > MOST_NAMED)


def _bids_name(name: str, file: Path) -> str:
    """A name as BIDS wants it: sub-, letters and digits; ``Hüfte 7`` becomes ``sub-Hufte7``."""
    plain = re.sub(r"[^A-Za-z0-9]", "", unicodedata.normalize("NFKD", name.removeprefix("sub-")))
    if not plain:
        raise DataError(
            f"{file} has no Latin letter and no digit in its name, of which names in a cohort are made (BIDS).",
            "Rename the file and its mask.",
        )
    return f"sub-{plain}"


def _begins(longer: str, name: str) -> bool:
    return longer == name or (longer.startswith(name) and not longer[len(name)].isalnum())


def _who(path: Path, pairs: list[tuple[str, Path, Path]], progress: Progress) -> dict[str, tuple[str, str, str]]:
    """Patient, side and group by image; rows are named after the image's file, with or without its ending."""
    rows = {name: (p, side, group) for name, p, side, group in read_participants(path)[COLUMNS].itertuples(index=False)}
    who = {}
    for name, image, _ in pairs:
        keys = [key for key in (name, unicodedata.normalize("NFC", scan_name(image))) if key in rows]
        if keys:
            who[name] = rows.pop(keys[0])
    unnamed = [name for name, _, _ in pairs if name not in who]
    if unnamed:
        raise DataError(
            f"{path} has no row for {', '.join(unnamed)}; one for each image was expected.", "Add the rows."
        )
    if rows:
        progress(f"{path} has rows without an image, which are not used: {', '.join(rows)}")
    return who
