"""Evaluate finished runs on the scans they were not trained on, and ask how much their choices gain from those scans.

``predict_files`` turns scans into files beside one another: probability, mask and a picture, on each scan's own grid.
``score`` compares a mask with the truth (Evaluation, Eqs. 2 to 7). ``evaluate`` does both for a whole cohort: a run's
folder then also holds ``predictions/``, ``scores.csv`` (masks as the run makes them), ``components.csv`` (each mask
without and with the largest component alone: Table 2) and ``curves.npz`` (each scan's histogram of probabilities, from
which every curve and threshold follows); ``evaluation.json`` has their checksums.
"""

import os
import re
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import checksums, find_damage, read_json, write_csv, write_json
from femur_lib._runtime.locks import exclusive_lock
from femur_lib._runtime.machine import side_by_side
from femur_lib._runtime.words import Progress
from femur_lib.cohort import ENDINGS, Cohort, read_cohort
from femur_lib.inference import (
    SUFFIXES,
    Segmenter,
    check_fits,
    check_free,
    largest_component,
    segment_by_each,
    threshold_mask,
    write_segmentation,
)
from femur_lib.metrics.curves import (
    ProbabilityHistogram,
    mean_curve_threshold,
    read_histograms,
    thresholds_without,
    write_histograms,
)
from femur_lib.metrics.overlap import overlap
from femur_lib.metrics.surface_distance import distances
from femur_lib.runs import MEND, SEAL, Run, data_hash, kept_epoch, read_history, read_record, scans_known_to
from femur_lib.volumes import (
    Volume,
    by_name,
    femur_outside,
    on_grid_of,
    read_labels,
    read_mask,
    read_volume,
    scan_files,
    scan_name,
    to_stack,
    write_volume,
)

PICTURE = "_overlay.png"
BY_RUN = "by-run"  # beside the masks of several runs together, the folder of those of each
OF_MASKS = f"({ENDINGS})?(_mask)?$"  # endings of a mask's name, which do not count
FILES = ("scores.csv", "components.csv", "curves.npz")


@dataclass(frozen=True)
class Scan:
    """Something to predict: a name for the files, the scan, and its true mask where there is one."""

    name: str
    image: Path
    truth: Path | None = None


def scans_of_files(images: Sequence[str | os.PathLike]) -> list[Scan]:
    """Scans named after their files.

    Raises:
        DataError: two files have one name.
    """
    return [Scan(name, image) for name, image in by_name(images).items()]


def scans_of_cohort(cohort: Cohort, leave_out: Sequence[str] = ()) -> list[Scan]:
    """The scans of a cohort with their masks, except those of the patients whose scans are named."""
    known = {s.patient for s in cohort.subjects if s.id in leave_out}
    return [Scan(s.id, s.image, s.mask) for s in cohort.subjects if s.patient not in known]


def say_left_out(cohort: Cohort, scans: Sequence[Scan], progress: Progress) -> None:
    """Say how many of a cohort's scans are not among those that are new to a network."""
    left_out = len(cohort.subjects) - len(scans)
    if left_out:
        progress(f"{left_out} scans of patients that the network was trained on are left out")


def predict_files(
    segmenter: Segmenter,
    scans: Sequence[Scan],
    out: str | os.PathLike,
    overwrite: bool = False,
    progress: Progress = lambda line: None,
    axes: str = "",
    series: str = "",
) -> list[Path]:
    """Segment scans into ``out``: ``<name>_probability.nii.gz``, ``<name>_mask.nii.gz``, ``<name>_overlay.png``.

    Of a DICOM series the mask is also written as DICOM SEG, ``<name>_mask.dcm``.
    Where several networks are averaged (``segmenter.others``), each one's own mask goes to ``by-run/<number>`` as well,
    from which ``femur quality`` sees how much they disagree. With ``overwrite`` a scan's masks of earlier runs that are
    not written anew are removed: they would be judged beside the new ones.

    Every scan is read and checked before the first is segmented, so bad input leaves nothing behind. ``axes`` says
    where the axes of scans point to that do not say it themselves, and ``series`` which DICOM series of a folder is
    meant (:func:`femur_lib.volumes.read_volume`).

    Every slice of a scan is segmented, unless the segmenter keeps to the central ones (``every_slice``). A warning then
    names the scans whose true femur goes on in the others.

    Returns:
        The masks' paths.

    Raises:
        DataError: a scan cannot be used, or an output exists and ``overwrite`` is False.
    """
    from femur_lib.plotting import overlay_page, save

    out = Path(out)
    runs = [out / BY_RUN / f"{n + 1}" for n in range(len(segmenter.others) + 1)] if segmenter.others else []
    numbered = [folder for folder in (out / BY_RUN).glob("*") if re.fullmatch("[1-9][0-9]*", folder.name)]
    earlier = [folder for folder in numbered if folder not in runs]
    cut_off = []
    for scan in scans:
        check_free(out, scan.name, (*SUFFIXES.values(), PICTURE), overwrite)
        image = read_volume(scan.image, axes, series)
        check_fits(segmenter, scan.image, image)
        for folder in (*runs, *earlier):
            check_free(folder, scan.name, [SUFFIXES["mask"]], overwrite)
        if scan.truth is not None and not segmenter.every_slice:
            truth = on_grid_of(scan.truth, read_mask(scan.truth), scan.image, image)
            if femur_outside(to_stack(truth).array, segmenter.grid.slices):
                cut_off.append(scan.name)
    if cut_off:
        warnings.warn(
            f"Only the central {segmenter.grid.slices} slices of a scan are segmented here (the profile's setting "
            f"evaluation_slices); in {len(cut_off)} of {len(scans)} scans the true femur goes on in the others: "
            f"{', '.join(cut_off)}.",
            stacklevel=2,
        )

    def predict(scan: Scan) -> tuple[Path, Volume, Volume]:
        image = read_volume(scan.image, axes, series)
        probability, mask, by_each = segment_by_each(segmenter, image)
        for folder in earlier:
            (folder / f"{scan.name}{SUFFIXES['mask']}").unlink(missing_ok=True)
            with suppress(OSError):  # it holds other files
                folder.rmdir()
        for folder, own in zip(runs, by_each, strict=True):
            write_volume(folder / f"{scan.name}{SUFFIXES['mask']}", own.array, own.affine, own.forms)
        return write_segmentation(out, scan.name, probability, mask), image, mask

    masks = []
    for number, (scan, (written, image, mask)) in enumerate(zip(scans, side_by_side(predict, scans), strict=True), 1):
        masks.append(written)
        true_mask = on_grid_of(scan.truth, read_mask(scan.truth), scan.image, image) if scan.truth else None
        save(overlay_page(image, mask, true_mask, title=scan.name), out / f"{scan.name}{PICTURE}")
        progress(f"{scan.name} ({number} of {len(scans)})")
    return masks


def several_as_one(runs: Sequence[Run], progress: Progress = lambda line: None) -> Segmenter:
    """Several runs as one segmenter, which averages their probabilities.

    Its threshold is chosen on the training scans, of which each is known out of fold by a run that did not see it
    (``curves.npz``, :func:`evaluate`): the threshold of their mean precision-recall curve. Scans that no run was
    trained on take no part, so they can be scored. Where there is no such prediction (other seeds of one fold, runs
    that were not evaluated), it is the mean of the runs' own thresholds. The largest component alone is kept if every
    run does so.

    Args:
        runs: at least one; of one cohort, or of such that the same scans fit them all.
        progress: gets a line that says how the threshold was chosen.
    """
    first, *others = runs
    if not others:
        return first.segmenter
    trained_on = {name for run in runs for name in run.record["training"]}
    known = [
        histogram
        for run in runs
        if not find_damage(run.folder, SEAL)
        for name, histogram in read_evaluation(run.folder).curves.items()
        if name in trained_on and name not in run.record["training"]
    ]
    threshold = mean_curve_threshold(known) if known else float(np.mean([r.segmenter.threshold for r in runs]))
    how = f"by {len(known)} out-of-fold predictions of training scans" if known else "the mean of the runs' own"
    progress(f"{len(runs)} runs are averaged; threshold {threshold:.3f}, {how}")
    return replace(
        first.segmenter,
        threshold=threshold,
        largest_component=all(run.segmenter.largest_component for run in runs),
        others=tuple(run.segmenter for run in others),
    )


def score(true: Volume, predicted: Volume) -> dict[str, float]:
    """All scores of one mask: overlap, and surface distances in mm by the steps of the scan's axes, sheared or not."""
    return {
        **overlap(true.array, predicted.array),
        **distances(true.array, predicted.array, true.steps_mm),
    }


def truth_paths(truth: str | os.PathLike) -> dict[str, Path]:
    """Masks by name: of a cohort by participant, of a plain folder by file name (:func:`masks_by_name`)."""
    truth = Path(truth)
    if (truth / "participants.tsv").is_file():
        return {s.id: s.mask for s in read_cohort(truth).subjects}
    return masks_by_name(truth)


def masks_by_name(folder: str | os.PathLike) -> dict[str, Path]:
    """The masks of a folder by name: ``hip07_mask.nii.gz`` by ``femur predict``, or nnU-Net's ``hip07.nii.gz``.

    Scans beside them are left aside: ``hip07.nii.gz`` where there is ``hip07_mask.nii.gz``, and ``hip07_0000.nii.gz``
    where there is ``hip07.nii.gz``. So are probabilities. The endings of images do not count: all of these, and
    ``hip07_T1w_mask.nii.gz``, are masks of "hip07".

    Raises:
        DataError: it is not a folder, or two masks have one name.
    """
    groups: dict[str, list[Path]] = {}
    for file in scan_files(folder):
        if not scan_name(file).endswith("_probability"):
            groups.setdefault(re.sub(OF_MASKS, "", scan_name(file)), []).append(file)
    masks = []
    for name, files in groups.items():
        marked = [file for file in files if scan_name(file).endswith("_mask")]
        masks += marked or [file for file in files if scan_name(file) == name] or files
    return by_name(masks, OF_MASKS)


def score_files(
    truth: Mapping[str, Path], predictions: str | os.PathLike, label: int = 1, axes: str = ""
) -> pd.DataFrame:
    """Score every predicted mask of a folder against the true mask of its name, on the larger of their grids.

    A prediction without a truth is named in a warning, as is a truth without a prediction.

    Args:
        truth: true masks by name.
        predictions: a folder of masks (:func:`masks_by_name`).
        label: the value that means femur in all of them.
        axes: as of :func:`femur_lib.volumes.read_volume`.

    Returns:
        One row a mask: participant_id, dice, precision, recall, specificity, asd_mm, msd_mm, hd95_mm, nsd (NaN where
        undefined: an empty prediction has no precision and no surface).

    Raises:
        DataError: no predictions, none with a truth, a file that cannot be used, or grids that differ.
    """
    predictions = Path(predictions)
    found = masks_by_name(predictions) if predictions.is_dir() else {}
    if not found:
        raise DataError(
            f"{predictions} holds no *{SUFFIXES['mask']} and no mask in nnU-Net's way, hip07.nii.gz; the output of "
            "femur predict was expected.",
            "Check the folder.",
        )
    strangers = {name: file for name, file in found.items() if name not in truth}
    said = "; ".join(f"{file} has no true mask of the name {name}" for name, file in strangers.items())
    if len(strangers) == len(found):
        raise DataError(f"{said}; there are {', '.join(truth) or 'none'}.", "Check the names.")
    if strangers:
        warnings.warn(f"{said}: not scored.", stacklevel=2)
    missing = [name for name in truth if name not in found]
    if missing:
        warnings.warn(
            f"{', '.join(missing)}: no prediction in {predictions}; {len(truth) - len(missing)} of {len(truth)} true "
            "masks are scored.",
            stacklevel=2,
        )
    rows = []
    for name, file in found.items():
        if name in truth:
            true, predicted = read_mask(truth[name], label, axes=axes), read_prediction(file, label, axes)
            if true.array.size < predicted.array.size:  # of which 3D Slicer keeps the labels' extent alone
                true = on_grid_of(truth[name], true, file, predicted)
            predicted = on_grid_of(file, predicted, truth[name], true)
            rows.append({"participant_id": name, **score(true, predicted)})
    return pd.DataFrame(rows)


def summary(scores: pd.DataFrame, of: int) -> pd.DataFrame:
    """Mean and standard deviation of each score, of how many scans they are, and how many there should have been."""
    values = scores.drop(columns="participant_id")
    table = pd.DataFrame({"mean": values.mean(), "sd": values.std(), "scans": values.count(), "of": of})
    return table.rename_axis("score").reset_index()


def read_prediction(path: Path, label: int = 1, axes: str = "") -> Volume:
    """A predicted mask, which unlike a true one may be empty.

    Raises:
        DataError: it cannot be read, or has values other than 0 and ``label``.
    """
    labels = read_labels(path, axes)
    others = [int(v) for v in np.unique(labels.array) if v not in (0, label)]
    if others:
        raise DataError(
            f"{path} has values other than 0 and {label}: {', '.join(map(str, others))}; a mask was expected.",
            "Name the right label, or predict again.",
        )
    return replace(labels, array=labels.array == label)


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` found, one row or one histogram a scan."""

    scores: pd.DataFrame
    components: pd.DataFrame
    curves: dict[str, ProbabilityHistogram]


def evaluate(cohort: Cohort, run: Run, progress: Progress = lambda line: None) -> Evaluation:
    """Segment and score every scan of patients that a run was not trained on; or return what an earlier call wrote.

    In which slices scans are segmented is up to the run's profile (``evaluation_slices``). However many there are, it
    takes the memory of one scan; of up to eight where there are cores for them.

    Raises:
        DataError: there is no such scan, one does not fit the network, or the run was evaluated on other scans.
    """
    scans = scans_of_cohort(cohort, leave_out=scans_known_to(run.record))
    if not scans:
        raise DataError(
            f"{cohort.root} has no scan that the run {run.folder} was not trained on.", "Train with a fold held out."
        )
    data = data_hash(cohort, [scan.name for scan in scans])
    if find_damage(run.folder, SEAL):  # not evaluated, or not as it was written
        with exclusive_lock(run.folder, progress):
            if find_damage(run.folder, SEAL):  # still so, after another process may have been waited for
                _evaluate(cohort, scans, data, run, progress)
    sealed = read_json(run.folder / SEAL, MEND).get("data_sha256")  # older ones do not say it
    if sealed and sealed != data:
        raise DataError(
            f"{run.folder} was evaluated on other scans or masks than those of {cohort.root}; the same were expected.",
            f"Remove its {SEAL} to score these instead; score other cohorts with femur predict and femur score.",
        )
    return read_evaluation(run.folder)


def _evaluate(cohort: Cohort, scans: Sequence[Scan], data: str, run: Run, progress: Progress) -> None:
    folder, started = run.folder, time.monotonic()
    say_left_out(cohort, scans, progress)
    (folder / SEAL).unlink(missing_ok=True)
    segmenter = replace(run.segmenter, every_slice=run.record["profile"]["evaluation_slices"] == "all")
    predict_files(segmenter, scans, folder / "predictions", overwrite=True, progress=progress)

    def look_at(scan: Scan) -> tuple[list[dict], ProbabilityHistogram]:
        rows, counts = [], ProbabilityHistogram()
        file = folder / "predictions" / f"{scan.name}{SUFFIXES['probability']}"
        probability = read_volume(file)
        truth = on_grid_of(cohort[scan.name].mask, read_mask(cohort[scan.name].mask), file, probability)
        plain = threshold_mask(probability.array, segmenter.threshold)
        for kept, mask in ((False, plain), (True, largest_component(plain))):
            scores = score(truth, Volume(mask, truth.affine))
            rows.append({"participant_id": scan.name, "largest_component": kept, **scores})
        counts.add(truth.array, probability.array)
        return rows, counts

    found = dict(zip([scan.name for scan in scans], side_by_side(look_at, scans), strict=True))
    curves = {name: counts for name, (_, counts) in found.items()}
    components = pd.DataFrame([row for rows, _ in found.values() for row in rows])
    as_made = components[components.largest_component == segmenter.largest_component]
    write_csv(folder / "scores.csv", as_made.drop(columns="largest_component").sort_values("participant_id"))
    write_csv(folder / "components.csv", components)
    write_histograms(folder / "curves.npz", curves)
    seconds = round(time.monotonic() - started, 1)
    write_json(folder / SEAL, {"seconds": seconds, "data_sha256": data, "files": checksums(folder, FILES)})


def read_evaluation(folder: str | os.PathLike) -> Evaluation:
    """What :func:`evaluate` wrote into a run's folder.

    Raises:
        DataError: the run has not been evaluated, or a file was changed since.
    """
    folder = Path(folder)
    damage = find_damage(folder, SEAL)
    if damage:
        raise DataError(f"{folder}: {damage}; an evaluated run was expected.", "Evaluate it: femur evaluate.")
    scores, components = (pd.read_csv(folder / name) for name in FILES[:2])
    return Evaluation(scores, components, read_histograms(folder / FILES[2]))


def choices(runs: Sequence[str | os.PathLike]) -> pd.DataFrame:
    """What each fold's own scans chose, and what the scans of the other folds would have chosen for it.

    The paper lets the scored fold choose the epoch to stop at and the threshold to cut at, which is optimistic. This
    table shows by how much: Dice with the fold's own choice, and with that of the others. The others' epoch is the
    median of those they kept (rounded down), at most the last that was trained here.

    Args:
        runs: evaluated runs of one network, one a fold, at least two.

    Returns:
        One row a fold: fold; epoch, epoch_by_others, and the validation Dice at both (on the network's grid);
        threshold, threshold_by_others (each from the mean precision-recall curve), and the mean Dice over scans at both
        (on the scans' grid, all components); youden, the threshold of Youden's index on the fold's scans together,
        which the paper names as another choice, and the mean Dice there.

    Raises:
        DataError: a run has not been evaluated, or two are of one fold or of different networks.
    """
    folders = [Path(run) for run in runs]
    records = [read_record(folder) for folder in folders]
    fold_numbers = [record["fold"] for record in records]
    if len(set(fold_numbers)) < max(2, len(folders)) or len({r["network"] for r in records}) > 1:
        given = ", ".join(f"{r['network']} fold {r['fold']}" for r in records)
        raise DataError(f"The runs given are {given}; one network, with no fold twice, was expected.", "Choose others.")
    curves = [read_evaluation(folder).curves for folder in folders]
    fold_of = {name: fold for fold, found in zip(fold_numbers, curves, strict=True) for name in found}
    by_others = thresholds_without({name: h for found in curves for name, h in found.items()}, fold_of)
    epochs = [kept_epoch(folder) for folder in folders]
    rows = []
    for i, (folder, fold) in enumerate(zip(folders, fold_numbers, strict=True)):
        dice, histograms = read_history(folder, "val_dice").val_dice, list(curves[i].values())
        others = min(int(np.median(epochs[:i] + epochs[i + 1 :])), len(dice) - 1)
        own, youden = mean_curve_threshold(histograms), sum(histograms, ProbabilityHistogram()).youden_threshold()
        rows.append(
            {
                "fold": fold,
                "epoch": epochs[i] + 1,
                "epoch_by_others": others + 1,
                "dice_at_epoch": float(dice[epochs[i]]),
                "dice_at_epoch_by_others": float(dice[others]),
                "threshold": own,
                "threshold_by_others": by_others[fold],
                "dice_at_threshold": _mean_dice(histograms, own),
                "dice_at_threshold_by_others": _mean_dice(histograms, by_others[fold]),
                "youden": youden,
                "dice_at_youden": _mean_dice(histograms, youden),
            }
        )
    return pd.DataFrame(rows).sort_values("fold", ignore_index=True)


def _mean_dice(histograms: Sequence[ProbabilityHistogram], threshold: float) -> float:
    return float(np.mean([histogram.dice_at(threshold) for histogram in histograms]))


def optimism(chosen: pd.DataFrame) -> dict[str, float]:
    """Mean Dice that choosing on the scored scans gains over choosing without them (:func:`choices`)."""
    return {
        what: float((chosen[f"dice_at_{what}"] - chosen[f"dice_at_{what}_by_others"]).mean())
        for what in ("epoch", "threshold")
    }
