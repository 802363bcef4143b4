"""Evaluate finished runs on the scans they were not trained on, and ask what their choices owe to those very scans.

A run's folder then also holds ``predictions/``, ``scores.csv`` (masks as the run makes them), ``components.csv`` (each
mask without and with the largest component alone: paper, Table 2) and ``curves.npz`` (each scan's histogram of
probabilities, from which every curve and threshold follows); ``evaluation.json`` has their checksums.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from femur_lib.callbacks import Progress
from femur_lib.cohort import Cohort
from femur_lib.errors import DataError
from femur_lib.files import checksums, damage, whole, write_csv
from femur_lib.locks import alone
from femur_lib.masks import largest_component, threshold_mask
from femur_lib.prediction import predict_files, scans_of_cohort, score
from femur_lib.records import kept_epoch, read_record, write_json
from femur_lib.runs import Run
from femur_lib.scores.curves import THRESHOLDS, ProbabilityHistogram, mean_curve_threshold, thresholds_without
from femur_lib.segmentation import SUFFIXES
from femur_lib.volumes import Volume, read_mask, read_volume

FILES = ("scores.csv", "components.csv", "curves.npz")
SEAL = "evaluation.json"  # written last


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` found, one row or one histogram a scan."""

    scores: pd.DataFrame
    components: pd.DataFrame
    curves: dict[str, ProbabilityHistogram]


def evaluate(cohort: Cohort, run: Run, progress: Progress = lambda line: None) -> Evaluation:
    """Segment and score every scan of a cohort that a run was not trained on; or find what an earlier call wrote.

    Memory is that of one scan, however many there are.

    Raises:
        DataError: there is no such scan, or one does not fit the network.
    """
    if damage(run.folder, SEAL):  # not evaluated, or not as it was written
        with alone(run.folder, progress):
            if damage(run.folder, SEAL):  # still, after another process may have been waited for
                _evaluate(cohort, run, progress)
    return read_evaluation(run.folder)


def _evaluate(cohort: Cohort, run: Run, progress: Progress) -> None:
    folder, started = run.folder, time.monotonic()
    scans = scans_of_cohort(cohort, leave_out=run.record["training"])
    if not scans:
        raise DataError(cohort.root, "no scan that the run was not trained on", "some", "Train with a fold.")
    (folder / SEAL).unlink(missing_ok=True)
    predict_files(run.segmenter, scans, folder / "predictions", overwrite=True, progress=progress)
    rows, curves = [], {}
    for name in (scan.name for scan in scans):
        truth = read_mask(cohort[name].mask)
        probability = read_volume(folder / "predictions" / f"{name}{SUFFIXES['probability']}")
        plain = threshold_mask(probability.array, run.threshold)
        for kept, mask in ((False, plain), (True, largest_component(plain))):
            found = score(truth, Volume(mask, truth.affine))
            rows.append({"participant_id": name, "largest_component": kept, **found})
        curves[name] = ProbabilityHistogram()
        curves[name].add(truth.array, probability.array)
    components = pd.DataFrame(rows)
    as_made = components[components.largest_component == run.segmenter.largest_component]
    write_csv(folder / "scores.csv", as_made.drop(columns="largest_component").sort_values("participant_id"))
    write_csv(folder / "components.csv", components)
    write_curves(folder / "curves.npz", curves)
    seconds = round(time.monotonic() - started, 1)
    write_json(folder / SEAL, {"seconds": seconds, "files": checksums(folder, FILES)})


def read_evaluation(folder: str | os.PathLike) -> Evaluation:
    """What :func:`evaluate` wrote into a run's folder.

    Raises:
        DataError: it has not been called, or a file was changed since.
    """
    folder = Path(folder)
    missing = damage(folder, SEAL)
    if missing:
        raise DataError(folder, missing, "an evaluated run", "Evaluate it: femur evaluate.")
    scores, components = (pd.read_csv(folder / name) for name in FILES[:2])
    return Evaluation(scores, components, read_curves(folder / FILES[2]))


def write_curves(path: str | os.PathLike, curves: Mapping[str, ProbabilityHistogram]) -> None:
    """Histograms by scan, whole or not at all."""
    with whole(path) as half_written, half_written.open("wb") as file:
        counts = {"femur": [h.femur for h in curves.values()], "background": [h.background for h in curves.values()]}
        np.savez_compressed(file, allow_pickle=False, names=np.array(list(curves)), **counts)


def read_curves(path: str | os.PathLike) -> dict[str, ProbabilityHistogram]:
    """What :func:`write_curves` wrote."""
    curves = {}
    with np.load(path) as kept:
        for name, femur, background in zip(kept["names"], kept["femur"], kept["background"], strict=True):
            curves[str(name)] = histogram = ProbabilityHistogram()
            histogram.femur, histogram.background = femur, background
    return curves


def dice_at(histogram: ProbabilityHistogram, threshold: float) -> float:
    """Dice of the mask of all voxels above a threshold; of a threshold within a bin, that of the bin's end."""
    first = int(np.searchsorted(THRESHOLDS, threshold))
    found = int(histogram.femur[first:].sum())
    marked = found + int(histogram.background[first:].sum())
    return 2 * found / (marked + int(histogram.femur.sum()))


def choices(runs: Sequence[str | os.PathLike]) -> pd.DataFrame:
    """What each fold's own scans chose, and what the scans of the other folds would have chosen for it.

    The paper lets the fold that is scored choose the epoch to stop at and the threshold to cut at, which is
    optimistic. This asks how much: Dice with its own choice, and with that of the others. The epoch of the others is
    the median of those they kept (rounded down), at most the last that was trained here.

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
    if len(set(fold_numbers)) < max(2, len(folders)) or len({r["experiment"] for r in records}) > 1:
        found = ", ".join(f"{r['experiment']} fold {r['fold']}" for r in records)
        raise DataError("runs", found, "one network, and each fold once", "Choose others.")
    curves = [read_evaluation(folder).curves for folder in folders]
    fold_of = {name: fold for fold, found in zip(fold_numbers, curves, strict=True) for name in found}
    by_others = thresholds_without({name: h for found in curves for name, h in found.items()}, fold_of)
    epochs = [kept_epoch(folder) for folder in folders]
    rows = []
    for i, (folder, fold) in enumerate(zip(folders, fold_numbers, strict=True)):
        dice = pd.read_csv(folder / "history.csv").val_dice
        others = min(int(np.median(epochs[:i] + epochs[i + 1 :])), len(dice) - 1)
        own = mean_curve_threshold(list(curves[i].values()))
        youden = sum(curves[i].values(), ProbabilityHistogram()).youden_threshold()
        rows.append(
            {
                "fold": fold,
                "epoch": epochs[i] + 1,
                "epoch_by_others": others + 1,
                "dice_at_epoch": float(dice[epochs[i]]),
                "dice_at_epoch_by_others": float(dice[others]),
                "threshold": own,
                "threshold_by_others": by_others[fold],
                "dice_at_threshold": float(np.mean([dice_at(h, own) for h in curves[i].values()])),
                "dice_at_threshold_by_others": float(
                    np.mean([dice_at(h, by_others[fold]) for h in curves[i].values()])
                ),
                "youden": youden,
                "dice_at_youden": float(np.mean([dice_at(h, youden) for h in curves[i].values()])),
            }
        )
    return pd.DataFrame(rows).sort_values("fold", ignore_index=True)


def optimism(chosen: pd.DataFrame) -> dict[str, float]:
    """Mean Dice that choosing on the scored scans gains over choosing without them (:func:`choices`)."""
    return {
        what: float((chosen[f"dice_at_{what}"] - chosen[f"dice_at_{what}_by_others"]).mean())
        for what in ("epoch", "threshold")
    }
