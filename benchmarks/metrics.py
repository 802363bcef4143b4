"""Our metrics beside those of other libraries, at the paper's size: seconds, ratios, memory, and differences.

    python benchmarks/metrics.py [surfaces] [curves] [--rounds 3] [--pixels 512] [--volumes 1 2 4 86]

Surfaces: ASD and MSD together, for the exact mask of one synthetic hip and four predictions, with 512 x 512 x 48 voxels
of 0.234 x 0.234 x 1.5 mm. The libraries take turns in one process, and medians are printed. MedPy is called as users
call it (hd and assd, which find the same distances twice) and as it could be called (the distances found once for
both).

Curves: ROC, AUC, precision-recall and AP of all voxels of several volumes together. Each number of volumes is measured
in a process of its own, so that memory can be compared; making the volumes is not timed. scikit-learn gets at most
SKLEARN_AT_MOST of them.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from measuring import answered, in_a_fresh_process
from scipy import ndimage

from femur_lib._runtime.machine import peak_bytes
from femur_lib.metrics.curves import ProbabilityHistogram
from femur_lib.metrics.surface_distance import distances
from femur_lib.phantom.cohort import stacks
from femur_lib.phantom.parameters import DIFFICULTIES
from femur_lib.phantom.scanner import scan
from femur_lib.phantom.subject import draw_person

SLICES_MADE, SLICES = 60, 48
SKLEARN_AT_MOST = 4  # of 512 x 512 x 48 voxels: some GB each


def hip(pixels: int) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """The exact mask of a synthetic hip, an expert's, and the spacing in mm; only the 48 slices around the femur."""
    person = draw_person(0, 7, DIFFICULTIES["usual"])
    image, expert, labels = stacks(person, scan(person, pixels, SLICES_MADE))
    there = np.flatnonzero(expert.any((0, 1)))
    first = min(max(0, (there[0] + there[-1] - SLICES) // 2), SLICES_MADE - SLICES)
    cut = np.s_[:, :, first : first + SLICES]
    return np.ascontiguousarray(labels[cut] == 1), np.ascontiguousarray(expert[cut]), image.spacing_mm


def predictions(truth: np.ndarray, expert: np.ndarray) -> dict[str, np.ndarray]:
    """Masks to compare with the truth, from the closest to the most different."""
    rng = np.random.default_rng(0)
    wide = truth.shape[0] / 512
    moved = tuple(max(1, round(pixels * wide)) for pixels in (4, 3))
    wave = ndimage.gaussian_filter(rng.standard_normal(truth.shape, np.float32), (6 * wide, 6 * wide, 1))
    wavy = ndimage.gaussian_filter(truth.astype(np.float32), (3 * wide, 3 * wide, 0.5)) + 0.15 * wave / wave.std() > 0.5
    specks = np.zeros(truth.shape, bool)
    specks.ravel()[rng.integers(0, truth.size, 40)] = True
    return {
        "an expert's": expert,
        "moved by 4 and 3 pixels": np.roll(truth, moved, (0, 1)),
        "noisy, with 40 specks anywhere": wavy | ndimage.binary_dilation(specks, iterations=3),
        "eroded by 3 voxels": ndimage.binary_erosion(truth, iterations=3),
    }


def surface_ways() -> dict[str, Callable]:
    """How each library computes ASD and MSD from a truth, a prediction and a spacing."""
    import surface_distance
    import torch
    from medpy.metric import binary
    from monai import metrics

    def ours(truth, predicted, spacing_mm):
        scores = distances(truth, predicted, spacing_mm)
        return scores["asd_mm"], scores["msd_mm"]

    def medpy(truth, predicted, spacing_mm):
        return binary.assd(predicted, truth, spacing_mm), binary.hd(predicted, truth, spacing_mm)

    def medpy_once(truth, predicted, spacing_mm):
        directed = vars(binary)["__surface_distances"]
        both = np.concatenate([directed(predicted, truth, spacing_mm), directed(truth, predicted, spacing_mm)])
        return both.mean(), both.max()

    def monai(truth, predicted, spacing_mm):
        y, y_pred = (torch.from_numpy(m)[None, None] for m in (truth, predicted))
        given = {"include_background": True, "spacing": spacing_mm}
        asd = metrics.compute_average_surface_distance(y_pred, y, symmetric=True, **given)
        return asd.item(), metrics.compute_hausdorff_distance(y_pred, y, **given).item()

    def by_area(truth, predicted, spacing_mm):
        found = surface_distance.compute_surface_distances(truth, predicted, spacing_mm)
        areas = [found["surfel_areas_gt"].sum(), found["surfel_areas_pred"].sum()]
        directed = surface_distance.compute_average_surface_distance(found)
        return np.average(directed, weights=areas), surface_distance.compute_robust_hausdorff(found, 100)

    return {
        "femur_lib": ours,
        "MedPy, hd and assd": medpy,
        "MedPy, distances once": medpy_once,
        "MONAI": monai,
        "surface-distance (by area)": by_area,
    }


def compare_surfaces(pixels: int, rounds: int) -> None:
    """Print one row for each prediction and library."""
    truth, expert, spacing_mm = hip(pixels)
    ways = surface_ways()
    print(f"ASD and MSD, {' x '.join(map(str, truth.shape))} voxels of {spacing_mm} mm, {rounds} rounds\n")
    print(
        "| prediction | by | s | ratio | ASD [mm] | MSD [mm] | largest difference [mm] |\n|---|---|---|---|---|---|---|"
    )
    for name, predicted in predictions(truth, expert).items():
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        answers = {}
        for _ in range(rounds):
            for way, score in ways.items():
                start = time.perf_counter()
                answers[way] = score(truth, predicted, spacing_mm)
                seconds[way].append(time.perf_counter() - start)
        ours = statistics.median(seconds["femur_lib"])
        for way, (asd, msd) in answers.items():
            median = statistics.median(seconds[way])
            first = way == "femur_lib"
            ratio = "" if first else f"{median / ours:.1f}"
            apart = (
                "" if first else f"{max(abs(a - b) for a, b in zip((asd, msd), answers['femur_lib'], strict=True)):.1e}"
            )
            print(
                f"| {name if first else ''} | {way} | {median:.2f} | {ratio} | {asd:.4f} | {msd:.4f} | {apart} |",
                flush=True,
            )


def volumes(file: str, number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Masks and probabilities as a network might give them: sure about nearly all voxels, but not about the border.

    All volumes show one hip in different places, because making another woman's takes a quarter of a minute.
    """
    expert = np.load(file)
    wide = expert.shape[0] / 512
    depth = ndimage.gaussian_filter(expert.astype(np.float32), (4 * wide, 4 * wide, 0.7)) - np.float32(0.5)
    for seed in range(number):
        rng = np.random.default_rng(seed)
        there, wrong = rng.integers(-20, 21, 2), rng.normal(0, 2, 2)
        logit = 24 * np.roll(depth, there, (0, 1)) + np.float32(wrong[0])
        logit += np.float32(1.5 + abs(wrong[1])) * rng.standard_normal(logit.shape, np.float32)
        yield np.roll(expert, there, (0, 1)), 1 / (1 + np.exp(-logit))


def measured_curves(request: dict) -> dict:
    """Seconds, peak memory, AUC and AP of one library for one number of volumes."""
    way = _curves_by_sklearn if request["way"] == "scikit-learn" else _curves_by_us
    seconds, answer = way(request["file"], request["volumes"], request["rounds"])
    found = {"seconds": statistics.median(seconds), "memory": peak_bytes(), "volumes": request["volumes"]}
    return found | answer


def _curves_by_us(file: str, number: int, rounds: int) -> tuple[list[float], dict]:
    taken = []
    for _ in range(rounds):
        histogram, seconds = ProbabilityHistogram(), 0.0
        for truth, probability in volumes(file, number):
            start = time.perf_counter()
            histogram.add(truth, probability)
            seconds += time.perf_counter() - start
        start = time.perf_counter()
        answer = {"auc": histogram.roc()[2], "ap": histogram.average_precision()}
        taken.append(seconds + time.perf_counter() - start)
    return taken, answer


def _curves_by_sklearn(file: str, number: int, rounds: int) -> tuple[list[float], dict]:
    from sklearn.metrics import auc, average_precision_score, roc_curve

    shape = (number, *np.load(file, mmap_mode="r").shape)
    truth, probability = np.empty(shape, bool), np.empty(shape, np.float32)
    for i, volume in enumerate(volumes(file, number)):
        truth[i], probability[i] = volume
    truth, probability = truth.ravel(), probability.ravel()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        false_positive, true_positive, _ = roc_curve(truth, probability)
        answer = {"auc": float(auc(false_positive, true_positive))}
        answer["ap"] = float(average_precision_score(truth, probability))
        taken.append(time.perf_counter() - start)
    return taken, answer


def compare_curves(pixels: int, rounds: int, numbers: list[int]) -> None:
    """Print one row for each number of volumes and library."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "mask.npy")
        np.save(file, hip(pixels)[1])
        print(f"\nROC, AUC, precision-recall and AP, {pixels} x {pixels} x {SLICES} voxels, {rounds} rounds\n")
        print("| volumes | by | s a volume | ratio | peak GB | AUC | AP | largest difference |")
        print("|---|---|---|---|---|---|---|---|")
        for number in numbers:
            request = {"file": file, "volumes": number, "rounds": rounds if number <= SKLEARN_AT_MOST else 1}
            ours = in_a_fresh_process(__file__, {**request, "way": "femur_lib"})
            _print_curves([str(number), "femur_lib"], ours, ours)
            if number <= SKLEARN_AT_MOST:
                theirs = in_a_fresh_process(__file__, {**request, "way": "scikit-learn"})
                _print_curves(["", "scikit-learn"], theirs, ours)


def _print_curves(head: list[str], found: dict, ours: dict) -> None:
    row = [f"{found['seconds'] / found['volumes']:.3f}", "", f"{found['memory'] / 1e9:.2f}"]
    row += [f"{found['auc']:.7f}", f"{found['ap']:.7f}", ""]
    if found is not ours:
        row[1] = f"{found['seconds'] / ours['seconds']:.1f}"
        row[-1] = f"{max(abs(found[k] - ours[k]) for k in ('auc', 'ap')):.1e}"
    print("| " + " | ".join([*head, *row]) + " |", flush=True)


def main() -> None:
    """Measure and print."""
    if answered(measured_curves):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", nargs="*", default=["surfaces", "curves"], help="surfaces or curves; the default is both"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pixels", type=int, default=512)
    parser.add_argument("--volumes", type=int, nargs="+", default=[1, 2, 4, 86])
    a = parser.parse_args()
    warnings.simplefilter("ignore")  # other libraries warn about changes to come in them
    if "surfaces" in a.what:
        compare_surfaces(a.pixels, a.rounds)
    if "curves" in a.what:
        compare_curves(a.pixels, a.rounds, a.volumes)


if __name__ == "__main__":
    main()
