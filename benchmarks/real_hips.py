"""Real hips, patient-wise folds: our recipe, the paper's, and MONAI's residual U-Net; and our recipe less each part.

    femur import pelvis PATH hips
    python benchmarks/real_hips.py hips out [--arms ours monai paper] [--folds 0 1 2 3] [--at-once 1]
    python benchmarks/real_hips.py hips out --at-once 2 --ingredients

One row an arm: Dice, ASD and MSD on scans of patients it never saw, on each scan's own grid. Every (arm, fold) is a
process of its own, and is not run again if its scores are in ``out``; stopped, it goes on (MONAI's begins again).
``--ingredients`` takes our recipe at half its length, and the same less one ingredient each; the second table has the
differences, by patient, with a 95 % bootstrap interval over patients.

MONAI's network gets the CPU time that ours took, on the same machine, the same grid, threshold rule and flips of the
scan; it works in whatever order of axes and layout PyTorch likes. CPU time and not the clock's, for the machine may be
busy. ``voxels`` is no network (peers.py).

Needs PyTorch and MONAI for the arm ``monai``. The scans and masks: data/README.md.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

import femur_lib  # before TensorFlow
from femur_lib.cohort import read_cohort
from femur_lib.scores.statistics import interval

NETWORK = "3d-f8-l4-a2-gn"
HALF = {"epochs": 12}  # of the length of ours, which leaves time for many arms
BASELINE = "half length"
# What each arm changes: the network, and settings of the profile.
INGREDIENTS: dict[str, tuple[str, dict]] = {
    BASELINE: (NETWORK, HALF),
    "another seed": (NETWORK, {**HALF, "training_seed": 1}),
    "loss of Eq. 1": (NETWORK, {**HALF, "recipe": {"base": "ours", "loss": "weighted-cross-entropy"}}),
    "Eq. 1 with border weights": (NETWORK, {**HALF, "recipe": {"base": "ours", "loss": "border-weighted"}}),
    "flips alone": (NETWORK, {**HALF, "recipe": {"base": "ours", "augmentation": ["flip"]}}),
    "no augmentation": (NETWORK, {**HALF, "recipe": {"base": "ours", "augmentation": []}}),
    "constant rate": (NETWORK, {**HALF, "recipe": {"base": "ours", "schedule": "constant"}}),
    "no normalisation": ("3d-f8-l4-a2", HALF),
    "isotropic levels": ("3d-f8-l4-gn", HALF),
    "averaged weights": (NETWORK, {**HALF, "recipe": {"base": "ours", "keep": "average"}}),
    "plain predictions": (NETWORK, {**HALF, "flip_predictions": False}),
}
ARMS: dict[str, tuple[str, dict]] = {
    "ours": (NETWORK, {}),
    "monai": ("", {}),
    "voxels": ("", {}),
    "paper": ("3d-f8-l4", {"recipe": "paper", "learning_rate": 5e-5, "epochs": 80, "flip_predictions": False}),
    "twice the maps, half the epochs": ("3d-f16-l4-a2-gn", {**HALF, "learning_rate": 1e-3}),
    **INGREDIENTS,
}


def profile_of(arm: str):
    """The settings of an arm."""
    from femur_lib.experiments import Profile, load_profile

    return Profile(**load_profile("hips").model_dump() | ARMS[arm][1])


def ours(cohort, arm: str, fold: int, folder: Path) -> None:
    """Train and score one of our networks."""
    from femur_lib.evaluation import evaluate
    from femur_lib.runs import load_run
    from femur_lib.training import train

    note = folder.with_name(folder.name + ".cpu.json")
    before = json.loads(note.read_text())["seconds"] if note.is_file() else 0.0

    def progress(line: str) -> None:
        note.write_text(json.dumps({"seconds": before + time.process_time()}))
        print(line, flush=True)

    train(cohort, folder, ARMS[arm][0], profile_of(arm), fold, progress=progress)
    evaluate(cohort, load_run(folder))


def peer(cohort, arm: str, fold: int, folder: Path, budget: float) -> None:
    """Train and score what is not ours, by the same grid, threshold rule and flips of the scan."""
    import peers

    from femur_lib.architecture import Architecture
    from femur_lib.cohort import read_subject
    from femur_lib.feeding import load_samples
    from femur_lib.inference import predict_volume
    from femur_lib.masks import largest_component, threshold_mask
    from femur_lib.prediction import score
    from femur_lib.scores.curves import ProbabilityHistogram
    from femur_lib.training import split
    from femur_lib.volumes import Volume

    profile = profile_of("ours")
    training, held_out = split(cohort, profile, fold)
    grid = profile.grid(3)
    samples = load_samples(cohort, training, grid, folder.parent / ".femur-cache")
    model, record = peers.monai(samples, budget) if arm == "monai" else peers.voxels(samples)
    # What inference needs to know of it: sizes are multiples of 16 in-plane and of 4 across.
    architecture = Architecture(3, 16, 4, in_plane_levels=2)

    def probability(name: str):
        image, mask = read_subject(cohort[name])
        return mask, predict_volume(model, architecture, grid, image, flip=True)

    histogram = ProbabilityHistogram()
    for name in training:
        mask, p = probability(name)
        histogram.add(mask.array, p.array)
    threshold, rows = histogram.best_threshold(), []
    for name in held_out:
        mask, p = probability(name)
        found = threshold_mask(p.array, threshold)
        if arm == "voxels":  # as the paper does where pieces of other bones are found, too
            found = largest_component(found)
        rows.append({"participant_id": name, **score(mask, Volume(found, p.affine))})
    folder.mkdir(parents=True, exist_ok=True)
    record |= {"threshold": threshold, "training": list(training)}
    (folder / "run.json").write_text(json.dumps(record, indent=2))
    pd.DataFrame(rows).to_csv(folder / "scores.csv", index=False)


def folder_of(out: Path, arm: str, fold: int) -> Path:
    """Where an arm's fold lies."""
    return out / f"{arm.replace(' ', '-').replace(',', '').replace('.', '')}-fold{fold}"


def cpu_seconds(out: Path, arm: str, fold: int) -> float:
    """CPU seconds that an arm's training took."""
    folder = folder_of(out, arm, fold)
    note = folder.with_name(folder.name + ".cpu.json")
    if note.is_file():
        return json.loads(note.read_text())["seconds"]
    return json.loads((folder / "run.json").read_text())["cpu_seconds"]


def table(out: Path, arms: list[str], folds: list[int]) -> pd.DataFrame:
    """Mean, spread and worst over all hips that have been scored, an arm a row."""
    rows = []
    for arm in arms:
        done = [f for f in folds if (folder_of(out, arm, f) / "scores.csv").is_file()]
        if not done:
            continue
        s = pd.concat([pd.read_csv(folder_of(out, arm, f) / "scores.csv") for f in done])
        rows.append(
            {
                "arm": arm,
                "folds": " ".join(map(str, done)),
                "hips": len(s),
                "Dice": f"{s.dice.mean():.3f} ± {s.dice.std():.3f}",
                "worst": f"{s.dice.min():.3f}",
                "ASD [mm]": f"{s.asd_mm.mean():.2f} ± {s.asd_mm.std():.2f}",
                "MSD [mm]": f"{s.msd_mm.mean():.1f} ± {s.msd_mm.std():.1f}",
                "CPU min a fold": f"{sum(cpu_seconds(out, arm, f) for f in done) / len(done) / 60:.0f}",
            }
        )
    return pd.DataFrame(rows)


def differences(out: Path, folds: list[int]) -> pd.DataFrame:
    """Each ingredient's effect on Dice: the arm without it less the baseline, by patient, over the folds both have."""
    rows = []
    for arm in [a for a in INGREDIENTS if a != BASELINE]:
        both = [[folder_of(out, name, f) / "scores.csv" for name in (arm, BASELINE)] for f in folds]
        both = [paths for paths in both if all(path.is_file() for path in paths)]
        if not both:
            continue
        changed, baseline = (
            pd.concat([pd.read_csv(paths[i], index_col="participant_id") for paths in both]).dice for i in (0, 1)
        )
        by_patient = (changed - baseline).groupby(changed.index.str.rstrip("LR")).mean()  # sub-case01L, sub-case01R
        low, high = interval(by_patient.to_numpy())
        rows.append(
            {
                "arm": arm,
                "patients": len(by_patient),
                "Dice less the baseline's": f"{by_patient.mean():+.4f}",
                "interval": f"{low:+.4f} to {high:+.4f}",
                "patients better": f"{(by_patient > 0).sum()}",
            }
        )
    return pd.DataFrame(rows)


def run(cohort: Path, out: Path, arm: str, fold: int, at_once: int) -> None:
    """Train and score one arm on one fold in a process of its own, on its share of the cores."""
    if (folder_of(out, arm, fold) / "scores.csv").is_file():
        return
    print(f"== {arm}, fold {fold}", flush=True)
    command = [sys.executable, __file__, cohort, out, "--arms", arm, "--folds", str(fold), "--one"]
    threads = str(max(1, (os.cpu_count() or 1) // at_once))
    limits = {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads} if at_once > 1 else {}
    subprocess.run(command, check=True, env={**os.environ, **limits})


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["ours", "monai", "paper"])
    parser.add_argument("--ingredients", action="store_true", help="the arms that our recipe is compared with in parts")
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1, 2, 3])
    parser.add_argument("--at-once", type=int, default=1, help="trainings side by side, which share the cores")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    arms = list(INGREDIENTS) if a.ingredients else a.arms
    cohort = read_cohort(a.cohort)
    if a.one:
        (arm,), (fold,) = arms, a.folds
        folder = folder_of(a.out, arm, fold)
        if arm in ("monai", "voxels"):
            peer(cohort, arm, fold, folder, cpu_seconds(a.out, "ours", fold) if arm == "monai" else 0)
        else:
            ours(cohort, arm, fold, folder)
        return
    for some in ([arm for arm in arms if arm != "monai"], [arm for arm in arms if arm == "monai"]):  # it asks ours
        with ThreadPoolExecutor(a.at_once) as pool:  # folds first, so that an unfinished table compares like with like
            jobs = [pool.submit(run, a.cohort, a.out, arm, fold, a.at_once) for fold in a.folds for arm in some]
        for job in jobs:
            job.result()
    print(f"femur_lib {femur_lib.__version__}\n{table(a.out, arms, a.folds).to_string(index=False)}")
    if a.ingredients:
        print(f"\n{differences(a.out, a.folds).to_string(index=False)}")


if __name__ == "__main__":
    main()
