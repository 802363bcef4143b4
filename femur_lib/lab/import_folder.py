"""Import a folder as it is laid out: what it holds is recognised and said first, and then written as a cohort.

A layout is recognised by names alone, and gives hips (:class:`femur_lib.lab.import_pairs.Hip`); the rest is one road.
``data/README.md`` shows the layouts.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import read_json
from femur_lib._runtime.words import Progress
from femur_lib.cohort import COLUMNS
from femur_lib.lab.import_pairs import MOST_NAMED, Hip, is_part_of, match_files, refuse_background, whose, write_hips
from femur_lib.volumes import ENDING, Label, scan_files, scan_name

SIDES = {"left": "L", "right": "R", "hemi-l": "L", "hemi-r": "R"}  # the latter in BIDS
MASK = re.compile(r"(?<![a-z])(seg|segm|segmentation|mask|labels?|labelmap|femur|gt)(?![a-z])", re.IGNORECASE)
IMAGES, MASKS = {"image", "images", "scan", "scans"}, {"mask", "masks", "label", "labels", "segmentations"}
OF_MASKS = {"label", "desc", "hemi", "space", "res", "den", "seg", "atlas"}  # BIDS entities that images need not share
CHOOSE_DO = "Leave all but one out: --leave-out PATTERN."
READ = {"dataset.json", "dataset_description.json"}  # which say what the others are
LOOKED_FOR = (
    "imagesTr and labelsTr (nnU-Net, Medical Segmentation Decathlon); masks beside plans.json (nnU-Net's predictions); "
    "s0001/segmentations/femur_left.nii.gz (TotalSegmentator); sub-01/anat/sub-01_T1w.nii.gz and its mask in "
    "derivatives (BIDS); one folder a case with imaging.nii.gz and segmentation.nii.gz (MIScnn, KiTS); images and "
    "masks, in two folders or in one"
)


@dataclass
class Found:
    """What was recognised: the layout in words, its hips, and the files that are not used, by the reason."""

    layout: str
    hips: list[Hip]
    unused: dict[str, list[Path]] = field(default_factory=dict)
    named_labels: dict[str, int] = field(default_factory=dict)  # what all labels mean, where the layout says it
    participants: Path | None = None  # a table with a cohort's columns

    def leave(self, file: Path, why: str) -> None:
        """Note a file that is not used."""
        self.unused.setdefault(why, []).append(file)


def import_folder(
    source: str | os.PathLike,
    out: str | os.PathLike,
    label: Label | None = None,
    ignore_other_labels: bool = False,
    participants: str | os.PathLike | None = None,
    images: str | os.PathLike | None = None,
    pelvis: bool = False,
    leave_out: Sequence[str] = (),
    axes: str = "",
    dry_run: bool = False,
    progress: Progress = lambda line: None,
) -> pd.DataFrame | None:
    """Recognise how a folder is laid out, say it, and write its hips as a cohort.

    Args:
        source: the folder.
        out: the cohort's folder.
        label: the label that means femur; None takes the one that the layout calls so, and otherwise 1.
        ignore_other_labels: take other values for background. Where the layout says what all its labels mean, they are.
        participants: a table as of :func:`femur_lib.lab.import_pairs.import_pairs`, instead of what the layout says.
        images: where the scans lie of a folder that holds masks alone.
        pelvis: each scan shows both hips, and is cut in two.
        leave_out: patterns of files, such as ``derivatives/auto/*``, that are passed over.
        axes: as of ``import_pairs``.
        dry_run: stop before anything is written.
        progress: gets what was recognised, then a line for each hip.

    Returns:
        The new cohort's table; None after a dry run.

    Raises:
        DataError: no layout is recognised, or more than one; a file cannot be used; or ``label`` is 0.
    """
    refuse_background(label)
    source = Path(source)
    found = recognise(source, label, images, leave_out)
    if pelvis:
        found.hips = [h for hip in found.hips for h in ([hip] if hip.both else _both(hip))]
    who = whose(found.hips, participants or found.participants, progress)
    for line in _said(source, found, [who[hip] for hip in found.hips]):
        progress(line)
    if dry_run:
        return None
    ignore = ignore_other_labels or bool(found.named_labels)
    return write_hips(found.hips, who, out, "Imported folder", "femur import folder", ignore, axes, progress)


def _both(hip: Hip) -> list[Hip]:
    return [replace(hip, side=side, both=True) for side in "RL"]


def _is_cohorts_table(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as table:
        return set(COLUMNS) <= {cell.strip() for cell in table.readline().split("\t")}


def _said(source: Path, found: Found, who: Sequence[tuple[str, str, str]]) -> list[str]:
    """What was recognised, as lines to read before anything is done."""
    sides = [side for _, side, _ in who]
    meant = {value: name for name, value in found.named_labels.items()}
    labels = dict.fromkeys(f"{h.label} ({meant[h.label]})" if h.label in meant else f"{h.label}" for h in found.hips)
    counts = [f"{'side not said' if s == 'n/a' else s}: {n}" for s in ("R", "L", "n/a") if (n := sides.count(s))]
    lines = [
        f"{source}: {found.layout}",
        f"scans: {len({h.image for h in found.hips})}, masks: {len({h.mask for h in found.hips})}, "
        f"label of the femur: {', '.join(labels)}, hips: {len(who)} ({', '.join(counts)}), "
        f"patients: {len({patient for patient, _, _ in who})}",
    ]
    femur = {hip.label for hip in found.hips}
    others = [f"{name} ({value})" for name, value in found.named_labels.items() if value not in femur]
    if others:
        lines.append(f"background, as all that is not the femur: {', '.join(others)}")
    for why, files in found.unused.items():
        listed = ", ".join(f.relative_to(source).as_posix() for f in files[:MOST_NAMED])
        more = f" and {len(files) - MOST_NAMED} more" * (len(files) > MOST_NAMED)
        lines.append(f"not used, {why}: {listed}{more}")
    return lines


def recognise(
    source: Path,
    label: Label | None = None,
    images: str | os.PathLike | None = None,
    leave_out: Sequence[str] = (),
) -> Found:
    """What a folder holds, by the names of its files.

    Raises:
        DataError: no layout is recognised, or more than one, or it leaves open which files belong together.
    """
    if not source.is_dir():
        raise DataError(f"{source} is not a folder; one that holds scans and masks was expected.", "Check the path.")
    files = _listing(source, source, leave_out)
    special = (_nnunet, _predictions, _totalsegmentator, _bids)
    found = [one for layout in special if (one := layout(source, files, label, images))]
    if not found:  # the general ones, which may fit a part of a special one, too
        general = (_folder_a_case, _pairs)
        found = [one for layout in general if (one := layout(source, files, label, images))][:1]
    if len(found) > 1:
        raise DataError(
            f"{source} can be read as {' and as '.join(f.layout for f in found)}; one layout was expected.",
            "Give the folder of one of them, or pass over the other: --leave-out PATTERN.",
        )
    if not found or not found[0].hips:
        what = f"is laid out as {found[0].layout}, but no scan in it has a mask" if found else "has no layout we know"
        raise DataError(
            f"{source} {what}; looked for: {LOOKED_FOR}.",
            "Use femur import pelvis." if (source / "data" / "images").is_dir() else "Or use femur import pairs.",
        )
    listed = {file for files in found[0].unused.values() for file in files}
    used = {file for hip in found[0].hips for file in (hip.image, hip.mask)}
    for file in files:
        if file in used | listed or is_part_of(file, used) or file.name in READ:
            continue
        if file == source / "participants.tsv":
            if _is_cohorts_table(file):
                found[0].participants = file
            else:
                found[0].leave(file, f"a table without the columns {', '.join(COLUMNS[1:])}")
        else:
            found[0].leave(file, "no part of a scan and its mask")
    return found[0]


def _listing(source: Path, folder: Path, leave_out: Sequence[str]) -> list[Path]:
    """Files below a folder, and folders of DICOM files; without hidden ones."""
    dicom = {f for f in scan_files(folder) if f.is_dir()}
    files = []
    for path in sorted(folder.iterdir()):
        name = path.relative_to(source).as_posix()
        if path.name.startswith(".") or any(fnmatch(name, pattern) for pattern in leave_out):
            continue
        files += _listing(source, path, leave_out) if path.is_dir() and path not in dicom else [path]
    return files


def _scans(files: Sequence[Path], folder: Path) -> list[Path]:
    """Scans and masks that lie in a folder itself."""
    return [f for f in files if f.parent == folder and (f.is_dir() or ENDING.search(f.name))]


def _side(name: str) -> str:
    """L or R by a word in a name, otherwise n/a; the right in Wright is none."""
    plain = re.sub("([a-z])([A-Z])", r"\1_\2", name)  # femurLeft has two words
    sides = {SIDES[word] for word in re.findall(r"(?<![a-z])(?:left|right|hemi-[lr])(?![a-z])", plain.lower())}
    return sides.pop() if len(sides) == 1 else "n/a"


# --- the layouts; each gives None for a folder that is laid out otherwise


def _nnunet(source: Path, files: Sequence[Path], label: Label | None, images) -> Found | None:
    scans, masks = (_scans(files, source / name) for name in ("imagesTr", "labelsTr"))
    if not scans or not masks:
        return None
    about = _dataset(source)
    found = Found("nnU-Net's raw data set (or the Medical Segmentation Decathlon's)", [], {}, _labels(about))
    channels = about.get("channel_names") or about.get("modality") or {}
    by_name = {scan_name(file): file for file in scans}
    for mask in masks:
        name = scan_name(mask)
        image = by_name.get(f"{name}_0000") or by_name.get(name)
        if image:
            found.hips += _labelled(source, found, Hip(name, image, mask), label)
        else:
            found.leave(mask, "a mask without a scan")
    used = {hip.image for hip in found.hips}
    for name, file in by_name.items():
        channel = re.fullmatch(r"(.*)_(\d{4})", name)
        if channel and by_name.get(f"{channel[1]}_0000") in used - {file}:
            said = channels.get(str(int(channel[2])), channel[2])
            found.leave(file, f"another channel ({said}) than the first ({channels.get('0', '0000')})")
        elif file not in used:
            found.leave(file, "a scan without a mask")
    for file in files:
        if file.parent == source / "imagesTs":
            found.leave(file, "scans to test on, without masks")
    return found


def _predictions(source: Path, files: Sequence[Path], label: Label | None, images) -> Found | None:
    masks, names = _scans(files, source), {f.name for f in files if f.parent == source}
    if not masks or not names & {"plans.json", "predict_from_raw_data_args.json"}:
        return None
    if images is None:
        raise DataError(
            f"{source} holds nnU-Net's predictions, {len(masks)} masks without their scans.",
            "Say where the scans lie: --images imagesTs. To score the masks: femur score --predictions.",
        )
    found = Found("nnU-Net's predictions, masks that no person drew", [], {}, _labels(_dataset(source)))
    for name, image, mask in match_files(scan_files(images), masks, Path(images), source):
        found.hips += _labelled(source, found, Hip(name, image, mask), label)
    for file in files:
        if file.parent == source and file not in masks and file.name not in READ:
            found.leave(file, "nnU-Net's records and probabilities")
    return found


def _totalsegmentator(source: Path, files: Sequence[Path], label: Label | None, images) -> Found | None:
    femora = [f for f in files if f.parent.name == "segmentations" and scan_name(f) in ("femur_left", "femur_right")]
    if not femora:
        return None
    found = Found("TotalSegmentator's, one folder a scan with both femora", [])
    for folder in sorted({file.parent.parent for file in femora}):
        scans = [f for f in _scans(files, folder) if scan_name(f) in ("ct", "mri")]
        of_this = [f for f in femora if f.parent.parent == folder]
        if len(scans) != 1:
            for file in of_this:
                found.leave(file, f"masks beside {len(scans)} files named ct or mri, where one was expected")
            continue
        name = folder.resolve().name
        found.hips += [Hip(name, scans[0], f, label or 1, "", _side(f.name), True) for f in sorted(of_this)[::-1]]
        for file in files:
            if file.parent.name == "segmentations" and file.parent.parent == folder and file not in of_this:
                found.leave(file, "other structures")
    if any(scan_name(hip.image) == "ct" for hip in found.hips):
        found.layout += " (CT, which is no MR image)"
    return found


def _bids(source: Path, files: Sequence[Path], label: Label | None, images) -> Found | None:
    def entities(file: Path) -> dict[str, str]:
        return dict(part.split("-", 1) for part in scan_name(file).split("_") if "-" in part)

    def fits(mask: Path, image: Path) -> bool:
        one, other = entities(mask), entities(image)
        shared = (one.keys() & other.keys()) - OF_MASKS
        return all(one[key] == other[key] for key in shared)

    named = [f for f in files if f.name.startswith("sub-") and (f.is_dir() or ENDING.search(f.name))]
    masks = [f for f in named if re.search(r"_(mask|dseg)$", scan_name(f))]
    scans = [
        f for f in named if f not in masks and f.parent.name == "anat" and f.relative_to(source).parts[0][:4] == "sub-"
    ]
    if not scans:
        return None
    found = Found("BIDS", [])
    femora = [f for f in masks if "femur" in f.relative_to(source).as_posix().lower()]
    if femora:
        for file in masks:
            if file not in femora:
                found.leave(file, "masks of something else than the femur, by their names")
    groups: dict[str, list[Path]] = {}
    for file in scans:
        found_in = entities(file)
        groups.setdefault("_".join(f"{k}-{found_in[k]}" for k in ("sub", "ses") if k in found_in), []).append(file)
    matched = set()
    for name, group in groups.items():
        chosen = [f for f in group if scan_name(f).endswith("_T1w")] or group
        for file in group:
            if file not in chosen:
                found.leave(file, "another contrast than T1w")
        for image in chosen:
            of_this = [f for f in femora or masks if fits(f, image)]
            matched |= set(of_this)
            sides = [_side(scan_name(f)) for f in of_this]
            if not of_this:
                found.leave(image, "a scan without a mask")
            elif len(set(sides)) < len(sides) or (len(sides) > 1 and "n/a" in sides):
                listed = ", ".join(f.relative_to(source).as_posix() for f in of_this)
                raise DataError(
                    f"{image} has {len(of_this)} masks ({listed}); one was expected, or one for each side.", CHOOSE_DO
                )
            unique = name if len(chosen) == 1 else re.sub("_[A-Za-z0-9]+$", "", scan_name(image))
            patient = name.split("_")[0]
            found.hips += [
                Hip(unique, image, mask, label or 1, patient, side, len(sides) > 1)
                for side, mask in sorted(zip(sides, of_this, strict=True), reverse=True)
            ]
    twice = [mask for mask in matched if sum(hip.mask == mask for hip in found.hips) > 1]
    if twice:
        belongs = [str(hip.image) for hip in found.hips if hip.mask == twice[0]]
        raise DataError(f"{twice[0]} fits {' and '.join(belongs)}; the mask of one scan was expected.", CHOOSE_DO)
    for file in femora or masks:
        if file not in matched:
            found.leave(file, "a mask without a scan")
    return found


def _folder_a_case(source: Path, files: Sequence[Path], label: Label | None, images) -> Found | None:
    found = Found("one folder a case, with a scan and its mask", [])
    for folder in sorted({file.parent for file in files if file.parent.parent == source}):
        scans = _scans(files, folder)
        masks = [f for f in scans if MASK.search(f.name)]
        scans = [f for f in scans if f not in masks]
        sides = [_side(scan_name(f)) for f in masks]
        if not scans or not masks:
            for file in scans or masks:
                found.leave(file, "a scan without a mask" if scans else "a mask without a scan")
        elif len(scans) > 1 or (len(masks) > 1 and sorted(sides) != ["L", "R"]):
            raise DataError(
                f"{folder} holds the scans {', '.join(f.name for f in scans)} and the masks "
                f"{', '.join(f.name for f in masks)}; one of each was expected, or a mask for each side.",
                CHOOSE_DO,
            )
        else:
            pairs = sorted(zip(sides, masks, strict=True), reverse=True)
            found.hips += [
                Hip(folder.name, scans[0], mask, label or 1, "", side if len(masks) > 1 else "n/a", len(masks) > 1)
                for side, mask in pairs
            ]
    return found if found.hips else None


def _pairs(source: Path, files: Sequence[Path], label: Label | None, images) -> Found | None:
    folders = {file.parent for file in files if file.parent.parent == source}
    image_folders, mask_folders = ([f for f in folders if f.name.lower() in names] for names in (IMAGES, MASKS))
    if len(image_folders) == len(mask_folders) == 1:
        layout, (scans_in, masks_in) = "scans and masks in two folders", (image_folders[0], mask_folders[0])
    elif any(MASK.search(f.name) for f in _scans(files, source)):
        layout, scans_in, masks_in = "scans and masks in one folder", source, source
    else:
        return None
    pairs = match_files(_scans(files, scans_in), _scans(files, masks_in), scans_in, masks_in)
    return Found(layout, [Hip(name, image, mask, label or 1) for name, image, mask in pairs])


# --- nnU-Net's dataset.json


def _dataset(source: Path) -> dict:
    """What dataset.json says; nothing where there is none."""
    path = source / "dataset.json"
    return read_json(path, "Mend it.") if path.is_file() else {}


def _labels(about: dict) -> dict[str, int]:
    """Names of labels and their values, without the background; a region of several labels is none.

    nnU-Net writes {"femur": 1}, and the Medical Segmentation Decathlon {"1": "femur"}.
    """
    named = {}
    for key, value in (about.get("labels") or {}).items():
        name, number = (value, key) if isinstance(value, str) and not value.isdigit() else (key, value)
        if str(number).isdigit() and int(str(number)):
            named[name] = int(str(number))
    return named


def _labelled(source: Path, found: Found, hip: Hip, label: Label | None) -> list[Hip]:
    """A hip with the label that means femur; two, if there is one for each side."""
    named = found.named_labels
    if label is not None:
        return [replace(hip, label=named.get(str(label), label))]
    femora = [name for name in named if "femur" in name.lower()] or list(named)
    by_side = {_side(name): named[name] for name in femora}
    if sorted(by_side) == ["L", "R"] and len(femora) == 2:
        return [replace(hip, label=by_side[side], side=side, both=True) for side in "RL"]
    if len(femora) > 1:
        listed = ", ".join(f"{name} ({value})" for name, value in named.items())
        raise DataError(f"{source / 'dataset.json'} has the labels {listed}; which one is it?", "Choose with --label.")
    return [replace(hip, label=named[femora[0]] if femora else 1)]
