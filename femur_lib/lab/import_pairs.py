"""Import any folder of images that comes with a folder of masks."""

import itertools
import os
import re
import unicodedata
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import foreign_format
from femur_lib._runtime.words import Progress
from femur_lib.cohort import COLUMNS, ENDINGS, doubts, new_cohort, read_participants
from femur_lib.lab.pelvis import crop, half, hip_box
from femur_lib.volumes import (
    Label,
    Volume,
    by_name,
    on_grid_of,
    read_mask,
    read_volume,
    scan_files,
    scan_name,
    to_stack,
)

MOST_NAMED = 10  # files that were not used
Who = tuple[str, str, str]  # patient, side and group


@dataclass(frozen=True)
class Hip:
    """One hip to be imported: its scan with the scan's name, and the label in a mask that is its femur.

    ``patient`` is empty where nobody says whose it is. ``both`` means that the scan shows both hips, and that this one
    is to be cut out on its side.
    """

    name: str
    image: Path
    mask: Path
    label: Label = 1
    patient: str = ""
    side: str = "n/a"
    both: bool = False


def subject_name(hip: Hip) -> str:
    """A hip's name as BIDS wants it: sub-, letters and digits; ``Hüfte 7`` becomes ``sub-Hufte7``."""
    plain = re.sub(r"[^A-Za-z0-9]", "", unicodedata.normalize("NFKD", hip.name.removeprefix("sub-")))
    if not plain:
        raise DataError(
            f"{hip.image} has no Latin letter and no digit in its name, of which names in a cohort are made (BIDS).",
            "Rename the file and its mask.",
        )
    return f"sub-{plain}{hip.side * hip.both}"


def refuse_background(label: Label | None) -> None:
    """Raise a DataError if what is to mean femur is 0, the background of every mask."""
    if label == 0:
        raise DataError(
            "The label of the femur is given as 0, which is the background; another value was expected.",
            "Name the value that means femur.",
        )


def import_pairs(
    images: str | os.PathLike,
    masks: str | os.PathLike,
    out: str | os.PathLike,
    label: Label = 1,
    ignore_other_labels: bool = False,
    participants: str | os.PathLike | None = None,
    axes: str = "",
    progress: Progress = lambda line: None,
) -> pd.DataFrame:
    """Write a cohort from pairs of files.

    Args:
        images, masks: folders of files (:func:`match` says how they are named).
        out: the cohort's folder.
        label: the value that means femur, or the name of 3D Slicer's segment.
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
        DataError: a file cannot be used, the table does not name every image, or ``label`` is 0.
    """
    refuse_background(label)
    images, masks = Path(images), Path(masks)
    hips = [Hip(name, image, mask, label) for name, image, mask in match(images, masks)]
    who = whose(hips, participants, progress)
    table = write_hips(hips, who, out, "Imported pairs", "femur import pairs", ignore_other_labels, axes, progress)
    unused = _unused(images, masks, hips)
    if unused:
        progress(f"not used: {', '.join(unused)}")
    return table


def write_hips(
    hips: Sequence[Hip],
    who: Mapping[Hip, Who],
    out: str | os.PathLike,
    title: str,
    source: str,
    ignore_other_labels: bool = False,
    axes: str = "",
    progress: Progress = lambda line: None,
) -> pd.DataFrame:
    """Write hips as a cohort, whose table is returned; those of one scan stand beside one another.

    Raises:
        DataError: a file cannot be used, or two hips would have one name.
    """
    taken: dict[str, Path] = {}
    for hip in hips:
        subject = subject_name(hip)
        if subject in taken:
            raise DataError(
                f"{hip.image} would be named {subject}, as {taken[subject]} is; a name of its own was expected.",
                "Rename the file so that it differs in a letter or a digit.",
            )
        taken[subject] = hip.image
    rows = []
    with new_cohort(out, title, source) as add:
        for image_file, group in itertools.groupby(hips, key=lambda hip: hip.image):
            image = read_volume(image_file, axes)
            masks = {}
            for hip in group:
                mask = read_mask(hip.mask, hip.label, ignore_other_labels, axes, may_be_empty=hip.both)
                masks[hip] = on_grid_of(hip.mask, mask, image_file, image)
                for doubt in doubts(masks[hip]):
                    warnings.warn(f"{hip.mask} {doubt}.", stacklevel=2)
            whole = [(hip, image, mask.array) for hip, mask in masks.items()]
            for hip, scan, femur in _cut(image, masks, progress) if whole[0][0].both else whole:
                rows.append((subject_name(hip), *who[hip]))
                add(*rows[-1], scan, femur.astype(np.uint8))
                progress(rows[-1][0])
    return pd.DataFrame(rows, columns=COLUMNS)


def _cut(image: Volume, masks: Mapping[Hip, Volume], progress: Progress) -> Iterator[tuple[Hip, Volume, np.ndarray]]:
    """Each hip of a scan of both, as a stack, by the box of the public pelvis set where its femur lies within it.

    Where it does not, the whole half of the scan is taken, and a warning says so.
    """
    stack, femora = to_stack(image), {}
    shape, rows = stack.array.shape, slice(0, stack.array.shape[0])
    for hip, mask in masks.items():
        femur = to_stack(mask).array
        if len({(other.mask, other.label) for other in masks}) < len(masks):  # one label for both
            femur[:, half(shape, "LR".replace(hip.side, ""))] = False
        if femur.any():
            femora[hip] = femur
        else:
            progress(f"not used: side {hip.side} of {hip.image}, where {hip.mask} marks no femur")
    for hip, femur in femora.items():
        box, own = hip_box(shape, stack.affine, hip.side), (rows, half(shape, hip.side))
        outside = np.count_nonzero(femur) - np.count_nonzero(femur[own])
        if np.count_nonzero(femur[box]) < np.count_nonzero(femur):
            box = own
            if outside and len(femora) == 1:  # a scan of one hip
                box = rows, slice(0, shape[1])
            elif outside == np.count_nonzero(femur):
                raise DataError(
                    f"{hip.mask} has its femur in the patient's other half; side {hip.side} was expected.",
                    "Look at the scan: left and right may be exchanged.",
                )
            elif outside:
                warnings.warn(f"{hip.mask} has {outside} voxels beyond the scan's middle: cut off.", stacklevel=3)
            else:
                warnings.warn(
                    f"{hip.mask} goes on outside the box by which hips are cut out; its half of the scan is taken.",
                    stacklevel=3,
                )
        yield hip, crop(stack, box), femur[box]


def match(images: Path, masks: Path) -> list[tuple[str, Path, Path]]:
    """Pair files by their names: a mask belongs to the image whose name its own starts with (the longest that fits).

    ``case01.nii.gz`` goes with ``case01.nii.gz``, ``case01_mask.nii.gz`` or ``case01-label.nii.gz``. An image's name
    may end in ``_image``, in ``_T1w`` or in nnU-Net's ``_0000``; these endings do not count.

    Raises:
        DataError: there is no image, two of them have one name, or one has no mask or more than one.
    """
    return match_files(scan_files(images), scan_files(masks), images, masks)


def match_files(
    image_files: Sequence[Path], mask_files: Sequence[Path], images: Path, masks: Path
) -> list[tuple[str, Path, Path]]:
    """As :func:`match`, of files of the two folders."""
    if images.resolve() == masks.resolve():  # one folder for both: a file named after another is its mask
        stems = {file: _plain(file) for file in image_files}
        image_files = [f for f in image_files if not any(_is_mask_of(f, other, stems) for other in image_files)]
        mask_files = [f for f in mask_files if f not in image_files]
    names = {unicodedata.normalize("NFC", n): file for n, file in by_name(image_files, ENDINGS).items()}
    if not names:
        raise DataError(f"{images} holds no scan in a format that is read; scans were expected.", _instead(images))
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
    """Whether a file is named after an image beside it; ``a.nii.gz`` is the mask of ``a_0000.nii.gz``.

    3D Slicer writes ``a.seg.nrrd`` beside ``a.nrrd``.
    """
    if file == image:
        return False
    if stems[file] == stems[image]:
        by_slicer = [".seg." in f.name.lower() for f in (file, image)]
        return by_slicer == [True, False] or (scan_name(file) == stems[file] and scan_name(image) != stems[image])
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


def _unused(images: Path, masks: Path, hips: Sequence[Hip]) -> list[str]:
    """Files of both folders that belong to no pair, as words; hidden ones do not count."""
    used = {file for hip in hips for file in (hip.image, hip.mask)}
    found = sorted(
        f
        for folder in {images, masks}
        for f in folder.iterdir()
        if not f.name.startswith(".") and f not in used and not is_part_of(f, used)
    )
    return [str(f) for f in found[:MOST_NAMED]] + [f"and {len(found) - MOST_NAMED} more"] * (len(found) > MOST_NAMED)


def is_part_of(file: Path, used: Collection[Path]) -> bool:
    """Whether a file holds the voxels of one that is used and lies beside it (.raw beside .mhd)."""
    return any(file.name.startswith(f"{scan_name(f)}.") and f.suffix in (".mhd", ".nhdr") for f in used)


def _begins(longer: str, name: str) -> bool:
    return longer == name or (longer.startswith(name) and not longer[len(name)].isalnum())


def whose(hips: Sequence[Hip], participants: str | os.PathLike | None, progress: Progress) -> dict[Hip, Who]:
    """Patient, side and group of each hip: by a table whose rows are named after images, or else by what hips say.

    A row may be named after an image's file, with or without its ending, or after its patient.

    Raises:
        DataError: the table cannot be used, or has no row for an image.
    """
    if participants is None:
        return {hip: (hip.patient or subject_name(replace(hip, both=False)), hip.side, "n/a") for hip in hips}
    table = read_participants(participants)[COLUMNS]
    rows = {name: (p, side, group) for name, p, side, group in table.itertuples(index=False)}
    who, used = {}, set()
    for hip in hips:
        names = hip.name + hip.side * hip.both, hip.name, unicodedata.normalize("NFC", scan_name(hip.image))
        keys = [key for key in (*names, hip.patient) if key in rows]
        if keys:
            patient, side, group = rows[keys[0]]
            who[hip] = patient, side if hip.side == "n/a" else hip.side, group
            used.add(keys[0])
    unnamed = dict.fromkeys(hip.name for hip in hips if hip not in who)
    if unnamed:
        raise DataError(
            f"{participants} has no row for {', '.join(unnamed)}; one for each image was expected.", "Add the rows."
        )
    if rows.keys() - used:
        unread = [key for key in rows if key not in used]
        progress(f"{participants} has rows without an image, which are not used: {', '.join(unread)}")
    return who
