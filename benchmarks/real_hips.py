"""Real hips, folds by patient: our recipe, the paper's, MONAI's residual U-Net, nnU-Net, and our recipe without each of
its parts.

    femur import pelvis PATH hips
    python benchmarks/real_hips.py hips out [--arms ours monai paper] [--folds 0 1 2 3] [--at-once 1]
    python benchmarks/real_hips.py hips out --at-once 2 --ingredients
    python benchmarks/real_hips.py hips out --like "half length" --arms "half length" monai "nnunet small"

The table has one row for each arm: Dice, ASD and MSD on scans of patients that it never saw, each on the scan's own
grid. Every arm and fold is a process of its own, and is not run again if its scores are in ``out``. A stopped training
goes on (a peer's begins again). The masks of the hips held out stay in the arm's folder, in ``predictions``, where
agreement.py and where_errors_are.py find them. ``--ingredients`` takes our recipe at half its length, and the same with
one ingredient removed or exchanged; a second table then shows the differences for each patient, with a 95 % bootstrap
interval over patients.

MONAI's network and nnU-Net get the CPU time that ours took on the same machine, or the arm that ``--like`` names. We
count CPU time because the machine may be busy with other work. MONAI's also gets the same grid, threshold rule and
flips of the scan; axes and memory layout are in the order that suits PyTorch. nnU-Net does all of that in its own way
(nnunet_peer.py). The arm ``voxels`` is not a network (peers.py).

The arm ``monai`` needs PyTorch and MONAI, and the arms ``nnunet`` PyTorch and nnunetv2 2.8.1. data/README.md says where
to get the scans and masks.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import pandas as pd

import femur_lib
from femur_lib._runtime.files import write_csv, write_json
from femur_lib.cohort import read_cohort
from femur_lib.metrics.statistics import interval

NETWORK = "3d-f8-l4-a2-gn"
HALF = {"epochs": 12}  # half of our recipe's, which leaves time for many arms
BASELINE = "half length"
# Each arm's network, and the settings of the profile that it changes.
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
    "nnunet": ("", {}),
    "nnunet small": ("", {}),
    "voxels": ("", {}),
    "paper": ("3d-f8-l4", {"recipe": "paper", "learning_rate": 5e-5, "epochs": 80, "flip_predictions": False}),
    "twice the maps, half the epochs": ("3d-f16-l4-a2-gn", {**HALF, "learning_rate": 1e-3}),
    "two dimensions": ("2d-f16-l4-gn", HALF),
    "drawn": (NETWORK, {**HALF, "start_from": "hip-drawn", "learning_rate": 1e-3}),  # as the profile few
    **INGREDIENTS,
}
TIMED = ("monai", "nnunet", "nnunet small")  # these get the CPU time of another arm


def profile_of(arm: str):
    """The profile of an arm."""
    from femur_lib.config import load_profile

    return load_profile("hips").changed(**ARMS[arm][1])


def ours(cohort, arm: str, fold: int, folder: Path) -> None:
    """Train and score one of our networks."""
    from femur_lib.evaluation import evaluate
    from femur_lib.runs import load_run
    from femur_lib.training import train

    note = folder.with_name(folder.name + ".cpu.json")
    before = json.loads(note.read_text())["seconds"] if note.is_file() else 0.0

    def progress(line: str) -> None:
        write_json(note, {"seconds": before + time.process_time()})
        print(line, flush=True)

    train(cohort, folder, ARMS[arm][0], profile_of(arm), fold, progress=progress)
    evaluate(cohort, load_run(folder))


def peer(cohort, arm: str, fold: int, folder: Path, budget: float) -> None:
    """Train and score a peer on the same grid, with the same threshold rule and flips of the scan."""
    import peers

    from femur_lib.architecture import Architecture
    from femur_lib.cohort import read_subject
    from femur_lib.dataset import load_samples
    from femur_lib.evaluation import score
    from femur_lib.inference import SUFFIXES, Segmenter, largest_component, predict_volume, threshold_mask
    from femur_lib.metrics.curves import ProbabilityHistogram
    from femur_lib.training import split
    from femur_lib.volumes import Volume, write_volume

    profile = profile_of("ours")
    training, held_out = split(cohort, profile, fold)
    grid = profile.grid(3)
    samples = load_samples(cohort, training, grid, folder.parent / ".femur-cache")
    train = {
        "monai": lambda: peers.monai(samples, budget),
        "voxels": lambda: peers.voxels(samples),
    }
    model, record = train[arm]()
    # All that inference takes from the architecture here: sizes are multiples of 16 in-plane and of 4 across slices.
    segmenter = Segmenter(model, Architecture(3, 16, 4, in_plane_levels=2), grid, flip=True, every_slice=False)

    def probability(name: str):
        image, mask = read_subject(cohort[name])
        return mask, predict_volume(segmenter, image)

    histogram = ProbabilityHistogram()
    for name in training:
        mask, p = probability(name)
        histogram.add(mask.array, p.array)
    threshold, rows = histogram.best_threshold(), []
    for name in held_out:
        mask, p = probability(name)
        found = threshold_mask(p.array, threshold)
        if arm == "voxels":  # they also find pieces of other bones, as the paper's 2D networks do
            found = largest_component(found)
        write_volume(folder / "predictions" / f"{name}{SUFFIXES['mask']}", found, mask.affine, mask.forms)
        rows.append({"participant_id": name, **score(mask, Volume(found, p.affine))})
    record |= {"threshold": threshold, "training": list(training)}
    write_json(folder / "run.json", record)
    write_csv(folder / "scores.csv", pd.DataFrame(rows))


def nnunet(cohort, arm: str, fold: int, folder: Path, budget: float) -> None:
    """Train and score nnU-Net, which does all else in its own way."""
    import nnunet_peer

    from femur_lib.evaluation import score_files
    from femur_lib.training import split

    profile = profile_of("ours")
    splits = [split(cohort, profile, f) for f in range(profile.folds)]
    folds, out = [{"train": list(a), "val": list(b)} for a, b in splits], folder / "predictions"
    record = nnunet_peer.train_and_predict(cohort, folds, arm, fold, folder.parent / ".nnunet", out, budget)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "run.json", record | {"training": folds[fold]["train"]})
    truths = {name: cohort[name].mask for name in folds[fold]["val"]}
    scores = score_files(truths, out) if out.is_dir() else pd.DataFrame(columns=["dice", "asd_mm", "msd_mm"])
    write_csv(folder / "scores.csv", scores)


def folder_of(out: Path, arm: str, fold: int) -> Path:
    """The folder of one arm and fold."""
    return out / f"{arm.replace(' ', '-').replace(',', '').replace('.', '')}-fold{fold}"


def cpu_seconds(out: Path, arm: str, fold: int) -> float:
    """CPU seconds that the training of an arm took."""
    folder = folder_of(out, arm, fold)
    note = folder.with_name(folder.name + ".cpu.json")
    if note.is_file():
        return json.loads(note.read_text())["seconds"]
    return json.loads((folder / "run.json").read_text())["cpu_seconds"]


def table(out: Path, arms: list[str], folds: list[int]) -> pd.DataFrame:
    """Mean, spread and worst value over all hips that have been scored; one row for each arm."""
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


def differences(out: Path, folds: list[int], patient_of: dict[str, str]) -> pd.DataFrame:
    """Each ingredient's effect on Dice: the arm minus the baseline, for each patient, over the folds that both have."""
    rows = []
    for arm in [a for a in INGREDIENTS if a != BASELINE]:
        both = [[folder_of(out, name, f) / "scores.csv" for name in (arm, BASELINE)] for f in folds]
        both = [paths for paths in both if all(path.is_file() for path in paths)]
        if not both:
            continue
        changed, baseline = (
            pd.concat([pd.read_csv(paths[i], index_col="participant_id") for paths in both]).dice for i in (0, 1)
        )
        by_patient = (changed - baseline).groupby(patient_of).mean()
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


def run(a: argparse.Namespace, arm: str, fold: int) -> None:
    """Train and score one arm on one fold, in a process of its own and on its share of the cores."""
    if (folder_of(a.out, arm, fold) / "scores.csv").is_file():
        return
    print(f"== {arm}, fold {fold}", flush=True)
    command = [sys.executable, __file__, a.cohort, a.out, "--arms", arm, "--folds", str(fold), "--one"]
    command += ["--like", a.like]
    threads = str(max(1, joblib.cpu_count() // a.at_once))
    limits = {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads} if a.at_once > 1 else {}
    subprocess.run(command, check=True, env={**os.environ, **limits})


def main() -> None:
    """Run what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["ours", "monai", "paper"])
    parser.add_argument("--ingredients", action="store_true", help="the arms that change one part of our recipe")
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1, 2, 3])
    parser.add_argument("--like", choices=list(ARMS), default="ours", help="the arm whose CPU time peers get")
    parser.add_argument("--at-once", type=int, default=1, help="how many trainings run at once and share the cores")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    arms = list(INGREDIENTS) if a.ingredients else a.arms
    cohort = read_cohort(a.cohort)
    if a.one:
        (arm,), (fold,) = arms, a.folds
        folder = folder_of(a.out, arm, fold)
        budget = cpu_seconds(a.out, a.like, fold) if arm in TIMED else 0
        if arm.startswith("nnunet"):
            nnunet(cohort, arm, fold, folder, budget)
        elif arm in ("monai", "voxels"):
            peer(cohort, arm, fold, folder, budget)
        else:
            ours(cohort, arm, fold, folder)
        return
    for some in (
        [arm for arm in arms if arm not in TIMED],
        [arm for arm in arms if arm in TIMED],
    ):  # last: they get the CPU time that another arm took
        with ThreadPoolExecutor(
            a.at_once
        ) as pool:  # fold by fold, so that an unfinished table has the same folds of each arm
            jobs = [pool.submit(run, a, arm, fold) for fold in a.folds for arm in some]
        for job in jobs:
            job.result()
    print(f"femur_lib {femur_lib.__version__}\n{table(a.out, arms, a.folds).to_string(index=False)}")
    if a.ingredients:
        patient_of = {s.id: s.patient for s in cohort.subjects}
        print(f"\n{differences(a.out, a.folds, patient_of).to_string(index=False)}")


if __name__ == "__main__":
    main()
